"""Decisions: written once, applied once, overtaken where the run has gone on; and what becomes of them."""

from datetime import timedelta

import pytest
from django.db import OperationalError, transaction
from django.utils import timezone

from execution import runs
from execution.exceptions import NotAllowed
from execution.models import Event, Run, Step, Timer
from recovery import actions, candidates, decisions, evaluator, outcomes, playbook
from recovery.exceptions import AlreadyDecided, NotFound
from recovery.models import ActionRecord, RecoveryCandidate, SuggestionAction
from tests.hands import MARKS, side_by_side
from tests.recovery import failed

pytestmark = MARKS


@pytest.fixture
def waiting(hands):
    """Return a function that makes a failed run whose candidate waits for an operator."""

    def make(*given, **more):
        about = {name: more.pop(name) for name in ("kind", "pattern") if name in more}
        found = failed.candidate_for(failed.failed_run(hands, *given, **more), **about)
        evaluator.evaluate_ids([found.id], source="claim", by="tests")
        found.refresh_from_db()
        return found

    return make


class TestDeciding:
    """The write decides, and the loser learns it."""

    def test_approve_and_apply(self, waiting):
        """Approved by ann, applied once; the run goes on after a stored timer, and the audit tells who and why."""
        found = decisions.approve(waiting(), by="ann", reason="the gate opens soon")
        assert (found.state, found.decision, found.decided_by) == ("approved", "approved", "ann")
        done = decisions.apply(found, by="ann")
        assert (done.state, done.applied_at is None) == ("applied", False)
        step = Step.objects.get(pk=found.step_id)
        assert (step.state, step.waiting) == ("waiting", "retry")
        assert timedelta(seconds=25) < Timer.objects.get(step_id=step.id, fired_at=None).due_at - timezone.now()
        retried = Event.objects.get(kind="run.retried")
        assert (retried.data["by"], retried.data["reason"]) == ("ann", "the gate opens soon")
        lines = list(found.provenance.values_list("stage", "actor"))
        assert lines == [("evaluated", "tests"), ("decided", "ann"), ("applied", "ann")]

    @pytest.mark.parametrize("second", [decisions.approve, decisions.reject])
    def test_second_decision_loses(self, waiting, second):
        """Whoever looked at the same row and comes second changes nothing."""
        seen = waiting()
        decisions.reject(seen, by="ann")
        with pytest.raises(AlreadyDecided, match="rejected by ann already"):
            second(seen, by="bob")
        assert candidates.get(seen).decided_by == "ann"

    def test_race_of_ten(self, waiting):
        """Ten operators at once: one decision, one event, one line of audit."""
        seen = waiting()
        answers = side_by_side(*(lambda n=n: _tried(decisions.approve, seen, by=f"op-{n}") for n in range(10)))
        assert sum(answer is None for answer in answers) == 1
        assert Event.objects.filter(kind="candidate.approved").count() == 1
        assert seen.provenance.filter(stage="decided").count() == 1

    def test_stale_look_is_refused(self, waiting):
        """What was evaluated again since it was looked at is not decided by the old look."""
        seen = waiting()
        RecoveryCandidate.objects.update(state="open")
        evaluator.evaluate_ids([seen.id], source="claim", by="tests")
        with pytest.raises(AlreadyDecided):
            decisions.approve(seen, by="ann")

    def test_what_is_not_evaluated_cannot_be_decided(self):
        """The error says why."""
        with pytest.raises(AlreadyDecided, match="not been evaluated"):
            decisions.reject(failed.opened()[0], by="ann")

    def test_change(self, waiting):
        """Another action of the playbook counts as its own; changed parameters count for none."""
        found = decisions.change_and_approve(waiting(), action="retry-later", by="ann")
        assert (found.action, found.parameters, found.proven_since, found.decision) == (
            "retry-later", {"seconds": 600}, 1, "changed",
        )  # fmt: skip
        found = decisions.change_and_approve(waiting(), parameters={"seconds": 1}, by="ann")
        assert (found.action, found.parameters, found.proven_since) == ("retry", {"seconds": 1}, None)

    @pytest.mark.parametrize(
        ("change", "error", "words"),
        [
            ({"action": "retri"}, NotFound, "did you mean 'retry'"),
            ({"parameters": {"second": 1}}, NotAllowed, "did you mean 'seconds'"),
            ({"action": "fall-back"}, NotAllowed, "must be told skill"),
        ],
    )
    def test_change_that_cannot_be(self, waiting, change, error, words):
        """A mistake is named, and nothing is decided."""
        seen = waiting()
        with pytest.raises(error, match=words):
            decisions.change_and_approve(seen, **change, by="ann")
        assert failed.states(seen) == ["waiting"]

    def test_bulk_by_pattern(self, hands):
        """Each of a pattern's candidates has its own result; one that went on is not done."""
        pattern = failed.known_pattern()
        found = [
            failed.candidate_for(failed.failed_run(hands), kind=failed.KIND, pattern=pattern) for _ in range(4)
        ]  # fmt: skip
        evaluator.evaluate_next(source="claim", by="tests")
        runs.retry(found[1].run_id)
        results = decisions.bulk(decisions.approve_and_apply, pattern.name, by="ann", reason="known")
        assert [result.text.split(":")[0] for result in results] == ["applied", "overtaken", "applied", "applied"]
        assert failed.states(*found) == ["applied", "overtaken", "applied", "applied"]
        assert decisions.bulk(decisions.reject, pattern, by="ann") == []

    def test_bulk_goes_on_after_one_that_fails(self, monkeypatch):
        """One that somebody else decided is told, and the others are done."""
        pattern = failed.known_pattern(mode="ask")
        found = failed.opened(3, pattern=pattern)
        evaluator.evaluate_next(source="claim", by="tests")
        reject = decisions.reject

        def raced(candidate, **why):
            if candidate.id == found[0].id:
                reject(candidate.id, by="bob")
            return reject(candidate, **why)

        results = decisions.bulk(raced, pattern, by="ann")
        assert [result.is_done for result in results] == [False, True, True]
        assert "by bob already" in results[0].text


