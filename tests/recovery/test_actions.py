"""Actions: each verb does what it says, in the caller's transaction, and is refused where it cannot be done."""

import pytest
from django.db import transaction

from execution import runs, skills, why
from execution.exceptions import CeleriacError, NotAllowed, NotPossible
from execution.models import Breaker, Event, Run, RunState, Step
from execution.workflows import catalog
from recovery import actions, playbook
from recovery.actions import Target
from recovery.exceptions import NotFound
from tests.execution.test_commands import state_of
from tests.hands import MARKS, finish
from tests.recovery import failed

pytestmark = MARKS
WHO = {"by": "ann", "reason": "tests"}


def of(run, **more):
    """Return a run as a target."""
    return Target(run_id=run.id, step_id=run.id, agent_id=run.agent_id, skill=run.workflow, **more)


def test_shipped_actions_name_verbs_that_can_do_them():
    """Each shipped template is one that its verb takes, and every verb is in the playbook."""
    for action in playbook.shipped():
        playbook.check(action)
    assert {action.verb for action in playbook.shipped()} == set(actions.KNOWN)


@pytest.mark.parametrize(
    ("name", "parameters", "error", "words"),
    [
        ("retri", {}, NotFound, "did you mean 'retry'"),
        ("retry", {"second": 1}, NotAllowed, "did you mean 'seconds'"),
        ("fall_back", {}, NotAllowed, "must be told skill"),
        ("retry", {}, NotAllowed, "done to a run"),
    ],
)
def test_what_cannot_be_done_says_why(name, parameters, error, words):
    """A mistake is named with what to do."""
    with pytest.raises(error, match=words):
        actions.perform(name, Target(), parameters, by="ann")


def test_nothing_is_left_of_a_transaction_that_fails(hands):
    """A verb is the caller's: it is undone with all else."""
    run = failed.failed_run(hands)
    with transaction.atomic():
        actions.perform("retry", of(run), {"seconds": 5}, **WHO)
        transaction.set_rollback(True)
    assert (state_of(run), Step.objects.get(pk=run.id).state) == ("failed", "failed")


def test_retry_waits_longer_each_time(hands):
    """30 s, then 60 s, and never longer than it may."""
    run = failed.failed_run(hands)
    for number, expected in enumerate((30, 60, 90)):
        found = failed.candidate_for(run, kind=str(number) * 40)
        failed.RecoveryCandidate.objects.filter(pk=found.pk).update(applied_at=found.created_at, state="ineffective")
        done = actions.perform("retry", of(run), {"seconds": 30, "most_seconds": 90}, **WHO)
        assert done.details == {"after_seconds": expected}
        run = failed.go_on(hands, run)
        assert run.state == "failed"


def test_retry_now(hands):
    """Without a wait the step is ready at once."""
    run = failed.failed_run(hands)
    actions.perform("retry", of(run), {}, **WHO)
    assert Step.objects.get(pk=run.id).state == "ready"


def test_fall_back(hands):
    """The skill is tried once more, then the other takes over, in the same run."""
    run = failed.failed_run(hands)
    actions.perform("fall_back", of(run), {"skill": "candidates.other"}, **WHO)
    hands.perform(run)
    assert runs.result(run) == "another way"
    with pytest.raises(CeleriacError, match="did you mean 'candidates.other'"):
        actions.perform("fall_back", of(failed.failed_run(hands)), {"skill": "candidates.othr"}, **WHO)


def test_retry_with_input_and_fork(hands):
    """A new run goes on; the failed one stays as it is."""
    run = failed.failed_run(hands, failed.skills.picky, number=3)
    patched = actions.perform("retry_with_input", of(run), {"changes": {"number": 8}}, **WHO)
    hands.perform(patched.recovery_run_id)
    assert runs.result(patched.recovery_run_id) == 8
    assert actions.perform("fork", of(run), {}, **WHO).recovery_run_id != patched.recovery_run_id
    assert state_of(run) == "failed"


