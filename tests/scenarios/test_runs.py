"""Whole stories with real workers: a run that is killed, asks, calls a child; one that is paused and cancelled in mid-work."""

from decimal import Decimal

import pytest

from execution import runs
from execution.models import Attempt, Checkpoint, Run, Step
from tests import scenario_skills as skills

SKILLS = "tests.scenario_skills"
pytestmark = pytest.mark.slow


def noted(run):
    """Count the notes that a run has appended."""
    return Checkpoint.objects.filter(step_id=run.id, kind="append", name="notes").count()


def test_run_is_killed_asks_and_calls_a_child_to_its_end(grown_server, workers, eventually, tmp_path):
    """A worker dies in mid-loop; another goes on: every page is noted and paid once, the answer and the child come in."""
    first = workers(skills=SKILLS)
    gate = tmp_path / "gate"
    run = skills.research.start(pages=10, gate=str(gate), budget=1, key="research", correlation_id="story")
    eventually(lambda: noted(run) == 5)
    second = workers(skills=SKILLS)
    first.kill()
    eventually(lambda: Attempt.objects.filter(run_id=run.id).count() == 2, timeout=30)
    gate.touch()
    eventually(lambda: Step.objects.get(pk=run.id).waiting == "signal")
    assert second.is_alive
    assert runs.signal(run, "approval", {"by": "ann"}, sender="ann") == "woken"
    assert runs.wait(run, timeout=30) == {"notes": 10, "approval": {"by": "ann"}, "summary": "10 pages"}
    ended = Run.objects.get(pk=run.id)
    assert (ended.spent_cost, ended.spent_tokens, ended.reserved_cost) == (Decimal("0.1"), 100, 0)
    assert [ending for ending in endings(run) if ending == "lost"] == ["lost"]
    child = Run.objects.get(parent_run_id=run.id)
    assert (child.state, child.correlation_id) == ("completed", "story")
    assert runs.start(skills.research, {"pages": 10, "gate": str(gate)}, key="research").id == run.id


def endings(run):
    """Return how the attempts of a run ended, in order."""
    return list(Attempt.objects.filter(run_id=run.id).order_by("epoch").values_list("ending", flat=True))


def test_run_is_paused_resumed_and_cancelled_while_it_is_performed(workers, eventually, tmp_path):
    """Pause frees the worker at the next context call, resume goes on with what was recorded, cancel ends it."""
    workers(skills=SKILLS)
    run = skills.research.start(pages=4, gate=str(tmp_path / "never"))
    eventually(lambda: noted(run) == 2)
    runs.pause(run, by="ann")
    eventually(lambda: Step.objects.get(pk=run.id).waiting == "paused")
    assert endings(run) == ["suspended"]
    runs.resume(run)
    eventually(lambda: Step.objects.get(pk=run.id).state == "running")
    runs.cancel(run, reason="enough")
    eventually(lambda: Run.objects.get(pk=run.id).state == "cancelled")
    assert noted(run) == 2 + 1
    assert endings(run) == ["suspended", "cancelled"]
    assert Run.objects.get(pk=run.id).spent_cost == Decimal("0.03")


def test_run_on_a_worker_that_shuts_down_goes_on_elsewhere(workers, eventually, tmp_path):
    """A warm shutdown suspends the skill at its next context call, and the withheld checkpoint is written."""
    first = workers(skills=SKILLS)
    gate = tmp_path / "gate"
    run = skills.research.start(pages=4, gate=str(gate))
    eventually(lambda: noted(run) == 2)
    workers(skills=SKILLS)
    assert first.stop() == 0
    eventually(lambda: len(endings(run)) == 2)
    assert endings(run)[0] == "suspended"
    assert Checkpoint.objects.filter(step_id=run.id, kind="save").exists()
    gate.touch()
    runs.signal(run, "approval", "yes")
    assert runs.wait(run, timeout=30)["notes"] == 4
