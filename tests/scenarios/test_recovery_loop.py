"""The loop of recovery, told once with real workers: from the first failure that a person answers to trust, and back."""

import pytest

from execution import agents
from execution.models import CycleState, Event, Level, Run
from recovery import autonomy, decisions, playbook, tasks
from recovery.models import ActionRecord, RecoveryCandidate
from recovery.weighing import lower_bound
from tests import candidate_skills as skills
from tests.recovery import failed

SKILLS = "tests.candidate_skills"
NEEDED = 11
pytestmark = pytest.mark.slow


def beat():
    """Send what beat sends, whatever the time: a worker takes failures in, evaluates, applies and measures."""
    CycleState.objects.filter(name__startswith="recovery.").update(ticked_at=None)
    for task in (tasks.take_in_failures, tasks.work_stream, tasks.work_on_candidates, tasks.measure_outcomes):
        task.apply_async(queue="celeriac")


class Loop:
    """One agent, one skill whose gate is closed at first, and an operator."""

    def __init__(self, eventually, folder):
        self.eventually, self.folder = eventually, folder
        self.agent = failed.trusted(level=Level.AUTONOMOUS)
        playbook.change("retry", by="operator", parameters={"seconds": 0.1}, reason="the gate opens quickly")

    def fails(self, name):
        """Start a run and see it fail."""
        run = skills.flaky.start(gate=str(self.folder / name), agent=self.agent.name)
        self.state(run, "failed")
        return run

    def open(self, name):
        """Put right what is wrong outside."""
        (self.folder / name).touch()

    def state(self, run, state):
        """Wait until a run is so."""
        self.eventually(lambda: Run.objects.filter(pk=run.id, state=state).exists(), timeout=30, message=f"run {state}")

    def candidate(self, run, state):
        """Wait until the last candidate of a run is so; a worker does what is due meanwhile."""

        def is_so():
            beat()
            found = RecoveryCandidate.objects.filter(run_id=run.id).order_by("-id").first()
            return found if found and found.state == state else None

        return self.eventually(is_so, timeout=30, every=0.2, message=f"candidate {state}")


def test_trust_is_earned_by_recoveries_and_lost_by_a_failure(workers, eventually, tmp_path):
    """A person approves until the evidence is enough; then it is done alone; when it stops working a person is asked."""
    workers(skills=SKILLS, queues="default,celeriac")
    loop = Loop(eventually, tmp_path)
    kind = first_time(loop)
    earned(loop, kind)
    still_locked(loop)
    agents.lift(autonomy.CAPABILITY)
    applied_alone(loop)
    stops_working(loop, kind)


def first_time(loop):
    """Nobody knows this failure: the operator approves, the run recovers, and a pattern is made of it."""
    run = loop.fails("gate-0")
    found = loop.candidate(run, "waiting")
    assert (found.action, "no confirmed pattern" in found.needs) == ("retry", True)
    failed.known_pattern(found.fingerprint)
    loop.open("gate-0")
    assert decisions.approve_and_apply(found, by="operator", reason="the gate is open").state == "applied"
    loop.state(run, "completed")
    found = loop.candidate(run, "recovered")
    assert [line.stage for line in found.provenance.all()] == ["evaluated", "decided", "applied", "measured"]
    return found.fingerprint


def earned(loop, kind):
    """Each recovery raises the bound; as long as it is too low a person is asked."""
    for number in range(1, NEEDED):
        run = loop.fails(f"gate-{number}")
        found = loop.candidate(run, "waiting")
        assert found.bound == pytest.approx(lower_bound(number, number))
        assert f"{number} of {number} recovered" in found.needs
        loop.open(f"gate-{number}")
        decisions.approve_and_apply(found, by="operator")
        loop.state(run, "completed")
        loop.candidate(run, "recovered")
    record = ActionRecord.objects.get(fingerprint=kind, action="retry")
    assert (record.tried_count, record.recovered_count) == (NEEDED, NEEDED)


def still_locked(loop):
    """There is evidence enough, and nobody has unlocked it: a person is asked."""
    run = loop.fails("locked")
    found = loop.candidate(run, "waiting")
    assert (found.bound > 0.8, found.needs) == (True, "auto_apply_recovery is not unlocked for agent 'scout'")
    decisions.reject(found, by="operator", reason="to be unlocked first")


def applied_alone(loop):
    """It is unlocked: the next one is applied with nobody asked, and recovers."""
    run = loop.fails("alone")
    loop.open("alone")
    found = loop.candidate(run, "recovered")
    assert (found.decision, found.decided_by) == ("automatic", "fit, then evidence")
    assert Run.objects.get(pk=run.id).state == "completed"
    assert Event.objects.get(kind="run.retried", run_id=run.id).data["by"] == "recovery"


def stops_working(loop, kind):
    """It is applied alone and the run fails again: from then on a person is asked, who puts it right and clears it."""
    run = loop.fails("broken")
    loop.candidate(run, "applied")
    loop.eventually(lambda: Event.objects.filter(run_id=run.id, kind="run.failed").count() == 2, timeout=30)
    found = loop.candidate(run, "waiting")
    assert "taken back to review" in found.needs
    assert RecoveryCandidate.objects.filter(run_id=run.id, state="ineffective").count() == 1
    assert Event.objects.filter(kind="candidate.taken_back", run_id=run.id).count() == 1
    loop.open("broken")
    changed = decisions.change_and_approve(found, action="retry", by="operator", reason="mended")
    decisions.apply(changed, by="operator")
    loop.state(run, "completed")
    loop.candidate(run, "recovered")
    decisions.clear("retry", kind, by="operator", reason="mended")
    record = ActionRecord.objects.get(fingerprint=kind, action="retry")
    assert record.cleared_at > record.ineffective_at
