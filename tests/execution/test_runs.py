"""Runs: started once per key and only when the caller commits; paused, cancelled, retried, forked, waited for."""

import datetime as dt
import io
import time
import uuid
from unittest import mock

import pytest
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from execution import ledger, runs
from execution.exceptions import (
    KeyReused,
    NotCommitted,
    NotPossible,
    OptionInvalid,
    RunCancelled,
    RunEnded,
    RunFailed,
    RunUnknown,
    SkillUnknown,
    WaitedTooLong,
)
from execution.models import Agent, Event, Run, Step, Timer
from execution.skills import skill
from tests import hands
from tests.hands import finish, open_run

pytestmark = pytest.mark.django_db(transaction=True)


@skill("runs.add", retries=0)
def add(ctx, left: int, right: int = 1) -> int:
    """Add two numbers."""
    return ctx.once("sum", lambda: left + right)


# Keys


def test_start_with_a_key_opens_one_run(stage):
    """The second start with a key returns the first run, whatever has become of it, with `created` false."""
    first = add.start(left=1, key="one")
    second = add.start(left=1, key="one")
    assert (first.id, first.created, second.created) == (second.id, True, False)
    stage.play(first)
    third = runs.start("runs.add", {"left": 1}, key="one")
    assert (third.id, third.created, third.result()) == (first.id, False, 2)
    assert Run.objects.count() == 1


def test_start_with_a_key_and_other_input_names_the_first_run():
    """A key stands for one input; the order of its words does not matter."""
    first = add.start(left=1, right=2, key="one")
    assert runs.start(add, {"right": 2, "left": 1}, key="one").id == first.id
    with pytest.raises(KeyReused) as caught:
        add.start(left=2, key="one")
    assert caught.value.run_id == first.id
    assert f"the key 'one' belongs to run {first.id}, which was started with another input" in str(caught.value)


def test_start_keys_belong_to_their_skill(stage):
    """Two skills may use the same key."""
    other = stage.skill(lambda left: left)
    assert add.start(left=1, key="one").id != other.start(left=1, key="one").id


def test_start_by_many_threads_at_once_opens_one_run():
    """Of eight starts with one key at the same moment one creates the run; all return it."""
    found = hands.side_by_side(*[lambda: add.start(left=1, key="race") for _ in range(8)])
    assert len({run.id for run in found}) == 1
    assert sum(run.created for run in found) == 1
    assert Run.objects.count() == 1


def test_start_with_a_key_that_another_transaction_is_opening_waits_for_it():
    """The second start waits until the first has committed or rolled back, and then answers or opens."""
    import threading

    opened, go_on = threading.Event(), threading.Event()

    def first(rolls_back):
        with transaction.atomic():
            run = add.start(left=1, key=f"rolls back: {rolls_back}")
            opened.set()
            go_on.wait(10)
            transaction.set_rollback(rolls_back)
        return run

    def second(rolls_back):
        opened.wait(10)
        threading.Timer(0.2, go_on.set).start()
        return add.start(left=1, key=f"rolls back: {rolls_back}")

    for rolls_back in (False, True):
        opened.clear(), go_on.clear()
        one, two = hands.side_by_side(lambda r=rolls_back: first(r), lambda r=rolls_back: second(r))
        assert two.created is rolls_back
        assert (one.id == two.id) is not rolls_back


def test_key_of_is_the_same_for_the_same_parts():
    """A key is made of any JSON, dates and ids too, and is short."""
    parts = ["order", 7, dt.date(2026, 1, 1), uuid.UUID(int=1), {"b": 1}]
    assert runs.key_of(*parts) == runs.key_of(*parts)
    assert runs.key_of(*parts) != runs.key_of(*parts, None)
    assert len(runs.key_of("x" * 10_000)) == 40


# The caller's transaction


def test_start_in_a_transaction_publishes_after_the_commit():
    """No message leaves before the commit; after a rollback nothing is left."""
    with mock.patch("execution.doorbell.publish") as publish:
        with transaction.atomic():
            add.start(left=1)
            assert not publish.called
        assert publish.call_count == 1
        with transaction.atomic():
            gone = add.start(left=2, key="gone")
            transaction.set_rollback(True)
        assert publish.call_count == 1
    assert not Run.objects.filter(pk=gone.id).exists()
    assert not Step.objects.filter(pk=gone.id).exists()
    assert not Event.objects.filter(run_id=gone.id).exists()
    assert add.start(left=3, key="gone").created