def _tried(verb, *args, **options):
    try:
        verb(*args, **options)
    except AlreadyDecided as error:
        return error


class TestApplying:
    """Once, together with its record, or not at all."""

    def test_race_of_ten(self, waiting):
        """Ten appliers at once: one retry."""
        found = decisions.approve(waiting(), by="ann")
        answers = side_by_side(*(lambda: _tried(decisions.apply, found, by="x") for _ in range(10)))
        assert sum(answer is None for answer in answers) == 1
        assert Event.objects.filter(kind="run.retried").count() == 1

    def test_not_approved(self, waiting):
        """The error says what to do."""
        with pytest.raises(AlreadyDecided, match="approve it first"):
            decisions.apply(waiting(), by="ann")

    def test_run_that_went_on_is_left_alone(self, waiting):
        """Retried by hand in between: overtaken, and not retried twice."""
        found = decisions.approve(waiting(), by="ann")
        runs.retry(found.run_id, by="bob")
        assert decisions.apply(found, by="ann").state == "overtaken"
        assert Event.objects.filter(kind="run.retried").count() == 1

    def test_run_that_failed_by_something_else_is_left_alone(self, waiting, hands):
        """Retried by hand and failed by another kind of failure: what was meant for the first is not done."""
        found = decisions.approve(waiting(), by="ann")
        runs.retry(found.run_id)
        hands.perform(found.run_id)
        run = runs.get(found.run_id)
        other = failed.candidate_for(run, kind="0" * 40)
        assert decisions.apply(found, by="ann").state == "overtaken"
        assert failed.states(other) == ["open"]

    def test_run_that_failed_alike_again_is_recovered(self, waiting, hands):
        """Retried by hand and failed by the same kind: the failure has joined, and what was approved still fits."""
        found = decisions.approve(waiting(), by="ann")
        runs.retry(found.run_id)
        hands.perform(found.run_id)
        assert failed.candidate_for(runs.get(found.run_id)).id == found.id
        assert decisions.apply(found, by="ann").state == "applied"

    def test_failing_verb_gives_it_back(self, waiting, monkeypatch):
        """Nothing of a verb that failed half-way stays; a person has it, with the error."""
        found = decisions.approve(waiting(), by="ann")

        def half(target, **_):
            runs.retry(target.run_id)
            raise ValueError("half-way")

        monkeypatch.setitem(actions.KNOWN, "retry", actions.Verb(name="retry", perform=half))
        monkeypatch.setattr(actions, "check", lambda *args, **options: None)
        back = decisions.apply(found, by="ann")
        assert (back.state, back.needs, back.applied_at) == ("waiting", "retry could not be done: half-way", None)
        assert Run.objects.get(pk=found.run_id).state == "failed"
        assert not Event.objects.filter(kind__in=["run.retried", "candidate.applied"]).exists()
        assert Event.objects.filter(kind="candidate.returned").count() == 1

    def test_what_the_database_refuses_gives_it_back(self, waiting):
        """Parameters that the database cannot hold are a person's mistake: it waits again, and holds up no other."""
        decisions.change_and_approve(waiting(), action="wait-out-an-outage", parameters={"seconds": 1e300}, by="ann")
        assert decisions.apply_due() == 1
        found = RecoveryCandidate.objects.get()
        assert (found.state, found.applied_at, found.decision) == ("waiting", None, "")
        assert "could not be done" in found.needs
        assert decisions.apply_due() == 0

    def test_database_that_went_away_leaves_it_approved(self, waiting, monkeypatch):
        """What fails because the database does is no fault of the action: the claim worker does it later."""

        def away(*_, **__):
            raise OperationalError("the connection is lost")

        seen = decisions.approve(waiting(), by="ann")
        with monkeypatch.context() as broken:
            broken.setattr(actions, "perform", away)
            assert decisions.apply_due() == 0
        assert failed.states(seen) == ["approved"]
        assert decisions.apply_due() == 1

    def test_cool_down(self, waiting, hands):
        """The same to the same within its cool-down goes back to a person."""
        SuggestionAction.objects.filter(pk="retry").update(cooldown_seconds=600)
        first = waiting()
        decisions.approve_and_apply(first, by="ann")
        run = failed.go_on(hands, first.run_id)
        second = failed.candidate_for(run)
        evaluator.evaluate_ids([second.id], source="claim", by="tests")
        second.refresh_from_db()
        assert second.action != "retry"
        assert "retry" in [one["action"] for one in second.alternatives]
        back = decisions.approve(decisions_of(second), by="ann")
        assert decisions.apply(back, by="ann").needs.endswith("cools down for 10 min")

    def test_frozen_parameters_are_applied(self, waiting):
        """A template that was changed after the evaluation changes nothing of what was approved."""
        found = waiting()
        playbook.change("retry", by="bob", parameters={"seconds": 3000})
        decisions.approve_and_apply(found, by="ann")
        due = Timer.objects.get(step_id=found.step_id, fired_at=None).due_at
        assert due - timezone.now() < timedelta(seconds=31)


