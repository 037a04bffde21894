"""What a run waits for is said in words, with what would move it."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from execution import agents, runs, why
from execution.models import (
    Breaker,
    BreakerState,
    ConcurrencyKey,
    CycleState,
    Effect,
    Event,
    Level,
    Need,
    Run,
    Step,
    StepState,
    Waiting,
    Worker,
)
from tests import command_skills
from tests.people import put

pytestmark = pytest.mark.django_db


def opened(skill=command_skills.ask, *, state="waiting", waiting="timer", run=None, **changes):
    """Open a run whose step stands where the test wants it."""
    found = skill.start(**(run or {}))
    Step.objects.filter(pk=found.id).update(state=state, waiting=waiting, **changes)
    return Run.objects.select_related("agent").get(pk=found.id)


def reason(run):
    """Return the only reason of a run."""
    (found,) = why.explain(run).reasons
    return found


def worker(**given):
    """Make a worker's row."""
    return Worker.objects.create(
        **{"hostname": "w1@host", "pid": 1, "queues": ["default"], "slot_count": 2, "lock_number": 1, **given}
    )


def later(**length):
    """Return a moment from now."""
    return timezone.now() + timedelta(**length)


def test_every_reason_has_its_sentence():
    """No value of Waiting is without words, in full and in short."""
    for waiting in Waiting:
        state = {"needs": "blocked", "capacity": "ready"}.get(waiting, "waiting")
        run = opened(waiting=waiting, state=state)
        said = reason(run)
        assert said.text
        assert said.moves
        assert why.in_short(Step.objects.get(pk=run.id), timezone.now())


def test_timer():
    """A sleeping step says until when."""
    said = reason(opened(waiting="timer", wake_at=later(hours=2), epoch=1))
    assert "sleeps until" in said.text
    assert "in 1 h 59 min" in said.text


def test_start_later():
    """A run that was opened for later says when it starts."""
    run = command_skills.ask.start(start_at=later(hours=2))
    assert "it starts at" in reason(Run.objects.select_related("agent").get(pk=run.id)).text


def test_signal():
    """A step that waits for a signal names it, its deadline and the command."""
    run = opened(waiting="signal", awaits=["approval"], wake_at=later(hours=24))
    said = reason(run)
    assert "'approval'" in said.text
    assert "until" in said.text
    assert f"manage.py signal {run.id} approval --data '{{...}}'" in said.moves


def test_children():
    """A step that waits for child runs names those that have not ended."""
    child = opened()
    said = reason(opened(waiting="children", awaits=[f"child:{child.id}"]))
    assert str(child.id) in said.text
    assert said.moves == [f"manage.py why {child.id}"]


def test_retry():
    """A step that is tried again says which error, which try and when."""
    error = {"type": "ConnectionError", "message": "the line is dead"}
    said = reason(opened(command_skills.flaky, waiting="retry", wake_at=later(minutes=5), retry_count=2, error=error))
    assert "retry 2 of 3" in said.text
    assert "ConnectionError: the line is dead" in said.text


def test_budget_of_the_run():
    """A parked step says how much is missing, and the command that tops it up."""
    run = opened(
        command_skills.costly, state="parked", waiting="budget", run={"budget": "2.50"},
        error={"kind": "parked", "message": "1.000000 more would pass the budget"},
    )  # fmt: skip
    Run.objects.filter(pk=run.id).update(spent_cost="2.00")
    run.refresh_from_db()
    said = reason(run)
    assert "missing: 0.50" in said.text
    assert said.moves == [f"manage.py topup {run.id} --cost 0.50 (or more)"]


def test_budget_in_tokens():
    """Missing tokens are said beside missing money."""
    run = opened(
        command_skills.costly, state="parked", waiting="budget", run={"budget": {"cost": "9.00", "tokens": 1000}},
        error={"kind": "parked", "message": "0.000000 and 500 tokens more would pass the budget"},
    )  # fmt: skip
    Run.objects.filter(pk=run.id).update(spent_tokens=900)
    run.refresh_from_db()
    assert "missing: 400 tokens" in reason(run).text
    assert reason(run).moves == [f"manage.py topup {run.id} --tokens 400 (or more)"]


def test_budget_of_the_agent():
    """A step that its agent's budget holds back names the agent."""
    agents.id_of(None)
    agents.set_budget("default", cost=3)
    run = opened(command_skills.costly, state="parked", waiting="budget")
    run.agent.__class__.objects.filter(pk=run.agent_id).update(spent_cost=3)
    said = reason(Run.objects.select_related("agent").get(pk=run.id))
    assert "agent 'default'" in said.text
    assert "missing: 1.00" in said.text


def test_key():
    """A step that waits for a key says who holds it, since when, and its place in the line."""
    held = opened(command_skills.keyed, state="running", waiting="", run={"gate": "x"}, worker_id=uuid.uuid4(),
                  lease_until=later(seconds=30))  # fmt: skip
    opened(command_skills.keyed, waiting="key", run={"gate": "x"})
    said = reason(opened(command_skills.keyed, waiting="key", run={"gate": "x"}))
    assert f"held by run {held.id}" in said.text
    assert "lets 1 step run at once" in said.text
    assert "1 step before it" in said.text


def test_key_with_a_rate():
    """A rate is said with its time."""
    run = opened(command_skills.keyed, waiting="key", run={"gate": "x"}, wake_at=later(seconds=20))
    ConcurrencyKey.objects.update(limit_count=None, rate_count=3, rate_seconds=60)
    assert "starts 3 per 1 min" in reason(run).text
    assert "it may start at" in reason(run).text


