"""Small steps that are claimed with the one before them: which ones, how many, and what becomes of those not begun."""

import time
import uuid

import pytest
from django.db import transaction

from execution import ids, ledger, performing, runs
from execution.ledger import Wish
from execution.models import Agent, Attempt, Breaker, Run, Step
from tests import hands as by_hand
from tests.hands import open_run, side_by_side

pytestmark = by_hand.MARKS


def waiting(count, **changes):
    """Open runs that no message was sent for; return their ids in order."""
    ids_of = [open_run().id for _ in range(count)]
    Step.objects.filter(pk__in=ids_of).update(rung_at=None, **changes)
    return ids_of


def wish_of(hands, *, quick=("tests.add",), most=8):
    """Return the wish to go on with up to so many steps."""
    return Wish(
        queue="default", skills=["tests.add"], agent_id=uuid.UUID(int=0), attempt_id=ids.new(), worker_id=hands.worker_id,
        pid=1, further=[ids.new() for _ in range(most - 1)], quick=list(quick),
    )  # fmt: skip


def end(hands, **words):
    """End a step with the wish to go on, and return the steps that were claimed in the same transaction."""
    first = hands.take(open_run())
    return [claim.step_id for claim in ledger.finish(first, "completed", wish=wish_of(hands, **words)).following]


def test_steps_are_claimed_in_order_each_with_an_attempt(hands):
    """What is claimed together comes in the ledger's order, as if each had been claimed alone."""
    found = waiting(20)
    first = hands.take(open_run())
    claims = ledger.finish(first, "completed", wish=wish_of(hands)).following
    assert [claim.step_id for claim in claims] == found[:8]
    for claim in claims:
        step, attempt = Step.objects.get(pk=claim.step_id), Attempt.objects.get(pk=claim.attempt_id)
        assert (step.state, step.epoch, step.attempt_id) == ("running", 1, claim.attempt_id)
        assert (attempt.step_id, attempt.epoch, attempt.started_at) == (step.id, 1, claim.claimed_at)
        assert Run.objects.get(pk=claim.run_id).state == "running"
        assert ledger.unpack(claim.input) == {"args": [], "kwargs": {"left": 1}}
        assert by_hand.finish(claim, "completed", 1).verdict == "done"


def test_alone_and_together_say_the_same(hands):
    """A claim says the same of a step, whichever way it was made."""
    _, second, third = waiting(3)
    first = hands.take(open_run())
    _, together = ledger.finish(first, "completed", wish=wish_of(hands, most=2)).following
    alone = hands.take(third)
    its_own = {"step_id", "run_id", "attempt_id", "claimed_at", "first_started_at"}
    assert together.step_id == second
    for name in set(ledger.Claim.__dataclass_fields__) - its_own:
        assert getattr(together, name) == getattr(alone, name), name


def test_half_of_what_waits_is_left_to_others(hands):
    """Of a short line one process takes the half at most."""
    found = waiting(5)
    assert end(hands) == found[:3]


def test_nothing_waits_behind_a_step_that_may_be_slow(hands):
    """With a step of a skill that is not known to be quick nothing else is claimed."""
    found = waiting(9)
    assert end(hands, quick=()) == found[:1]


LARGE = {
    "has a key": {"key": "k"},
    "reserves money": {"reserve_cost": "0.1"},
    "uses a capability": {"capability": "web"},
    "was begun before": {"epoch": 1},
    "has a timebox": {"options": {"timebox": 60}},
    "has a time limit": {"canvas": {"timelimit": [1, None]}},
    "is followed by others": {"canvas": {"follows": "{}"}},
    "is above its agent's level": {"level": 5},
    "is of another queue": {"queue": "other"},
    "is less urgent": {"priority": -1},
    "is of another skill": {"skill": "tests.steps"},
    "has a message": {"rung_at": "2026-01-01T00:00:00Z"},
    "belongs to another agent": {"agent_id": uuid.UUID(int=2**128 - 1)},
}


def test_only_what_nothing_could_hold_back_is_claimed_with_others(hands):
    """What has a limit, a line or a claim of its own is left to its own claim."""
    for what, changes in LARGE.items():
        found = waiting(5)
        Step.objects.filter(pk=found[1]).update(**changes)
        taken = end(hands)
        assert found[0] in taken, what
        assert found[1] not in taken, what
        Step.objects.update(state="completed")