def test_start_whose_message_cannot_be_sent_is_left_to_the_feeder():
    """A broker that is away at start loses nothing: the run is open, and its step not marked as rung."""
    with mock.patch("execution.doorbell._send", side_effect=ConnectionRefusedError("the broker is away")):
        began = time.monotonic()
        run = add.start(left=1)
        assert time.monotonic() - began < 5
    step = Step.objects.get(pk=run.id)
    assert (step.state, step.rung_at) == ("ready", None)


# Options of a start


def test_start_options_are_kept(stage):
    """Correlation, priority, queue, tags, budget and agent stand in the run and its step, and in the skill's context."""
    seen = []

    def look(ctx):
        seen.append((ctx.correlation_id, ctx.run_id, ctx.agent, ctx.attempt, ctx.retries))

    from execution.models import Agent

    Agent.objects.create(name="scout")
    run = stage.skill(look).start(
        correlation_id="order-7",
        priority=5,
        queue="slow",
        tags=["a", "b"],
        budget={"cost": "1.50", "tokens": 10},
        agent="scout",
    )
    found, step = stage.run(run), stage.step(run)
    assert (found.correlation_id, found.priority, found.tags) == ("order-7", 5, ["a", "b"])
    assert (str(found.budget_cost), found.budget_tokens) == ("1.500000", 10)
    assert (step.queue, step.priority) == ("slow", 5)
    stage.play(run)
    assert seen == [("order-7", run.id, "scout", 1, 0)]
    told = Event.objects.filter(run_id=run.id, kind__startswith="run.").values_list("data__correlation_id", flat=True)
    assert list(told) == ["order-7", "order-7"]


def test_start_at_waits_for_its_time(stage):
    """A later start is a stored timer: until then nothing can claim the step."""
    run = add.start(left=1, start_at=timezone.now() + dt.timedelta(hours=1))
    assert (stage.step(run).state, stage.step(run).waiting) == ("waiting", "timer")
    assert stage.play(run).state == "waiting"
    assert stage.wake(run).state == "ready"
    assert stage.finish(run) == 2


def test_deadline_that_passes_fails_the_run(stage):
    """A run past its deadline is failed with DeadlinePassed, and what waits is cancelled; a retry goes on without it."""
    run = stage.skill(lambda ctx: ctx.wait_for("never")).start(deadline="1h")
    stage.play(run)
    ledger.ask(
        "UPDATE execution_timer SET due_at = clock_timestamp() WHERE run_id = %s AND kind = 'deadline'", [run.id]
    )
    timer = Timer.objects.get(run_id=run.id, kind="deadline")
    assert ledger.ask("SELECT execution_expire_v1(%s) AS v", [timer.id])[0].v
    with pytest.raises(RunFailed, match="DeadlinePassed: the run's deadline has passed"):
        runs.result(run)
    ledger.ask("UPDATE execution_run SET deadline_at = clock_timestamp() WHERE id = %s", [run.id])
    runs.retry(run)
    runs.signal(run, "never", "after all")
    assert stage.finish(run) == "after all"


def test_run_past_its_deadline_is_not_begun(stage):
    """A claim after the deadline starts nothing, also before the timer has been looked at."""
    run = stage.skill(lambda ctx: 1).start(deadline="1h")
    ledger.ask("UPDATE execution_run SET deadline_at = clock_timestamp() WHERE id = %s", [run.id])
    claim = ledger.claim(run.id, uuid.uuid4(), worker_id=uuid.uuid4(), pid=1)
    assert (claim.verdict, claim.reason) == ("refused", "paused")


def test_id_of_another_run_is_refused():
    """An id that a run of another skill has is not taken for that run."""
    run = add.start(left=1)
    assert runs.start("runs.add", {"left": 1}, run_id=run.id).id == run.id
    with pytest.raises(NotPossible, match="belongs to a run of 'runs.add': a run of 'tests.add' needs another"):
        runs.start("tests.add", {"left": 1}, run_id=run.id)


def test_deadline_of_a_parent_holds_for_its_children(stage):
    """A child cannot go on longer than the run that waits for it."""
    kind = stage.skill(lambda: 1)
    run = stage.skill(lambda ctx: ctx.call(kind, deadline="9h")).start(deadline="1h")
    stage.play(run)
    assert Run.objects.get(parent_run_id=run.id).deadline_at == stage.run(run).deadline_at


