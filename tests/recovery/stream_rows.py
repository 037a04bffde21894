"""Rows that stream, queue and dead letters work on: open candidates, and an evaluator that only notes what it did."""

from django.utils import timezone

from execution import agents, ids
from recovery.models import CandidateState, FailureMatch, RecoveryCandidate, Source


def failure(**more):
    """Make one failure of a run that is not there."""
    given = {
        "attempt_id": ids.new(), "run_id": ids.new(), "step_id": ids.new(), "agent_id": agents.id_of(None),
        "skill": "tests.skill", "error_kind": "transient", "fingerprint": ids.new().hex, "fingerprint_version": 1,
        "failed_at": timezone.now(), "is_final": True,
    }  # fmt: skip
    names = {field.name for field in FailureMatch._meta.fields}
    return FailureMatch.objects.create(**{name: value for name, value in (given | more).items() if name in names})


def candidates(count=1, **more):
    """Make open candidates; returns their ids."""
    made = []
    for _ in range(count):
        found = failure()
        about = {
            "run_id": found.run_id, "step_id": found.step_id, "agent_id": found.agent_id, "skill": found.skill,
            "error_kind": found.error_kind, "fingerprint": found.fingerprint, "fingerprint_version": 1,
        }  # fmt: skip
        made.append(RecoveryCandidate.objects.create(failure=found, **about, **more).pk)
    return made


def evaluate(wanted, *, source, by):
    """Evaluate as the real one does: once, whoever asks; what is evaluated already counts as done."""
    rows = RecoveryCandidate.objects.filter(pk__in=wanted, state=CandidateState.OPEN)
    rows.update(state=CandidateState.WAITING, source=Source(source), claimed_by=by, evaluated_at=timezone.now())
    return set(RecoveryCandidate.objects.filter(pk__in=wanted).values_list("pk", flat=True))


def open_count():
    """Return how many candidates still wait for an evaluator."""
    return RecoveryCandidate.objects.filter(state=CandidateState.OPEN).count()