def decisions_of(candidate):
    """Put the retry back at its first place, as an operator who insists."""
    RecoveryCandidate.objects.filter(pk=candidate.pk).update(action="retry", verb="retry", parameters={"seconds": 1})
    return candidates.get(candidate)


class TestOutcomes:
    """What became of it, and what is learnt."""

    def test_recovered(self, waiting, hands, tmp_path):
        """The run completes: recovered, with its cost, and counted for the action and the kind."""
        found = waiting(gate=str(tmp_path / "gate"), cost="0.25")
        decisions.approve_and_apply(found, by="ann")
        (tmp_path / "gate").touch()
        failed.go_on(hands, found.run_id)
        outcomes.measure_all()
        found.refresh_from_db()
        record = ActionRecord.objects.get()
        assert (found.state, found.outcome, str(found.cost)) == ("recovered", "the run completed", "0.250000")
        assert (record.action, record.tried_count, record.recovered_count) == ("retry", 1, 1)
        assert found.provenance.filter(stage="measured").count() == 1
        outcomes.measure_all()
        assert ActionRecord.objects.get().tried_count == 1

    def test_ineffective_and_the_next_one_is_opened(self, waiting, hands):
        """The run fails again: ineffective, and a new candidate is there, whichever reader comes first."""
        for measure_first in (True, False):
            found = waiting(kind=failed.KIND)
            decisions.approve_and_apply(found, by="ann")
            run = failed.go_on(hands, found.run_id)
            if measure_first:
                outcomes.measure_all()
            following = failed.candidate_for(run, kind=failed.KIND)
            outcomes.measure_all()
            assert failed.states(found, following) == ["ineffective", "open"]
        record = ActionRecord.objects.get()
        assert (record.tried_count, record.recovered_count, record.ineffective_at) == (2, 0, None)

    def test_recovery_in_a_run_of_its_own(self, waiting, hands):
        """A fork with another input completes: the candidate of the first run has recovered."""
        found = waiting(failed.skills.picky, number=3)
        assert found.action == "patch-the-input"
        done = decisions.apply(
            decisions.change_and_approve(found, parameters={"changes": {"number": 4}}, by="ann"), by="ann"
        )
        hands.perform(done.recovery_run_id)
        outcomes.measure_all()
        assert failed.states(found) == ["recovered"]
        assert not ActionRecord.objects.exists(), "what a person changed is no evidence"

    def test_failing_recovery_run_knows_where_it_comes_from(self, waiting, hands):
        """A recovery run that fails opens a candidate of its own, counted to the first run."""
        found = waiting(failed.skills.picky, number=3)
        change = decisions.change_and_approve(found, parameters={"changes": {"number": 5}}, by="ann")
        done = decisions.apply(change, by="ann")
        hands.perform(done.recovery_run_id)
        following = failed.candidate_for(runs.get(done.recovery_run_id))
        assert (following.run_id, following.origin_run_id) == (done.recovery_run_id, found.run_id)
        assert failed.states(found) == ["ineffective"]

    def test_relapse(self, waiting, hands, tmp_path):
        """The same kind soon after a success, in a fork of the run: the success is none, and the action is taken back."""
        found = waiting(gate=str(tmp_path / "gate"), kind=failed.KIND)
        decisions.approve_and_apply(found, by="ann")
        (tmp_path / "gate").touch()
        failed.go_on(hands, found.run_id)
        outcomes.measure_all()
        (tmp_path / "gate").unlink()
        forked = runs.fork(found.run_id)
        hands.perform(forked)
        failed.candidate_for(runs.get(forked.id), kind=failed.KIND)
        found.refresh_from_db()
        record = ActionRecord.objects.get()
        assert (found.state, "came back" in found.outcome) == ("ineffective", True)
        assert (record.tried_count, record.recovered_count, record.ineffective_at is None) == (1, 0, False)
        assert Event.objects.filter(kind="candidate.relapsed").count() == 1

    def test_no_relapse_after_a_day(self, waiting, hands, tmp_path):
        """What fails long after a success says nothing of it."""
        found = waiting(gate=str(tmp_path / "gate"), kind=failed.KIND)
        decisions.approve_and_apply(found, by="ann")
        (tmp_path / "gate").touch()
        failed.go_on(hands, found.run_id)
        outcomes.measure_all()
        RecoveryCandidate.objects.update(ended_at=timezone.now() - timedelta(hours=25))
        (tmp_path / "gate").unlink()
        forked = runs.fork(found.run_id)
        hands.perform(forked)
        failed.candidate_for(runs.get(forked.id), kind=failed.KIND)
        assert failed.states(found) == ["recovered"]

    def test_applied_alone_in_vain_is_taken_back_and_cleared(self, hands):
        """An action that failed without a person asked needs one from then on, until somebody clears it."""
        failed.unlock()
        failed.trusted()
        failed.proven(recovered=400, tried=400)
        pattern = failed.known_pattern()
        run = failed.failed_run(hands, agent="scout")
        first = failed.candidate_for(run, kind=failed.KIND, pattern=pattern)
        evaluator.evaluate_next(source="claim", by="tests")
        assert failed.states(first) == ["applied"]
        second = failed.candidate_for(failed.go_on(hands, run), kind=failed.KIND, pattern=pattern)
        evaluator.evaluate_next(source="claim", by="tests")
        second.refresh_from_db()
        assert (second.state, second.bound > 0.8) == ("waiting", True)
        assert "taken back to review" in second.needs
        assert Event.objects.filter(kind="candidate.taken_back").count() == 1
        with pytest.raises(NotAllowed, match="not taken back"):
            decisions.clear("retry", "123", by="ann")
        assert decisions.clear("retry", failed.KIND[:8], by="ann", reason="fixed") == 1
        third = failed.candidate_for(
            failed.failed_run(hands, agent="scout"), kind=failed.KIND, pattern=pattern
        )  # fmt: skip
        evaluator.evaluate_next(source="claim", by="tests")
        assert failed.states(third) == ["applied"]

    def test_run_that_went_on_without_it(self, waiting):
        """A candidate that waits is overtaken when its run is retried, but not while a failure joins it."""
        found, other = waiting(), waiting(kind="0" * 40)
        runs.retry(found.run_id)
        outcomes.measure_all()
        assert failed.states(found, other) == ["overtaken", "waiting"]

    def test_cancelled_run_says_nothing(self, waiting):
        """A recovery that a person cancelled counts neither way."""
        found = waiting()
        decisions.approve_and_apply(found, by="ann")
        runs.cancel(found.run_id)
        outcomes.measure_all()
        assert failed.states(found) == ["overtaken"]
        assert not ActionRecord.objects.exists()

    def test_settled(self, waiting):
        """An action that lets no run go on is over when it is done, and a further failure opens another candidate."""
        found = waiting()
        decisions.apply(decisions.change_and_approve(found, action="escalate", by="ann"), by="ann")
        assert failed.states(found) == ["settled"]
        assert Event.objects.get(kind="recovery.escalated").run_id == found.run_id
        assert not ActionRecord.objects.exists()


