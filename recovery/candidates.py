"""Candidates: one proposed recovery of one run each; opened by failures, and claimed by evaluators under a fence.

A run has one open candidate per kind of failure: a further failure of that kind joins it, by the write itself, however
many readers take failures in. A claim holds a candidate for a lease, under an epoch that rises with each claim: what an
evaluator writes under an earlier one is refused, and the rows of a killed one come back. Locks: candidates, then runs.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from django.db import transaction
from psycopg.types.json import Jsonb

from execution import ids, ledger
from execution.cycles import Cycle
from recovery import conf
from recovery.exceptions import Late, NotFound
from recovery.models import CandidateState, FailureMatch, FailurePattern, Mode, RecoveryCandidate, Source

log = structlog.get_logger(__name__)

BATCH = 50
_PASS_SECONDS = 5.0
_PREFIX = 8


# Opening


@transaction.atomic
def open_for(failures: Sequence[FailureMatch]) -> int:
    """Open a candidate for each stored failure that left its run failed or parked, in the caller's transaction.

    A further failure of the same kind on the same run joins the candidate that is open. One that was applied already
    has not helped: it ends, and a new one is opened. Returns how many were opened.
    """
    from recovery import outcomes

    wanted = _wanted(failures)
    if not wanted:
        return 0
    outcomes.failed_again(wanted)
    rows = ledger.ask_in_transaction(
        "SELECT id FROM recovery_open_candidates_v1(%s::uuid[]) AS id", [[one.id for one in wanted]]
    )
    if opened := [row.id for row in rows]:
        # No partial: Django, which names a hook that has failed, finds no name on one, and fails itself.
        transaction.on_commit(lambda: _nudge(opened), robust=True)
    return len(opened)


def _wanted(failures: Sequence[FailureMatch]) -> list[FailureMatch]:
    patterns = {one.pattern_id for one in failures if one.pattern_id is not None}
    ignored = set(FailurePattern.objects.filter(pk__in=patterns, mode=Mode.IGNORE).values_list("pk", flat=True))
    return [one for one in failures if one.is_final and one.pattern_id not in ignored]


def _nudge(candidate_ids: list[uuid.UUID]) -> None:
    """Tell the stream; where Redis is away, the claim worker comes by."""
    from recovery import stream

    stream.add(candidate_ids)


# Claiming


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What an evaluator holds of a candidate."""

    id: uuid.UUID
    epoch: int
    claim_count: int


def claim(*, by: str, limit: int = BATCH, only: Iterable[uuid.UUID] | None = None) -> list[Claim]:
    """Claim open candidates that nobody holds: the urgent ones first, then the oldest; with `only`, of these."""
    lease = timedelta(seconds=conf.current().candidate_lease_seconds)
    rows = ledger.ask_in_transaction(
        "SELECT * FROM recovery_claim_candidates_v1(%s, %s, %s, %s::uuid[])",
        [by, limit, lease, None if only is None else list(only)],
    )
    return [Claim(id=row.id, epoch=row.epoch, claim_count=row.claim_count) for row in rows]


def whoami() -> str:
    """Return the name under which this process claims."""
    return f"{socket.gethostname()}:{os.getpid()}"


def work(_: dict[str, Any] | None = None) -> int:
    """Evaluate what no stream has brought, and apply what is approved; returns how many were touched."""
    from recovery import decisions

    ends_at, total = time.monotonic() + _PASS_SECONDS, 0
    while (done := _evaluate_some()) and time.monotonic() < ends_at:
        total += done
    return total + done + decisions.apply_due()


def _evaluate_some() -> int:
    from recovery import evaluator

    try:
        return evaluator.evaluate_next(source=Source.CLAIM, by=whoami())
    except Late as late:
        log.warning("candidate.late", error=str(late))
        return 0


WORKER = Cycle(name="recovery.candidates", period=timedelta(seconds=10), step=work, is_atomic=False)


# Looking, and hurrying


def get(candidate: RecoveryCandidate | uuid.UUID | str) -> RecoveryCandidate:
    """Return a candidate by itself, its id, or the only one whose id begins so; fresh from the database."""
    if isinstance(candidate, RecoveryCandidate):
        candidate = candidate.id
    start, end = _span(candidate)
    found = list(RecoveryCandidate.objects.select_related("pattern", "failure").filter(pk__range=(start, end))[:2])
    if not found:
        raise NotFound("candidate", candidate, "`manage.py candidates list` shows them")
    if len(found) > 1:
        raise NotFound("candidate", candidate, "several ids begin so: give more of it")
    return found[0]


def _span(text: uuid.UUID | str) -> tuple[uuid.UUID, uuid.UUID]:
    """Return the least and the largest id that begins so."""
    digits = str(text).strip().replace("-", "").lower()
    if len(digits) < _PREFIX or len(digits) > 32 or set(digits) - set("0123456789abcdef"):
        hint = f"an id, or at least {_PREFIX} characters of its beginning; `manage.py candidates list` shows them"
        raise NotFound("candidate", repr(str(text)), hint)
    return ids.span(digits)


def hurry(candidate: RecoveryCandidate | uuid.UUID | str, *, by: str, reason: str = "") -> RecoveryCandidate:
    """Have an open candidate evaluated before all others, by the express lane where there is one."""
    found = get(candidate)
    if RecoveryCandidate.objects.filter(pk=found.pk, state=CandidateState.OPEN).update(is_urgent=True):
        tell("candidate.hurried", [(found, {"by": by, "reason": reason})])
        transaction.on_commit(lambda: _express([found.id]), robust=True)
    return get(found)


def _express(candidate_ids: list[uuid.UUID]) -> None:
    from recovery import queue

    queue.push(candidate_ids)


def tell(kind: str, about: Sequence[tuple[RecoveryCandidate, dict[str, Any]]]) -> None:
    """Write an event for each candidate, in the caller's transaction."""
    if not about:
        return
    ledger.ask_in_transaction(
        "SELECT execution_log_v1(%s, k.run_id, k.step_id, k.agent_id, NULL, k.data) "
        "FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::jsonb[]) AS k(run_id, step_id, agent_id, data)",
        [
            kind,
            [one.run_id for one, _ in about],
            [one.step_id for one, _ in about],
            [one.agent_id for one, _ in about],
            [Jsonb({"candidate": str(one.id), **data}) for one, data in about],
        ],
    )
