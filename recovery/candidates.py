"""Candidates: opened once per failure, claimed under a fence, evaluated, decided, applied once, and measured."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import F

from recovery.models import ENDED, FailureMatch, Mode, RecoveryCandidate


def open_for(failures: Sequence[FailureMatch]) -> int:
    """Open a candidate for each failure that left its run failed or parked, in the caller's transaction.

    A further failure of the same kind on the same run joins the candidate that is open; returns how many were opened.
    """
    opened = 0
    for failure in failures:
        if failure.is_final and not (failure.pattern and failure.pattern.mode == Mode.IGNORE):
            opened += _open(failure)
    return opened


def _open(failure: FailureMatch) -> bool:
    kind = {
        "run_id": failure.run_id,
        "fingerprint": failure.fingerprint,
        "fingerprint_version": failure.fingerprint_version,
    }
    if RecoveryCandidate.objects.filter(**kind).exclude(state__in=ENDED).update(joined_count=F("joined_count") + 1):
        return False
    found = {
        "step_id": failure.step_id,
        "agent_id": failure.agent_id,
        "skill": failure.skill,
        "error_kind": failure.error_kind,
        "pattern": failure.pattern,
    }
    return RecoveryCandidate.objects.get_or_create(failure=failure, defaults=kind | found)[1]
