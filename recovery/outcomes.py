"""Outcomes: what became of what was applied, read off the log, and what the evaluator learns from it.

When a run ends, its candidate learns whether it recovered, and the action's record for that kind of failure counts
it, in one transaction. A failure that comes back soon after a recovery says that it was none: that success is taken
out of the record again, and the action goes back to review for this kind until a person clears it. So does one that
was applied without a person and failed. Locks: candidates by id, then records by key.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from execution import events, ledger
from execution.cycles import Cycle
from execution.models import Event, Run
from recovery import actions, autonomy, candidates, conf
from recovery.models import ActionRecord, CandidateState, FailureMatch, RecoveryCandidate, Stage, SuggestionProvenance

READER = "recovery.outcomes"
_PASS_SECONDS = 5.0
_ENDINGS = {
    "run.completed": CandidateState.RECOVERED,
    "run.failed": CandidateState.INEFFECTIVE,
    "run.cancelled": CandidateState.OVERTAKEN,
}
_APPLIED = """
    SELECT * FROM recovery_recoverycandidate
    WHERE state = %(state)s AND (
        recovery_run_id = ANY(%(runs)s::uuid[]) OR run_id = ANY(%(runs)s::uuid[]) AND recovery_run_id IS NULL)
    ORDER BY id FOR NO KEY UPDATE"""
_GOING_ON = frozenset({"run.retried", "run.resumed", *_ENDINGS})
_SAID = {
    CandidateState.RECOVERED: "the run completed",
    CandidateState.INEFFECTIVE: "the run failed again",
    CandidateState.OVERTAKEN: "the run was cancelled",
}


def measure_all(pass_seconds: float = _PASS_SECONDS) -> int:
    """Read the endings of runs, and tell their candidates; returns how many events were read."""
    return events.consume_for(READER, _handle, seconds=pass_seconds, kinds=_GOING_ON)


def _watch(_: dict[str, Any]) -> int:
    return measure_all()


WATCH = Cycle(name="recovery.outcomes", period=timedelta(seconds=10), step=_watch, is_atomic=False)


def _handle(found: Sequence[Event]) -> None:
    wanted = {event.run_id for event in found if event.run_id is not None}
    if not wanted:
        return
    applied = _applied_to(wanted)
    for event in found:
        if event.kind in _ENDINGS and event.run_id in applied:
            ended = [one for one in applied[event.run_id] if one.applied_at and one.applied_at <= event.at]
            _end(ended, _ENDINGS[event.kind], event.at)
    _overtake(wanted)


def _applied_to(run_ids: set[uuid.UUID]) -> dict[uuid.UUID, list[RecoveryCandidate]]:
    """Return the candidates that wait for the end of these runs, held, by the run that carries on."""
    waiting = RecoveryCandidate.objects.raw(_APPLIED, {"runs": list(run_ids), "state": CandidateState.APPLIED})
    found: dict[uuid.UUID, list[RecoveryCandidate]] = {}
    for one in waiting:
        found.setdefault(one.recovery_run_id or one.run_id, []).append(one)
    return found


def _end(ended: Sequence[RecoveryCandidate], state: CandidateState, at: datetime, text: str = "") -> None:
    """Tell candidates what became of them, and the records what that says."""
    costs = _costs(ended)
    for one in ended:
        said = text or _SAID[state]
        guarded = RecoveryCandidate.objects.filter(pk=one.pk, state=CandidateState.APPLIED)
        if not guarded.update(state=state, ended_at=at, outcome=said, cost=costs[one.id]):
            continue
        is_alone_in_vain = state == CandidateState.INEFFECTIVE and one.decision == autonomy.AUTOMATIC
        if state != CandidateState.OVERTAKEN:
            _count(one, recovered=int(state == CandidateState.RECOVERED))
        if is_alone_in_vain:
            take_back(one, "it was applied without a person and the run failed again")
        _note(one, state, said)


def _costs(ended: Sequence[RecoveryCandidate]) -> dict[uuid.UUID, Decimal]:
    """Return what each recovery has cost: all that a run of its own spent, or what the same one has spent since."""
    spent = dict(
        Run.objects.filter(pk__in=[one.recovery_run_id or one.run_id for one in ended]).values_list("id", "spent_cost")
    )
    return {
        one.id: max(spent.get(one.recovery_run_id or one.run_id, Decimal(0)) - one.spent_before, Decimal(0))
        for one in ended
    }


def _note(candidate: RecoveryCandidate, state: str, text: str) -> None:
    SuggestionProvenance.objects.create(
        candidate=candidate,
        stage=Stage.MEASURED,
        actor=READER,
        rule=state,
        action=candidate.action,
        action_version=candidate.action_version,
        reason=text,
    )
    candidates.tell(f"candidate.{state}", [(candidate, {"action": candidate.action, "text": text})])


def _overtake(run_ids: set[uuid.UUID]) -> None:
    """End the candidates of runs that need them no more; a failure that joins one meanwhile keeps it open."""
    waiting = RecoveryCandidate.objects.filter(
        run_id__in=run_ids, state__in=[CandidateState.OPEN, CandidateState.WAITING, CandidateState.APPROVED]
    )
    found = list(waiting.order_by("id"))
    runs = {run.id: run for run in Run.objects.filter(pk__in={one.run_id for one in found}).defer("input")}
    for one in found:
        if actions.standing(runs.get(one.run_id)):
            continue
        same = RecoveryCandidate.objects.filter(pk=one.pk, state=one.state, joined_count=one.joined_count)
        text = "the run went on or ended without it"
        if same.update(state=CandidateState.OVERTAKEN, ended_at=Now(), outcome=text, needs=""):
            _note(one, CandidateState.OVERTAKEN, text)


# What failures say


def failed_again(failures: Sequence[FailureMatch]) -> None:
    """Let failures that left their runs failed end what was applied to those runs, and call back what seemed to help.

    Called in the transaction that takes the failures in, before candidates are opened for them.
    """
    latest = {one.run_id: one for one in sorted(failures, key=lambda one: one.failed_at)}
    for run_id, applied in _applied_to(set(latest)).items():
        failure = latest[run_id]
        earlier = [one for one in applied if one.applied_at and one.applied_at < failure.failed_at]
        _end(earlier, CandidateState.INEFFECTIVE, failure.failed_at)
    kinds = _recovered_kinds(failures)
    for failure in failures:
        if failure.fingerprint in kinds:
            _relapse(failure)


def _recovered_kinds(failures: Sequence[FailureMatch]) -> set[str]:
    """Return the kinds of failure that were recovered from a short while before these."""
    since = min(one.failed_at for one in failures) - timedelta(hours=conf.current().relapse_hours)
    recovered = RecoveryCandidate.objects.filter(
        fingerprint__in={one.fingerprint for one in failures}, state=CandidateState.RECOVERED, ended_at__gte=since
    )
    return set(recovered.values_list("fingerprint", flat=True).distinct())


def _relapse(failure: FailureMatch) -> None:
    """Take a success back that the same kind of failure has followed too soon."""
    since = failure.failed_at - timedelta(hours=conf.current().relapse_hours)
    for one in _recovered_like(failure).filter(ended_at__gte=since, ended_at__lte=failure.failed_at):
        text = f"the failure came back {failure.failed_at:%Y-%m-%d %H:%M:%S}"
        guarded = RecoveryCandidate.objects.filter(pk=one.pk, state=CandidateState.RECOVERED)
        if guarded.update(state=CandidateState.INEFFECTIVE, outcome=text):
            _count(one, tried=0, recovered=-1)
            take_back(one, text)
            _note(one, "relapsed", text)


def _recovered_like(failure: FailureMatch) -> QuerySet[RecoveryCandidate]:
    """Return the candidates of this kind whose run, or what carried it on, is the failed one or comes from the same."""
    run = Run.objects.filter(pk=failure.run_id).only("id", "root_run_id").first()
    roots = {failure.run_id, *([run.root_run_id] if run and run.root_run_id else [])}
    known = RecoveryCandidate.objects.filter(recovery_run_id=failure.run_id).values_list("origin_run_id", flat=True)
    roots |= {origin for origin in known if origin is not None}
    return RecoveryCandidate.objects.filter(
        Q(run_id__in=roots) | Q(origin_run_id__in=roots) | Q(recovery_run_id=failure.run_id),
        fingerprint=failure.fingerprint,
        fingerprint_version=failure.fingerprint_version,
        state=CandidateState.RECOVERED,
    ).order_by("id")


# Records


def _count(candidate: RecoveryCandidate, *, tried: int = 1, recovered: int) -> None:
    """Count an outcome for the action and the kind of failure; what a person changed counts for none."""
    if candidate.proven_since is None:
        return
    ledger.ask_in_transaction(
        "INSERT INTO recovery_actionrecord AS r "
        "(fingerprint_version, fingerprint, action, proven_since, tried_count, recovered_count, changed_at) "
        "VALUES (%s, %s, %s, %s, %s, greatest(%s, 0), clock_timestamp()) "
        "ON CONFLICT (fingerprint_version, fingerprint, action, proven_since) DO UPDATE SET "
        "tried_count = r.tried_count + excluded.tried_count, "
        "recovered_count = greatest(r.recovered_count + %s, 0), changed_at = clock_timestamp()",
        [*_key(candidate), tried, recovered, recovered],
    )


def take_back(candidate: RecoveryCandidate, text: str) -> None:
    """Have an action approved by a person for this kind of failure, until one clears it."""
    if candidate.proven_since is None:
        return
    _count(candidate, tried=0, recovered=0)
    version, fingerprint, action, proven_since = _key(candidate)
    ActionRecord.objects.filter(
        fingerprint_version=version, fingerprint=fingerprint, action=action, proven_since=proven_since
    ).update(ineffective_at=Now(), changed_at=Now())
    candidates.tell("candidate.taken_back", [(candidate, {"action": action, "kind": fingerprint, "text": text})])


def _key(candidate: RecoveryCandidate) -> tuple[int, str, str, int]:
    return candidate.fingerprint_version, candidate.fingerprint, candidate.action, candidate.proven_since or 0
