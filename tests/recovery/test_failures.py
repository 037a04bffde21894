"""Intake: every attempt that failed, was lost, crashed or was parked has one row, however often the log is read."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from django.utils import timezone

from execution import ledger, runs
from execution.models import Attempt, Event, EventReader, Run
from recovery import candidates, failures, fingerprints, patterns, templates
from recovery.exceptions import NotFound
from recovery.models import ENDED, FailureMatch, FailurePattern, FailureTemplate, RecoveryCandidate
from tests import failure_skills as skills
from tests.conftest import wait_until
from tests.hands import MARKS, make_due, side_by_side
from tests.workers import test_environment as environment

pytestmark = MARKS


@pytest.fixture
def failed(stage):
    """Perform a run of a skill once, and take in what the log tells."""

    def make(skill=skills.failing_parse, *, take_in=True, given=None, **options):
        run = runs.start(skill, given, **options)
        stage.play(run)
        if take_in:
            failures.take_in()
        return run

    return make


def of(run):
    """Return a run's failures, in order."""
    return list(FailureMatch.objects.filter(run_id=run.id).order_by("failed_at"))


class TestEndings:
    """Each way to fail makes one row."""

    def test_failed_step(self, failed):
        """A failed step's row tells of its attempt: error, cost, fingerprint, and that it left its run failed."""
        run = failed()
        (row,) = of(run)
        attempt = Attempt.objects.get(run_id=run.id)
        assert (row.attempt_id, row.step_id, row.skill, row.ending) == (attempt.id, run.id, "failing.parse", "failed")
        assert (row.error_kind, row.error_type) == ("unknown", "tests.failure_skills.ParserError")
        assert (row.cost, row.tokens, row.is_final, row.is_by_message) == (Decimal("0.25"), 10, True, False)
        assert row.version == attempt.version
        stack = fingerprints.Stack(frames=("tests.failure_skills:failing_parse", "tests.failure_skills:parse"))
        assert row.fingerprint == fingerprints.of_stack(row.error_type, stack, "failing.parse")
        assert row.template.text == "cannot parse <*> at <*>"

    def test_event_of_a_final_failure(self, failed):
        """One event is written for each failure that left its run failed or parked, and none for a retry."""
        run = failed()
        failed(skills.failing_transient)
        (told,) = Event.objects.filter(kind="failure.recognised")
        (row,) = of(run)
        assert (told.run_id, told.step_id, told.data["failure"]) == (run.id, run.id, str(row.id))
        assert (told.data["fingerprint"], told.data["pattern"]) == (row.fingerprint, None)

    def test_retries(self, stage):
        """Each attempt that is tried again has a row that is not final; the last one is."""
        run = runs.start(skills.failing_transient)
        for _ in range(3):
            stage.play(run)
            make_due(run)
            ledger.ask("SELECT * FROM execution_wake_v1(100)")
        failures.take_in()
        assert [(row.ending, row.is_final) for row in of(run)] == [("failed", False)] * 2 + [("failed", True)]
        assert len({row.fingerprint for row in of(run)}) == 1

    def test_retry_of_celery(self, failed):
        """Celery's Retry is an attempt that failed, by what it says."""
        (row,) = of(failed(skills.failing_busy))
        assert (row.ending, row.is_final, row.error_type) == ("failed", False, "celery.exceptions.Retry")

    def test_lost_attempt(self, hands):
        """An attempt whose worker died has no traceback: it is known by its message."""
        run = runs.start(skills.failing_parse)
        hands.lose(hands.take(run))
        failures.take_in()
        (row,) = of(run)
        assert (row.ending, row.error_type, row.message) == ("lost", "WorkerLost", "worker died")
        assert (row.is_by_message, row.is_final, row.template.text) == (True, False, "worker died")

    def test_claim_that_was_not_begun(self, hands):
        """A step that a stopping worker gives back before it began has not failed."""
        run = runs.start(skills.failing_parse)
        hands.lose(hands.take(run), "it was claimed and not begun")
        failures.take_in()
        assert of(run) == []

    def test_parked_while_it_ran(self, failed):
        """A step that runs into its run's budget is one failure, not one for the step and one for the run."""
        run = failed(skills.failing_spends, budget={"cost": "1.00"})
        assert Run.objects.get(pk=run.id).state == "parked"
        (row,) = of(run)
        assert (row.ending, row.error_type, row.error_kind, row.is_final) == (
            "parked",
            "parked:budget",
            "resource",
            True,
        )
        assert (row.attempt_id, row.cost) == (Attempt.objects.get(run_id=run.id).id, Decimal("0.10"))

    def test_parked_at_its_claim(self, failed, stage):
        """A step whose claim is refused has no attempt for it: the event stands for it, and nothing was burnt."""
        run = failed(skills.failing_dear, budget={"cost": "1.00"})
        make_due(run)
        ledger.ask("SELECT * FROM execution_wake_v1(100)")
        stage.play(run)
        failures.take_in()
        assert Run.objects.get(pk=run.id).state == "parked"
        first, row = of(run)
        assert (first.ending, first.is_final, first.cost) == ("failed", False, Decimal("0.60"))
        assert row.attempt_id == Event.objects.get(kind="run.parked", run_id=run.id).id
        assert (row.ending, row.error_type, row.is_final, row.cost) == ("parked", "parked:budget", True, 0)

    def test_run_without_a_failure(self, failed, stage):
        """What ends well, sleeps or is cancelled leaves no row."""
        for function in (lambda ctx: 1, lambda ctx: ctx.sleep("s", hours=1)):
            stage.play(stage.skill(function).start())
        failures.take_in()
        assert not FailureMatch.objects.exists()


