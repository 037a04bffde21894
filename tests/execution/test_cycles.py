"""Cycles: each tick is one worker's, state and work are stored together, and an error stays inside."""

from datetime import timedelta

import pytest
from django.utils import timezone

from execution import schedule, tasks
from execution.cycles import Cycle
from execution.models import Agent, CycleState
from tests.hands import MARKS, side_by_side

pytestmark = MARKS


def cycle_of(step, *, hours=1, **more):
    """Return a cycle."""
    return Cycle(name="tests.cycle", period=timedelta(hours=hours), step=step, **more)


def pass_time(hours):
    """Let the last tick be so long ago."""
    row = CycleState.objects.get(pk="tests.cycle")
    row.ticked_at -= timedelta(hours=hours)
    row.save()


def count(state):
    """Count the passes."""
    state["n"] = state.get("n", 0) + 1
    return 5


def state():
    """Return what the cycle keeps."""
    return CycleState.objects.get(pk="tests.cycle")


def test_tick_is_done_once_a_period(transactional_db):
    """However often it is asked, a cycle does one pass a period."""
    cycle = cycle_of(count)
    assert [cycle.run() for _ in range(3)] == [5, None, None]
    pass_time(1)
    assert cycle.run() == 5
    assert (state().state, state().touched_count, state().tick_count) == ({"n": 2}, 10, 2)


def test_tick_side_by_side_is_done_once(transactional_db):
    """Two beats do no harm."""
    answers = side_by_side(*[cycle_of(count).run] * 8)
    assert sorted(one for one in answers if one is not None) == [5]
    assert state().state == {"n": 1}


def test_missed_ticks_are_not_made_up_for(transactional_db):
    """After a long pause one pass is done, not a burst of them."""
    cycle = cycle_of(count)
    cycle.run()
    pass_time(50)
    assert [cycle.run() for _ in range(3)] == [5, None, None]


@pytest.mark.parametrize("is_atomic", [True, False])
def test_error_is_counted_and_stays_inside(transactional_db, is_atomic):
    """A pass that fails is logged, counted and shown; the next one runs, and its success takes the error off the page."""

    def fail(state):
        state["n"] = 99
        Agent.objects.create(name="half done")
        raise ValueError("no")

    assert cycle_of(fail, is_atomic=is_atomic).run() is None
    assert state().error_count == 1
    assert "ValueError: no" in state().last_error
    assert state().state == {}
    assert Agent.objects.filter(name="half done").exists() is not is_atomic
    pass_time(2)
    assert cycle_of(count).run() == 5
    assert (state().error_count, state().last_error) == (1, "")


def test_state_and_work_are_stored_together(transactional_db):
    """A pass sees the state of the one before it, and what it did is there with it."""

    def step(state):
        Agent.objects.create(name=f"agent {state.get('n', 0)}")
        return count(state)

    for _ in range(3):
        cycle_of(step).run()
        pass_time(1)
    assert Agent.objects.count() == 3
    assert state().state == {"n": 3}


def test_clock_of_this_host_does_not_matter(transactional_db, monkeypatch):
    """Whether a tick is due is decided by the database's clock."""
    cycle = cycle_of(count)
    cycle.run()
    monkeypatch.setattr(timezone, "now", lambda: state().ticked_at + timedelta(days=3))
    assert cycle.run() is None


def test_scheduled_tasks_do_a_tick_each():
    """Every task that the schedule names is there, and its tick fails in nothing."""
    for entry in schedule.SCHEDULE:
        getattr(tasks, entry.task.removeprefix("execution."))()
    states = CycleState.objects.filter(name__in=[f"execution.{name}" for name in ("sessions", "memory", "provenance")])
    assert {(state.tick_count, state.error_count, state.last_error) for state in states} == {(1, 0, "")}
    assert len(states) == 3
