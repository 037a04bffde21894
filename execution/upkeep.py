"""Upkeep: sweep, wake, fold and feed; one tick a second, in the keeper of any worker.

It takes no pool slot, so that it never waits behind a long skill. Each tick is claimed once in the database; each
pass is a few single statements, so that a keeper that freezes in mid-tick holds no lock and the next tick goes to
another. A pass that fails holds up no other. What talks to the broker has a tick of its own.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog

from execution import conf, doorbell, errands, ledger

log = structlog.get_logger(__name__)

TICK = "execution.upkeep"
FEED_TICK = "execution.feed"
_SWEEP_LIMIT = 500
_WAKE_LIMIT = 1000
_FOLD_LIMIT = 200
_LAG_SECONDS = 0.1
_BUSY_SECONDS = 0.1


class Ticker:
    """One keeper's part in sweeping and waking."""

    def __init__(self) -> None:
        self.has_released = False
        self._connection: Any = None
        self._unfit_until = 0.0

    def tick(self) -> float:
        """Do one tick, if it is ours; returns in how many seconds to come again."""
        self.has_released = False
        row = _claim(TICK)
        self._notice_reconnection()
        if row.is_mine:
            released = _passed("sweep", sweep, row.resumed_at) if self._is_fit else 0
            released += _passed("wake", wake)
            released += _passed("expire", expire)
            released += _passed("close_phases", close_phases)
            if row.tick_count % 5 == 0:
                released += _passed("fold", fold, _FOLD_LIMIT, row.tick_count % 60 == 0)
            self.has_released = released > 0
        return float(row.next_seconds) + (0 if self._is_fit else _LAG_SECONDS)

    @property
    def _is_fit(self) -> bool:
        """Whether this keeper may judge others: where its own connection was lost, theirs were too, perhaps."""
        return time.monotonic() >= self._unfit_until

    def _notice_reconnection(self) -> None:
        connection = ledger.connection()
        if self._connection is not None and connection is not self._connection:
            self._unfit_until = time.monotonic() + conf.current().lease_seconds
        self._connection = connection


class Feeder:
    """One keeper's part in feeding the doorbell, and in running errands.

    While there is something to ring for it comes again soon: few messages are outstanding, and short steps use them up.
    """

    def __init__(self) -> None:
        self._is_busy = False

    def tick(self, *, is_urgent: bool = False) -> float:
        """Do one tick, if it is ours or cannot wait; returns in how many seconds to come again."""
        row = _claim(FEED_TICK, seconds=_BUSY_SECONDS if self._is_busy else None)
        if row.is_mine or is_urgent:
            _passed("errands", errands.run_due)
            self._is_busy = _passed("feed", feed) > 0
        return _BUSY_SECONDS if self._is_busy else float(row.next_seconds)


def _claim(name: str, *, seconds: float | None = None) -> Any:
    settings = conf.current()
    period = settings.tick_seconds if seconds is None else min(seconds, settings.tick_seconds)
    gap = min(10.0, max(settings.lease_seconds / 3, settings.tick_seconds * 2.5))
    return ledger.ask(
        "SELECT * FROM execution_tick_v1(%s, %s, %s)",
        [name, timedelta(seconds=period), timedelta(seconds=gap)],
    )[0]


def _passed(name: str, action: Callable[..., int], *arguments: Any) -> int:
    """Do one pass; its failure is logged and counted, and holds up no other."""
    try:
        return action(*arguments)
    except Exception as error:  # noqa: BLE001 - upkeep must go on, whatever one pass meets
        log.warning("upkeep.failed", upkeep=name, error=repr(error))
        ledger.ask(
            "UPDATE execution_cyclestate SET error_count = error_count + 1, last_error = %s WHERE name = %s",
            [f"{name}: {error!r}"[:2000], TICK],
        )
        return 0


def sweep(resumed_at: datetime | None = None) -> int:
    """Give back the steps that their workers will not finish, each in a transaction of its own."""
    rows = ledger.ask(
        "SELECT * FROM execution_sweep_v1(%s, %s, %s)",
        [resumed_at, timedelta(seconds=conf.current().lease_seconds), _SWEEP_LIMIT],
    )
    return sum(_passed("give back", give_back, row.step_id, row.epoch, row.reason) for row in rows)


