"""Policies: a recommended change of a retry policy is put in force by an envelope, for a time and within bounds.

It is in the name of the person who accepts the recommendation. Where `auto_apply_policy` is unlocked, for the whole
system and for every agent whose attempts failed, it is tried meanwhile: once, and only until a person accepts or
declines it, until its time is over, or until the capability is locked again. A trial is a verdict that rests on the
retrospective. Locks: the recommendation, then the agents by id, then what an envelope takes.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet

from execution import agents, records
from execution.models import Assessment, Verdict
from graduation import envelopes, lockouts
from graduation.exceptions import EnvelopeRejected
from graduation.learn.recommending import RETRY
from graduation.models import Envelope, EnvelopeState, Importance, Recommendation, RecommendationState
from recovery.models import FailureMatch

log = structlog.get_logger(__name__)

CAPABILITY = "auto_apply_policy"
KIND = "policy_trial"
PRODUCER = "graduation.policies"


def apply(row: Recommendation, *, by: str, reason: str, verdict: uuid.UUID | None = None) -> Envelope:
    """Put a recommended retry policy in force; EnvelopeRejected where the coordinator does not let it apply."""
    change = row.change
    return envelopes.propose(
        change["tunable"],
        change["to"],
        subject=change["subject"],
        importance=Importance.RELIABILITY,
        timebox=change["timebox"],
        bounds=envelopes.Bounds(least=min(change["from"], change["to"]), most=max(change["from"], change["to"])),
        by=by,
        reason=reason,
        verdict=verdict,
    )


def try_all() -> int:
    """Try what may be tried alone, and end the trials that may not be any more; returns how many began or ended."""
    is_barred = envelopes.switch().is_engaged or lockouts.in_force(None).filter(capability=CAPABILITY).exists()
    wanted = Recommendation.objects.filter(kind=RETRY, state=RecommendationState.OPEN).order_by("id")
    keys = list(wanted.values_list("pk", flat=True))
    tried = dict(_trials(keys).values_list("subject", "id"))
    new = [] if is_barred else [key for key in keys if _subject(key) not in tried]
    running = Envelope.objects.filter(verdict_id__in=tried.values(), state=EnvelopeState.ACTIVE)
    under_trial = {verdict for verdict in running.values_list("verdict_id", flat=True) if verdict}
    return sum(_alone(_try, key) for key in new) + sum(
        _alone(_end_where_locked, key) for key in keys if tried.get(_subject(key)) in under_trial
    )


def on_trial(row: Recommendation) -> Envelope | None:
    """Return the envelope by which a recommendation is tried now."""
    verdicts = list(_trials([row.pk]).values_list("id", flat=True))
    return Envelope.objects.filter(verdict_id__in=verdicts, state=EnvelopeState.ACTIVE).first()


def end(row: Recommendation, *, by: str, reason: str) -> bool:
    """End the trial of a recommendation; false where none goes on."""
    envelope = on_trial(row)
    if envelope is not None:
        envelopes.revert(envelope, by=by, reason=reason)
    return envelope is not None


def _alone(verb: Any, key: uuid.UUID) -> bool:
    """Do it for one recommendation; what goes wrong with one is told and stops no other."""
    try:
        return bool(verb(key))
    except Exception:
        log.exception("policies.failed", recommendation=str(key))
        return False


@transaction.atomic
def _try(key: uuid.UUID) -> bool:
    """Try one, if nobody has decided or tried it meanwhile; one that is rejected is not tried again."""
    row = _hold(key)
    if row is None or _trials([key]).exists() or not _is_unlocked(row):
        return False
    verdict = records.judge(
        KIND,
        subject=_subject(key),
        action="approve",
        producer=PRODUCER,
        reasoning=f"{row.text}; tried until a person decides",
        data={"change": row.change},
        parents=[row.retrospective_id],
    )
    try:
        apply(row, by=PRODUCER, reason=verdict.reasoning, verdict=verdict.id)
    except EnvelopeRejected as error:
        log.info("policies.rejected", recommendation=str(key), error=str(error))
    return True


@transaction.atomic
def _end_where_locked(key: uuid.UUID) -> bool:
    row = _hold(key)
    if row is None or _is_unlocked(row):
        return False
    return end(row, by=PRODUCER, reason=f"{CAPABILITY} is locked again")


def _hold(key: uuid.UUID) -> Recommendation | None:
    rows = Recommendation.objects.select_for_update(skip_locked=True)
    return rows.filter(pk=key, state=RecommendationState.OPEN).first()


def _is_unlocked(row: Recommendation) -> bool:
    """Whether every agent whose attempts failed has earned it; they are held until the end of the transaction."""
    return all(agents.is_unlocked(CAPABILITY, agent=one) for one in sorted(_concerned(row)))


def _concerned(row: Recommendation) -> set[uuid.UUID]:
    """Return the agents whose attempts at the skill have failed since the trouble began."""
    looked_back = Assessment.objects.filter(pk=row.retrospective_id).first()
    begun = looked_back.window_start_at if looked_back is not None else None
    since = Q(failed_at__gte=(begun or row.created_at) - timedelta(hours=1))
    failed = FailureMatch.objects.filter(since, skill=row.change["subject"])
    return set(failed.values_list("agent_id", flat=True).distinct()) or {agents.id_of(None)}


def _trials(keys: list[uuid.UUID]) -> QuerySet[Verdict]:
    return Verdict.objects.filter(kind=KIND, subject__in=[_subject(key) for key in keys])


def _subject(key: uuid.UUID) -> str:
    return f"recommendation:{key}"
