"""Errands: what is owed after a commit.

The worker that owes one runs it at once, for speed; upkeep runs what was left, for certainty.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import structlog

from execution import ledger

log = structlog.get_logger(__name__)


def run(errand_ids: Sequence[uuid.UUID]) -> int:
    """Run these errands; one that fails is left for upkeep, later and later."""
    done = 0
    for errand_id in errand_ids:
        done += _run_one(errand_id)
    return done


def run_due(limit: int = 200) -> int:
    """Run the errands that are due."""
    rows = ledger.ask(
        "SELECT id FROM execution_errand WHERE due_at <= clock_timestamp() ORDER BY due_at LIMIT %s", [limit]
    )
    return run([row.id for row in rows])


def tell_parents(parent_step_id: uuid.UUID) -> int:
    """Run the errands of children that have just ended for a parent's step, and ring for the parent."""
    rows = ledger.ask(
        "SELECT id FROM execution_errand WHERE kind = 'child' AND payload ->> 'parent' = %s LIMIT 50",
        [str(parent_step_id)],
    )
    return run([row.id for row in rows])


def _run_one(errand_id: uuid.UUID) -> int:
    rows = ledger.ask(
        "UPDATE execution_errand SET try_count = try_count + 1, "
        "due_at = clock_timestamp() + make_interval(secs => least(5 * power(2, least(try_count, 10)), 600)) "
        "WHERE id = %s AND due_at <= clock_timestamp() RETURNING kind, payload",
        [errand_id],
    )
    if not rows:
        return 0
    try:
        _HANDLERS[rows[0].kind](errand_id, rows[0].payload)
    except Exception as error:  # noqa: BLE001 - an errand that fails must not end the pass: it is due again later
        log.warning("errand.failed", errand=str(errand_id), error=repr(error))
        ledger.ask("UPDATE execution_errand SET error = %s WHERE id = %s", [repr(error)[:2000], errand_id])
        return 0
    return 1


def _tell_parent(errand_id: uuid.UUID, payload: dict[str, Any]) -> None:
    from execution import doorbell

    ledger.ask("SELECT execution_tell_parent_v1(%s)", [errand_id])
    doorbell.ring_for([uuid.UUID(payload["parent"])])


def _publish(errand_id: uuid.UUID, payload: dict[str, Any]) -> None:
    from execution import canvas

    canvas.publish(payload)
    ledger.ask("DELETE FROM execution_errand WHERE id = %s", [errand_id])


_HANDLERS = {"child": _tell_parent, "publish": _publish}
