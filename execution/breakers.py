"""Breakers: five failures of a skill in a row hold its steps back, until a probe succeeds.

The claim and the ending count them (`execution_judge_breaker`); here is what a person does to one.
"""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import transaction

from execution import doorbell, events, ledger
from execution.exceptions import NotPossible
from execution.models import Breaker, BreakerState

FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)
"""When a breaker lets a probe through that only a person closes."""


@transaction.atomic
def reset(name: str, *, by: str = "", reason: str = "") -> Breaker:
    """Close a breaker by hand and let its steps go on."""
    return _set(name, BreakerState.CLOSED, by=by, reason=reason)


@transaction.atomic
def trip(name: str, *, seconds: float | None = 600, by: str = "", reason: str = "") -> Breaker:
    """Open a breaker by hand, for so long; without an end, until it is closed by hand."""
    Breaker.objects.get_or_create(name=name)
    breaker = _set(name, BreakerState.OPEN, by=by, reason=reason)
    ledger.ask_in_transaction(
        "UPDATE execution_breaker SET opened_at = clock_timestamp(), opened_count = opened_count + 1, "
        "probe_at = coalesce(clock_timestamp() + make_interval(secs => %s), %s) WHERE name = %s",
        [seconds, FOR_EVER, name],
    )
    breaker.refresh_from_db()
    return breaker


def _set(name: str, state: BreakerState, *, by: str, reason: str) -> Breaker:
    breaker = Breaker.objects.select_for_update().filter(name=name).first()
    if breaker is None:
        raise NotPossible(f"there is no breaker named {name!r}; one appears with the first failure of its skill")
    breaker.state = state
    if state == BreakerState.CLOSED:
        breaker.failure_count = breaker.opened_count = 0
        breaker.probe_at = breaker.probe_step_id = None
    breaker.save()
    kind = "breaker.closed" if state == BreakerState.CLOSED else "breaker.opened"
    events.note(kind, {"breaker": name, "by": by, "reason": reason})
    if state == BreakerState.CLOSED:
        rows = ledger.ask_in_transaction(
            "UPDATE execution_step s SET state = 'ready', waiting = 'capacity', wake_at = NULL, "
            "changed_at = clock_timestamp() WHERE s.id IN (SELECT w.id FROM execution_step w "
            "WHERE w.state = 'waiting' AND w.waiting = 'breaker' AND w.breaker = %s "
            "ORDER BY w.id FOR NO KEY UPDATE SKIP LOCKED) RETURNING s.id",
            [name],
        )
        transaction.on_commit(lambda: doorbell.ring_for([row.id for row in rows[:100]]), robust=True)
    return breaker