@pytest.mark.parametrize("which", skills.POISONS)
def test_whatever_an_error_says(failed, which):
    """However long, odd or untellable an error is, it is one row in time, and opens its candidate."""
    run = failed(skills.failing_poisons, take_in=False, given={"which": which})
    began = time.process_time()
    failures.take_in()
    assert time.process_time() - began < 1
    (row,) = of(run)
    assert (row.ending, row.is_final, len(row.message) <= 4000) == ("failed", True, True)
    assert RecoveryCandidate.objects.get().failure_id == row.id


class TestReading:
    """The log may be read in any pieces, twice and side by side."""

    @pytest.mark.parametrize("size", [1, 2, 3, 7])
    def test_batches_that_cut_a_transaction(self, failed, monkeypatch, size):
        """However the log is cut, a parked step is one failure and a failed one is final."""
        monkeypatch.setattr(failures, "_BATCH", size)
        parked = [failed(skills.failing_spends, budget={"cost": "1.00"}, take_in=False) for _ in range(2)]
        lost = [failed(take_in=False) for _ in range(2)]
        failures.take_in()
        assert [(row.ending, row.is_final) for run in parked for row in of(run)] == [("parked", True)] * 2
        assert [(row.ending, row.is_final) for run in lost for row in of(run)] == [("failed", True)] * 2
        assert Event.objects.filter(kind="failure.recognised").count() == 4

    def test_read_again(self, failed):
        """Reading the log from its beginning adds nothing: no row, no event, no candidate, no count."""
        run = failed()
        EventReader.objects.filter(name=failures.READER).update(cursor={})
        failures.take_in()
        assert len(of(run)) == 1
        assert Event.objects.filter(kind="failure.recognised").count() == 1
        assert RecoveryCandidate.objects.count() == 1
        assert FailureTemplate.objects.get().count == 1

    def test_side_by_side(self, failed):
        """Two intakes at once write each failure once, and one template for one message."""
        made = [failed(take_in=False) for _ in range(6)]
        side_by_side(*[failures.take_in] * 3)
        failures.take_in()
        assert FailureMatch.objects.count() == len(made)
        assert FailureTemplate.objects.count() == 1

    def test_killed_between_anything(self, failed, tmp_path):
        """An intake that is killed before or after its commit loses nothing and takes nothing in twice."""
        made = [failed(take_in=False) for _ in range(3)]
        for place in ("_write", "candidates.open_for", "_tell", "events.consume_for"):
            mark = tmp_path / place
            program = (
                "import django, pathlib, time; django.setup()\n"
                "from recovery import failures\n"
                f"real = failures.{place}\n"
                f"def slow(*given, **named):\n    real(*given, **named); pathlib.Path({str(mark)!r}).touch(); time.sleep(60)\n"
                f"failures.{place} = slow\n"
                "failures.take_in()\n"
            )
            process = subprocess.Popen([sys.executable, "-c", program], env=os.environ | environment())
            wait_until(mark.exists, message=f"it has done {place}")
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            assert FailureMatch.objects.count() == (len(made) if place == "events.consume_for" else 0)
        failures.take_in()
        for table in (FailureMatch, RecoveryCandidate):
            assert sorted(table.objects.values_list("run_id", flat=True)) == sorted(run.id for run in made)
        for kind in ("failure.recognised", "candidate.opened"):
            assert sorted(Event.objects.filter(kind=kind).values_list("run_id", flat=True)) == sorted(
                run.id for run in made
            )
        assert FailureTemplate.objects.get().count == len(made)

    def test_rolled_back(self, failed, monkeypatch):
        """A batch whose candidates cannot be opened leaves nothing, and is taken in the next time."""
        run = failed(take_in=False)
        with monkeypatch.context() as broken:
            broken.setattr(candidates, "open_for", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                failures.take_in()
        assert not FailureMatch.objects.exists()
        assert not FailureTemplate.objects.exists()
        failures.take_in()
        assert of(run)[0].template == FailureTemplate.objects.get()

    def test_candidate_in_the_same_transaction(self, failed):
        """A final failure has a candidate as soon as it is there."""
        (row,) = of(failed())
        assert RecoveryCandidate.objects.get().failure_id == row.id


class TestTemplates:
    """Messages are mined once for all processes."""

    def test_two_processes_agree(self, transactional_db):
        """Two that mine at once make one template of one message; what one has merged the other reads."""

        def mine(names):
            def act():
                with transaction.atomic():
                    return [one.id for one in templates.of([f"login of user {name} was refused" for name in names])]

            return act

        side_by_side(*[mine(["ann", "bob"])] * 4)
        assert FailureTemplate.objects.count() == 2
        side_by_side(mine(["cy", "dee", "eve"]), mine(["fay", "gus"]))
        templates.forget()
        (merged,) = set(mine(["ann", "zoe", "gus"])())
        row = FailureTemplate.objects.get(pk=merged)
        assert (row.text, row.into_id) == ("login of user <any> was refused", None)
        assert set(FailureTemplate.objects.exclude(pk=merged).values_list("into_id", flat=True)) == {merged}

    def test_a_merged_template_keeps_its_digest(self, transactional_db):
        """What is learnt later changes a template's text, and not the fingerprints that rest on it."""
        with transaction.atomic():
            (first,) = templates.of(["login of user ann was refused"])
            digest = first.digest
            found = templates.of([f"login of user {name} was refused" for name in ("bob", "cy", "dee", "eve", "ann")])
        assert {one.root().digest for one in found} == {digest}

    def test_what_was_rolled_back_is_forgotten(self, transactional_db):
        """A template that was rolled back is no template, also when others have been made since."""
        with transaction.atomic():
            templates.of(["something broke"])
            transaction.set_rollback(True)
        with transaction.atomic():
            (other,) = templates.of(["something else is odd"])
            (again,) = templates.of(["something broke"])
        assert set(FailureTemplate.objects.values_list("id", flat=True)) == {other.id, again.id}

    def test_message_that_says_nothing(self, failed, stage):
        """An error without a message has no template, and is known by its stack."""

        def silent(ctx):
            raise KeyError

        stage.play(stage.skill(silent).start())
        failures.take_in()
        row = FailureMatch.objects.get()
        assert (row.template_id, row.is_by_message) == (None, False)


class TestLeaving:
    """Old failures leave, but none that somebody still decides about."""

    def test_old_failures_leave(self, failed):
        """A failure older than failure_days leaves with its ended candidate; one with an open candidate stays."""
        old, held, young = failed(), failed(), failed()
        RecoveryCandidate.objects.filter(run_id=old.id).update(state=ENDED[0])
        past = timezone.now() - timedelta(days=91)
        FailureMatch.objects.filter(run_id__in=[old.id, held.id]).update(failed_at=past)
        assert failures.forget() == 1
        assert set(FailureMatch.objects.values_list("run_id", flat=True)) == {held.id, young.id}
        assert failures.forget() == 0


def test_unknown_failure(transactional_db):
    """A failure that is not there is said to be so, with what to do."""
    for name in ("x", "01a1fe89-d126-7dad-a0a6-18cc79724327"):
        with pytest.raises(NotFound, match="patterns|failures list"):
            failures.get(name)


class TestMatching:
    """A failure that is taken in knows its pattern."""

    def test_exact(self, failed):
        """The fingerprint decides, with 0.95; the pattern is counted with what it cost."""
        (first,) = of(failed())
        pattern = FailurePattern.objects.create(
            name="parser", category="validation", fingerprint=first.fingerprint, fingerprint_version=1
        )
        (row,) = of(failed(given={"text": "b"}))
        pattern.refresh_from_db()
        assert (row.pattern, row.how, row.confidence) == (pattern, "fingerprint", 0.95)
        assert (pattern.count, pattern.cost, pattern.last_seen_at) == (1, Decimal("0.25"), row.failed_at)

    def test_rejected_pattern(self, failed):
        """A rejected pattern is matched no more."""
        (first,) = of(failed())
        pattern = FailurePattern.objects.create(
            name="parser", category="validation", fingerprint=first.fingerprint, fingerprint_version=1
        )
        patterns.reject(pattern, by="ann")
        assert of(failed())[0].pattern is None

    def test_ignored_pattern(self, failed):
        """A failure of a pattern that is ignored opens no candidate."""
        (first,) = of(failed())
        FailurePattern.objects.create(
            name="parser", category="validation", fingerprint=first.fingerprint, fingerprint_version=1, mode="ignore"
        )
        run = failed()
        assert not RecoveryCandidate.objects.filter(run_id=run.id).exists()