# Many at once


def test_start_many_opens_all_or_none():
    """Ids come in order; keys make it repeatable; one bad input, or a key short, opens nothing."""
    keys = [f"k{n}" for n in range(2500)]
    found = runs.start_many(add, ({"left": n} for n in range(2500)), keys=keys)
    assert len(set(found)) == 2500
    assert Run.objects.count() == 2500
    assert runs.start_many(add, ({"left": n} for n in range(2500)), keys=keys) == found
    assert list(Run.objects.filter(pk__in=found[:3]).order_by("id").values_list("id", flat=True)) == found[:3]
    with pytest.raises(KeyReused):
        runs.start_many(add, [{"left": 10_000}], keys=["k7"])
    with pytest.raises(Exception, match="left: Input should be a valid integer"):
        runs.start_many(add, [{"left": 1}, {"left": "x"}])
    with pytest.raises(OptionInvalid, match="as many keys as inputs"):
        runs.start_many(add, [{"left": 1}, {"left": 2}], keys=["one"])
    with pytest.raises(OptionInvalid, match=r"start_many has no option 'buget'; did you mean 'budget'?"):
        runs.start_many(add, [], buget=1)
    assert Run.objects.count() == 2500


# Operating


def test_pause_holds_back_and_resume_lets_go(stage):
    """A paused run's step cannot be claimed; resumed, it goes on."""
    run = add.start(left=1)
    assert runs.pause(run, by="ann", reason="lunch").state == "paused"
    assert stage.play(run).state == "waiting"
    assert runs.resume(run, by="ann").state == "pending"
    assert stage.finish(run) == 2
    assert [one for one in stage.events(run) if one.startswith("run.")] == [
        "run.opened", "run.paused", "run.resumed", "run.completed",
    ]  # fmt: skip
    with pytest.raises(NotPossible, match="only a paused or parked run"):
        runs.resume(run)
    with pytest.raises(RunEnded, match="is completed: it cannot be paused"):
        runs.pause(run)


def test_pause_takes_children_along(stage):
    """Children are paused and resumed with their parent; one that was paused by itself stays paused."""
    kind = stage.skill(lambda: 1)
    run = stage.skill(lambda ctx: ctx.collect(*(ctx.begin(kind, token=token) for token in "abc"))).start()
    stage.play(run)
    first, second, third = Run.objects.filter(parent_run_id=run.id).order_by("id")
    assert stage.play(second).state == "completed"
    runs.pause(third, reason="too early")
    runs.pause(run, by="ann")
    assert [stage.run(one).state for one in (run, first, second, third)] == ["paused", "paused", "completed", "paused"]
    assert stage.play(first).state == "waiting"
    runs.resume(run, by="ann")
    assert [stage.run(one).state for one in (run, first, third)] == ["running", "pending", "paused"]
    assert stage.play(first).state == "completed"


def test_pause_of_a_sleeping_run_outlasts_its_timer(stage):
    """A timer that fires while the run is paused starts nothing; after the resume it does."""

    def nap(ctx):
        ctx.sleep("nap", seconds=0.01)
        return "awake"

    run = stage.open(nap)
    stage.play(run)
    runs.pause(run)
    stage.wake(run)
    assert stage.play(run).state != "completed"
    runs.resume(run)
    assert stage.finish(run) == "awake"


def failed_step(hands):
    """Have a run whose step has failed."""
    run = open_run()
    finish(hands.take(run), "failed", error={"kind": "unknown", "type": "ValueError", "message": "no"})
    return run


def test_retry_after_a_while_waits_for_a_stored_timer(hands):
    """The step waits, says until when, and is woken by upkeep; an old claim's epoch is the timer's."""
    run = failed_step(hands)
    runs.retry(run, after="5m", by="ann")
    step = Step.objects.get(pk=run.id)
    timer = Timer.objects.get(step_id=step.id, fired_at=None)
    assert (step.state, step.waiting, timer.due_at, timer.epoch) == ("waiting", "retry", step.wake_at, step.epoch)
    assert dt.timedelta(minutes=4) < step.wake_at - timezone.now() < dt.timedelta(minutes=5)
    assert hands.claim(run).verdict == "nothing"
    past = timezone.now() - dt.timedelta(seconds=1)
    Timer.objects.update(due_at=past)
    Step.objects.update(wake_at=past)
    ledger.ask("SELECT * FROM execution_wake_v1()")
    assert hands.take(run).epoch == 2