def test_breaker():
    """A step behind an open breaker says when it lets one through."""
    Breaker.objects.create(name="commands.ask", state=BreakerState.OPEN, failure_count=5, probe_at=later(seconds=30))
    said = reason(opened(waiting="breaker"))
    assert "open after 5 failures in a row" in said.text
    assert "lets one step through at" in said.text


def test_lockout():
    """A lockout is said with its capability, its end and its reason."""
    agents.lock_out("web", reason="too many complaints", until=later(hours=1))
    said = reason(opened(command_skills.locked, waiting="lockout"))
    assert "'web'" in said.text
    assert "too many complaints" in said.text


def test_autonomy():
    """A step above its agent's level says both levels and how to approve it."""
    agents.id_of(None)
    agents.set_level("default", Level.ADVISOR)
    run = opened(command_skills.guarded, state="parked", waiting="autonomy")
    said = reason(run)
    assert "needs the autonomy level fully_autonomous (4)" in said.text
    assert "has advisor (1)" in said.text
    assert said.moves == [f"manage.py approve {run.id}", f"manage.py cancel {run.id}"]
    put("default", Level.FULLY_AUTONOMOUS)
    assert reason(run).moves[0] == f"manage.py resume {run.id}", "its agent was raised meanwhile"


def test_effect():
    """An effect that nobody knows of is said with its intent, its key and how to decide."""
    run = opened(state="parked", waiting="effect")
    intent = b'j{"args":["page"]}'
    Effect.objects.create(step_id=run.id, token="effect:post", key="key-1", policy="ask", epoch=1, intent=intent)
    said = reason(run)
    assert "'page'" in said.text
    assert "key 'key-1'" in said.text
    assert said.moves[0].startswith(f"manage.py effect {run.id} post done")


def test_version():
    """A step that met another version of its skill says which."""
    run = opened(state="parked", waiting="version", error={"kind": "parked", "message": "it began under version 1"})
    assert "it began under version 1" in reason(run).text


def test_paused():
    """A paused run says by whom, when and why."""
    run = command_skills.ask.start()
    runs.pause(run, by="ada", reason="the site is down")
    found = why.explain(Run.objects.select_related("agent").get(pk=run.id))
    assert "paused by ada" in found.text
    assert "the site is down" in found.reasons[0].text
    assert Event.objects.filter(run_id=run.id, kind="run.paused").exists()


def test_needs():
    """A blocked step names the steps that have not ended."""
    run = opened(state="blocked", waiting="needs", position=1)
    first = Step.objects.create(run_id=run.id, agent_id=run.agent_id, name="collect", skill="x", state=StepState.FAILED)
    Need.objects.create(step_id=run.id, needed=first)
    found = [one for one in why.explain(run).reasons if one.waiting == "needs"]
    assert "collect (failed)" in found[0].text


def test_capacity_without_workers():
    """A ready step that nobody can perform says so, and how to start a worker."""
    run = opened(state="ready", waiting="capacity")
    said = reason(run)
    assert "no worker consumes the queue 'default'" in said.text
    assert "celery -A <project> worker -Q default" in said.moves[0]


def test_capacity_with_every_slot_busy():
    """Busy slots are counted over the living workers of the queue."""
    worker(free_count=0)
    worker(hostname="w2@host", free_count=0, slot_count=4, lock_number=2)
    worker(hostname="elsewhere", queues=["other"], free_count=4, lock_number=3)
    said = reason(
        opened(state="ready", waiting="capacity", rung_at=timezone.now() - timedelta(seconds=30), ring_count=2)
    )
    assert "all 6 slots of 2 workers on the queue 'default' are busy" in said.text
    assert "its message is outstanding since" in said.text
    assert "sent 2 times" in said.text


def test_capacity_with_a_silent_worker():
    """A worker that fell silent does not count, and is named."""
    worker(free_count=2, seen_at=timezone.now() - timedelta(minutes=5))
    said = reason(opened(state="ready", waiting="capacity"))
    assert "no worker consumes" in said.text
    assert "w1@host, was seen at" in said.text


def test_capacity_without_upkeep():
    """A free slot is no help while nobody rings."""
    worker(free_count=2)
    assert "upkeep has not ticked" in reason(opened(state="ready", waiting="capacity")).text


def test_capacity_for_a_skill_that_nobody_knows():
    """A free slot is no help for a skill whose module no worker imports: its message would be sent in vain."""
    worker(free_count=2)
    CycleState.objects.update_or_create(name="execution.upkeep", defaults={"ticked_at": timezone.now()})
    assert reason(opened(state="ready", waiting="capacity")).moves == ["its message, within a second or two"]
    run = opened(state="ready", waiting="capacity")
    Step.objects.filter(pk=run.id).update(skill="commands.gone")
    said = reason(run)
    assert "no skill is named 'commands.gone' here" in said.text
    assert said.moves == ["a worker that imports its module"]


def test_running_with_a_lease_that_ran_out():
    """A running step whose owner fell silent says so."""
    crew = worker()
    run = opened(state="running", waiting="", worker_id=crew.id, lease_until=timezone.now() - timedelta(seconds=12))
    assert "performed by w1@host" in reason(run).text
    assert "its lease ran out" in reason(run).text


def test_ended_run_waits_for_nothing():
    """An ended run says how it ended, and how a failed one goes on."""
    run = opened()
    Run.objects.filter(pk=run.id).update(
        state="failed", ended_at=timezone.now(), error={"type": "ValueError", "message": "no"}
    )
    run.refresh_from_db()
    found = why.explain(run)
    assert found.reasons == []
    assert "it failed at" in found.text
    assert f"manage.py retry {run.id}" in found.text