def test_open_breaker_lets_the_run_probe(hands):
    """The skill is held back, and the failed run waits behind its breaker."""
    run = failed.failed_run(hands)
    actions.perform("open_breaker", of(run), {"seconds": 60}, **WHO)
    assert hands.claim(run).reason == "breaker"
    Breaker.objects.update(probe_at="2020-01-01T00:00Z")
    assert failed.go_on(hands, run).state == "failed"


def test_pause_skill_holds_until_a_person_closes_it(hands):
    """It says so in `why`; an old step that succeeds does not open the door; closing it does."""
    run, under_way = failed.failed_run(hands, failed.skills.picky, number=1), failed.skills.picky.start(number=2)
    claim = hands.take(under_way)
    actions.perform("pause_skill", of(run), {}, **WHO)
    later = failed.skills.picky.start(number=4)
    assert hands.claim(later).reason == "breaker"
    assert "open until a person closes it" in str(why.explain(later))
    finish(claim, breaker="ok")
    assert Breaker.objects.get().state == "open"
    skills.resume("candidates.picky", by="ann")
    hands.perform(later)
    assert runs.result(later) == 4
    with pytest.raises(NotPossible, match="has no breaker"):
        skills.pause("candidates.unguarded")


def test_top_up_by_a_share(hands):
    """A parked run gets half as much again, and goes on."""
    run = failed.failed_run(hands, failed.skills.dear, budget="0.80")
    actions.perform("top_up", of(run), {"share": 0.5}, **WHO)
    hands.perform(run)
    run.refresh_from_db()
    assert (run.state, str(run.budget_cost)) == ("completed", "1.200000")


def test_roll_back(hands, tmp_path):
    """A workflow is done again under the version before; a first version, and a single skill, have none."""
    text = "name: two-steps\nsteps:\n  one:\n    skill: candidates.picky\n    with: {{number: {number}}}\n"
    for number in (2, 3):
        (tmp_path / "two-steps.yaml").write_text(text.format(number=number))
        catalog.load([tmp_path / "two-steps.yaml"])
    run = runs.start("two-steps")
    hands.perform(Step.objects.get(run_id=run.id, name="one"))
    run.refresh_from_db()
    assert (run.state, run.version) == ("failed", "2")
    target = Target(run_id=run.id, step_id=Step.objects.get(run_id=run.id, name="one").id)
    done = actions.perform("roll_back", target, {}, **WHO)
    back = Run.objects.get(pk=done.recovery_run_id)
    assert (back.version, back.forked_from_id) == ("1", run.id)
    for other in (back, failed.failed_run(hands)):
        with pytest.raises(NotAllowed, match="no version before"):
            actions.perform("roll_back", of(other), {}, **WHO)


@pytest.mark.parametrize(
    ("name", "parameters", "kind"),
    [
        ("reconfigure", {"tunable": "jobs.chunk", "value": 10}, "recovery.envelope_wanted"),
        ("lower_autonomy", {}, "recovery.level_fall_wanted"),
        ("escalate", {"to": "on-call"}, "recovery.escalated"),
        ("notify", {"message": "look"}, "recovery.notified"),
    ],
)
def test_what_is_asked_for_by_an_event(hands, name, parameters, kind):
    """The event says what is wanted, of whom, by whom and why."""
    run = failed.failed_run(hands)
    actions.perform(name, of(run), parameters, **WHO)
    event = Event.objects.get(kind=kind)
    assert (event.run_id, event.agent_id, event.data["by"], event.data["skill"]) == (
        run.id, run.agent_id, "ann", "candidates.flaky",
    )  # fmt: skip
    assert parameters.items() <= event.data.items()
    assert state_of(run) == RunState.FAILED


def test_what_a_person_does(hands):
    """Nothing is done to the run."""
    run = failed.failed_run(hands)
    for name in ("manual", "skip"):
        assert actions.perform(name, of(run), {}, **WHO).text
    assert state_of(run) == "failed"


def test_resume_under_a_new_version():
    """A run that is parked for its version goes on."""
    run = Run.objects.create(
        workflow="a", agent_id=failed.trusted().id, state="parked", waiting="version", input=b"j{}"
    )
    assert actions.standing(run) == "version"
    actions.perform("resume", of(run), {}, **WHO)
    assert state_of(run) == "pending"