def test_retry_with_a_fallback(hands):
    """Another skill takes over in the failed step; one that nobody knows is refused, and nothing is changed."""
    run = failed_step(hands)
    with pytest.raises(SkillUnknown, match="did you mean 'tests.add'"):
        runs.retry(run, fallback="tests.ad")
    assert runs.get(run.id).state == "failed"
    runs.retry(run, fallback="tests.add")
    assert Step.objects.get(pk=run.id).options["fallback"] == "tests.add"


def test_fork_to_another_version_wants_a_workflow(hands):
    """Of a single skill the code alone holds versions."""
    with pytest.raises(NotPossible, match="only its code holds versions"):
        runs.fork(failed_step(hands), version="1")


def test_retry_goes_on_from_the_failed_step_with_everything_kept(stage):
    """What was recorded before the failure is not done again."""
    calls, broken = [], [1]

    def work(ctx):
        ctx.once("first", lambda: calls.append("first"))
        for item in ctx.each("item", range(3)):
            calls.append(item)
            if item == 1 and broken:
                raise ValueError("broken")
        return "done"

    run = stage.open(work)
    stage.play(run)
    with pytest.raises(RunFailed, match="ValueError: broken"):
        runs.result(run)
    broken.clear()
    runs.retry(run, by="ann")
    assert stage.finish(run) == "done"
    assert calls == ["first", 0, 1, 1, 2]
    with pytest.raises(NotPossible, match="only a failed run can be retried"):
        runs.retry(run)


def test_cancel_ends_what_waits_at_once(stage):
    """A run that waits is cancelled on the spot; twice is an error that says so."""
    run = stage.open(lambda ctx: ctx.wait_for("never"))
    stage.play(run)
    assert runs.cancel(run, reason="no need").state == "cancelled"
    with pytest.raises(RunCancelled, match="was cancelled: no need"):
        runs.result(run)
    with pytest.raises(RunEnded, match="is cancelled: it cannot be cancelled"):
        runs.cancel(run)


# Forks


def forkable(stage, calls):
    """Run something with a bit of everything, to its end."""

    def work(ctx, topic: str, extra: int = 0):
        found = ctx.once("collect", lambda: calls.append("collect") or f"about {topic}")
        for page in ctx.each("page", range(3)):
            ctx.append("notes", f"{topic} {page}")
            calls.append(page)
        ctx.effect("mail", lambda: calls.append("mail") or "sent")
        answer = ctx.wait_for("approval")
        ctx.spend("report", cost=1)
        report = ctx.once("report", lambda: calls.append("report") or f"{found}: {answer} {extra}")
        ctx.save("place", "end")
        return [report, list(ctx.items("notes"))]

    run = stage.skill(work).start(topic="tea", budget=5, tags=["x"], correlation_id="c")
    runs.signal(run, "approval", "yes")
    assert stage.finish(run) == ["about tea: yes 0", ["tea 0", "tea 1", "tea 2"]]
    calls.clear()
    return run


def test_fork_keeps_everything_that_was_recorded(stage):
    """A fork without a mark is served all of it, in the first run's order, and what it records comes behind."""
    calls = []
    run = forkable(stage, calls)
    fork = runs.fork(run, by="ann")
    assert stage.finish(fork) == ["about tea: yes 0", ["tea 0", "tea 1", "tea 2"]]
    assert calls == []
    found = stage.run(fork)
    assert (found.forked_from_id, found.tags, found.correlation_id, found.budget_cost) == (run.id, ["x"], "c", 5)
    assert found.spent_cost == 0
    assert set(stage.tokens(run)) - set(stage.tokens(fork)) == {"wait:approval"} & set(stage.tokens(run))
    assert "run.forked" in stage.events(fork)


@pytest.mark.parametrize(
    ("before", "redone"),
    [
        ("report", ["report"]),
        ("approval", ["report"]),
        ("mail", ["mail", "report"]),
        ("page", [0, 1, 2, "mail", "report"]),
        ("each:page", [0, 1, 2, "mail", "report"]),
        ("collect", ["collect", 0, 1, 2, "mail", "report"]),
    ],
)
def test_fork_before_a_token_does_the_rest_again(stage, before, redone):
    """What stands before the mark is kept; from there on everything is done again, with changed input."""
    calls = []
    run = forkable(stage, calls)
    fork = runs.fork(run, before=before, input={"extra": 7})
    if before != "report":
        runs.signal(fork, "approval", "again")
    report, notes = stage.finish(fork)
    assert report == ("about tea: yes 7" if before == "report" else "about tea: again 7")
    assert notes == ["tea 0", "tea 1", "tea 2"]
    assert calls == redone
    assert stage.run(run).state == "completed"