def test_step_with_an_open_breaker_is_left(hands):
    """An open breaker is looked at by its own claim."""
    found = waiting(9)
    Breaker.objects.create(name="weak", state="open")
    Step.objects.filter(pk=found[1]).update(breaker="weak")
    assert found[1] not in end(hands)


def test_budgets_are_left_to_their_own_claims(hands):
    """A run or an agent with a budget is claimed alone."""
    found = waiting(9)
    Run.objects.filter(pk=found[1]).update(budget_cost="5")
    assert found[1] not in end(hands)
    Agent.objects.update(budget_tokens=1000)
    assert end(hands) == []


def test_run_that_is_being_paused_is_neither_claimed_nor_waited_for(hands):
    """Who holds a run decides alone: its step is passed over at once, whether the pause has been written or not."""
    found = waiting(12)
    first = hands.take(open_run())
    runs.pause(found[3])
    with transaction.atomic():
        runs.hold(found[1])
        (written,) = side_by_side(lambda: ledger.finish(first, "completed", wish=wish_of(hands)))
    taken = {claim.step_id for claim in written.following}
    assert len(taken) >= 4
    assert not taken & {found[1], found[3]}


def test_two_processes_share_no_step(hands):
    """Steps that are claimed together at the same moment are claimed once each."""
    found = waiting(80)
    firsts = [hands.take(open_run()) for _ in range(4)]

    def go_on(claim):
        taken = []
        for _ in range(4):
            following = ledger.finish(claim, "completed", wish=wish_of(hands)).following
            taken += [one.step_id for one in following]
            if not following:
                break
            *others, claim = following
            for one in others:
                by_hand.finish(one, "completed", 1)
        return taken

    taken = [step for part in side_by_side(*[lambda c=c: go_on(c) for c in firsts]) for step in part]
    assert len(taken) == len(set(taken)) == Attempt.objects.filter(step_id__in=found).count()


@pytest.fixture
def quick(monkeypatch, settings):
    """Let the skill be known as quick, however slow this machine is."""
    monkeypatch.setattr(performing, "_lately", {"tests.add": 0.0001})
    monkeypatch.setattr(performing, "_remember", lambda *_: None)
    monkeypatch.setattr(performing, "_HAND_SECONDS", 60.0)
    monkeypatch.setattr(performing, "_BEGIN_SECONDS", 60.0)
    settings.CELERIAC = settings.CELERIAC | {"inline_seconds": 60.0}


def test_all_that_were_claimed_are_performed(hands, quick):
    """One message leads to every step of the line, each performed once."""
    waiting(30)
    hands.perform(open_run())
    assert set(Step.objects.values_list("state", "epoch")) == {("completed", 1)}
    assert Attempt.objects.count() == 31


@pytest.mark.parametrize("stop", ["drain", "bar", "late"])
def test_what_is_not_begun_is_left_to_others(hands, quick, monkeypatch, stop):
    """A process that drains, is barred, or was held up too long begins nothing of what it claimed; others find it ready."""
    found = waiting(20)
    kept = performing.outcome_of

    def held_up(task, claim, *rest):
        outcome = kept(task, claim, *rest)
        if claim.step_id == found[2]:
            hands.stop(stop)
        return outcome

    monkeypatch.setattr(performing, "outcome_of", held_up)
    if stop == "late":
        monkeypatch.setattr(performing, "_BEGIN_SECONDS", 0.3)
        monkeypatch.setattr(hands, "stop", lambda _: time.sleep(0.4), raising=False)
    hands.perform(open_run())
    assert set(Step.objects.filter(pk__in=found[:3]).values_list("state", flat=True)) == {"completed"}
    assert set(Step.objects.filter(pk__in=found[3:8]).values_list("state", "crash_count", "is_suspect")) == {
        ("ready", 0, False)
    }
    assert set(Attempt.objects.filter(step_id__in=found[3:8]).values_list("ending", flat=True)) == {"lost"}


def test_skill_that_was_slow_once_is_not_quick_for_long(monkeypatch):
    """After one slow performance thirty quick ones must follow before anything is claimed behind that skill again."""
    monkeypatch.setattr(performing, "_lately", {})
    seen = []
    for seconds in [0.0001] * 40 + [0.04] + [0.0001] * 40:
        performing._remember("one", seconds)
        seen.append(performing._lately["one"] < performing._QUICK_SECONDS)
    assert not seen[0]
    assert seen[39]
    assert not any(seen[40:68])
    assert seen[-1]