def give_back(step_id: uuid.UUID, epoch: int, reason: str) -> int:
    """Give one step back; returns whether it was still that claim's."""
    verdict = ledger.give_back(step_id, epoch, ending="lost", reason=reason)
    log.warning("step.given_back", step=str(step_id), epoch=epoch, verdict=verdict, reason=reason)
    return int(verdict != "stale")


def expire(limit: int = 200) -> int:
    """Fail the runs whose deadline has passed."""
    rows = ledger.ask(
        "SELECT id FROM execution_timer WHERE fired_at IS NULL AND cancelled_at IS NULL AND kind = 'deadline' "
        "AND due_at <= clock_timestamp() ORDER BY due_at LIMIT %s",
        [limit],
    )
    return sum(_passed("expire", _expire_one, row.id) for row in rows)


def close_phases(limit: int = 100) -> int:
    """End the phases whose timebox has passed."""
    rows = ledger.ask(
        "SELECT t.name FROM execution_timer t WHERE t.fired_at IS NULL AND t.cancelled_at IS NULL AND t.kind = 'phase' "
        "AND t.due_at <= clock_timestamp() ORDER BY t.due_at LIMIT %s",
        [limit],
    )
    return sum(_passed("close_phases", _close_phase, uuid.UUID(row.name)) for row in rows)


def _close_phase(phase_id: uuid.UUID) -> int:
    from execution import phases

    return int(phases.close(phase_id, "its timebox has passed"))


def _expire_one(timer_id: uuid.UUID) -> int:
    return int(ledger.ask("SELECT execution_expire_v1(%s) AS v", [timer_id])[0].v)


def wake(limit: int = _WAKE_LIMIT, most: int = 20) -> int:
    """Fire the timers that are due, in batches, in due order; returns how many steps that made ready."""
    woken = 0
    for _ in range(most):
        row = ledger.ask("SELECT * FROM execution_wake_v1(%s)", [limit])[0]
        woken += int(row.woken)
        if row.fired < limit:
            break
    return woken


def fold(limit: int = _FOLD_LIMIT, is_deep: bool = True) -> int:  # noqa: FBT001, FBT002 - a pass is called by position
    """Mend what a crash between two transactions can leave."""
    return int(ledger.ask("SELECT execution_fold_v1(%s, %s) AS n", [limit, is_deep])[0].n)


def feed() -> int:
    """Ring for the backlog of every queue that a living worker consumes."""
    rows = ledger.ask(
        "SELECT q AS queue, sum(w.free_count)::int AS free FROM execution_worker w, unnest(w.queues) q "
        "WHERE w.gone_at IS NULL AND NOT w.is_draining AND w.seen_at > clock_timestamp() - interval '10 seconds' "
        "GROUP BY q"
    )
    return doorbell.feed({row.queue: row.free for row in rows})


def backlog_of(queues: list[str], most: int = 10_000) -> tuple[int, int]:
    """Return how many steps are ready in these queues, and how many pool processes live for them on all hosts."""
    row = ledger.ask(
        "SELECT (SELECT count(*) FROM ("
        "SELECT 1 FROM execution_step s WHERE s.state = 'ready' AND s.queue = ANY(%s) LIMIT %s) r) AS ready, "
        "coalesce(sum(w.slot_count), 0)::int AS processes FROM execution_worker w "
        "WHERE w.gone_at IS NULL AND NOT w.is_draining AND w.queues && %s::varchar[] "
        "AND w.seen_at > clock_timestamp() - interval '10 seconds'",
        [queues, most, queues],
    )[0]
    return int(row.ready), int(row.processes)


def has_lines(queues: list[str]) -> bool:
    """Tell whether steps of several agents or priorities are ready in one of these queues: then their order matters."""
    rows = ledger.ask("SELECT bool_or(execution_has_lines_v1(q)) AS v FROM unnest(%s::text[]) q", [queues])
    return bool(rows[0].v)