class TestPlaybook:
    """Templates: each change has a number, and what it does is proven anew."""

    def test_versions(self):
        """Every change counts, by whichever way; only what it does starts its evidence anew."""
        assert playbook.change("retry", by="ann", weight=0.3).version == 2
        SuggestionAction.objects.filter(pk="retry").update(description="by SQL", version=77)
        row = playbook.get("retry")
        assert (row.version, row.proven_since) == (3, 1)
        assert playbook.change("retry", by="ann", parameters={"seconds": 5}).proven_since == 4
        assert playbook.change("retry", by="ann", parameters={"seconds": 5}).version == 4, "nothing changed"

    def test_second_editor_loses(self):
        """Who looked at an older text changes nothing."""
        seen = playbook.get("retry").version
        playbook.change("retry", by="ann", weight=0.3, seen_version=seen)
        with pytest.raises(AlreadyDecided, match="somebody else"):
            playbook.change("retry", by="bob", weight=0.9, seen_version=seen)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"wieght": 1}, "did you mean 'weight'"),
            ({"weight": 3}, "from 0 to 1"),
            ({"parameters": {"secs": 3}}, "no parameter 'secs'"),
            ({"verb": "fall_back", "parameters": {}}, "must be told skill"),
        ],
    )
    def test_what_is_refused(self, changes, words):
        """A mistake is named, and nothing changes."""
        with pytest.raises(NotAllowed, match=words):
            playbook.change("retry", by="ann", **changes)
        assert playbook.get("retry").version == 1

    def test_disabled_is_not_suggested(self):
        """What is off is off for the next evaluation."""
        playbook.disable("retry", by="ann")
        found = failed.opened()[0]
        evaluator.evaluate_next(source="claim", by="tests")
        found.refresh_from_db()
        assert "retry" not in [found.action, *(one["action"] for one in found.alternatives)]
        with transaction.atomic():
            assert playbook.enable("retry", by="ann").is_enabled