def test_fork_from_what_does_not_exist_says_what_does(stage):
    """A step or a token that is not there is answered with the nearest, or with those that are; nothing is opened."""
    run = forkable(stage, [])
    count = Run.objects.count()
    with pytest.raises(RunUnknown, match=r"has no step 'two'; .*stage\.work"):
        runs.fork(run, "two")
    with pytest.raises(NotPossible, match=r"has no checkpoint 'repor'; did you mean 'report'?"):
        runs.fork(run, before="repor")
    with pytest.raises(NotPossible, match="a loop is done again as a whole"):
        runs.fork(run, before=next(token for token in stage.tokens(run) if "]/" in token))
    with pytest.raises(Exception, match="extra: Input should be a valid integer"):
        runs.fork(run, input={"extra": "x"})
    assert Run.objects.count() == count


def test_fork_of_a_fork_and_of_a_failed_run(stage):
    """A failed run is forked with another input; the fork can be forked in turn, and orders what it has seen."""

    def work(ctx, bad: bool = True):
        ctx.append("log", "a", token="a")
        ctx.save("one", 1)
        if bad:
            raise ValueError("bad")
        ctx.append("log", "b", token="b")
        ctx.save("two", 2)
        ctx.sleep("nap", seconds=0.01)
        return [list(ctx.items("log")), ctx.checkpoint.token]

    run = stage.open(work)
    stage.play(run)
    runs.retry(run)
    stage.play(run)
    fork = runs.fork(run, input={"bad": False})
    assert stage.finish(fork) == [["a", "b"], "two"]
    assert stage.finish(runs.fork(fork)) == [["a", "b"], "two"]


# Results


def test_result_of_each_state(stage):
    """Before its end a run has no result; the error says what it does instead."""
    run = add.start(left=1)
    with pytest.raises(NotPossible, match="is pending: it has no result yet"):
        runs.result(run)
    stage.play(run)
    assert runs.result(run.id) == runs.result(str(run.id)) == run.result() == 2
    with pytest.raises(RunUnknown, match="there is no run"):
        runs.result(uuid.uuid4())


def test_wait_gives_up_in_time_and_says_where_to_look():
    """A wait with a timeout ends with it, and names the command that says why."""
    run = add.start(left=1)
    began = time.monotonic()
    with pytest.raises(WaitedTooLong, match=f"did not end in 0.1 s; `manage.py why {run.id}`"):
        run.wait(timeout=0.1)
    assert time.monotonic() - began < 10


def test_wait_takes_a_length_of_time_and_refuses_what_is_none():
    """A time-out is written as any other length of time; what is none is said before anything is waited for."""
    run = add.start(left=1)
    with pytest.raises(WaitedTooLong, match="did not end in 1 s"):
        run.wait(timeout="1s")
    with pytest.raises(OptionInvalid, match="timeout is 'x'; write seconds"):
        run.wait(timeout="x")


def test_run_whose_agent_is_gone_is_listed(client, admin_user):
    """A run outlives its agent's row, and is listed, told and explained all the same."""
    Agent.objects.create(name="scout")
    run = add.start(left=1, agent="scout")
    Agent.objects.filter(name="scout")._raw_delete("default")
    gone = f"(agent {run.agent_id} is gone)"
    out = io.StringIO()
    call_command("runs", stdout=out)
    call_command("run", str(run.id), stdout=out)
    call_command("why", str(run.id), stdout=out)
    assert out.getvalue().count(gone) >= 2
    client.force_login(admin_user)
    assert gone in client.get("/admin/execution/run/").content.decode()
    assert client.get(f"/admin/execution/run/{run.id}/change/").status_code == 200


def test_wait_in_the_transaction_that_opened_the_run_raises_at_once(stage):
    """It could never end; a committed run may be waited for inside another transaction."""
    with transaction.atomic():
        run = add.start(left=1)
        with pytest.raises(NotCommitted, match="inside the transaction that opened it"):
            run.wait()
        with pytest.raises(NotCommitted):
            runs.wait(run.id)
    stage.play(run)
    with transaction.atomic():
        assert runs.wait(run.id) == 2
