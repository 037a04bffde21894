"""The doorbell: one small Celery message per ready step, named after its skill, that only says "look at the ledger".

It rings after the commit, for speed; the feeder rings for what it missed, for certainty. A broker never holds more
than a window of messages per queue: the rest of the backlog stays in the ledger, where priority and fairness still
count.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from celery import Celery
from celery.app import app_or_default
from kombu.exceptions import OperationalError

from execution import ledger, tunables

log = structlog.get_logger(__name__)

_ROOM_SECONDS = 0.2
_SILENT_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """One message to send."""

    step_id: uuid.UUID
    skill: str
    queue: str
    priority: int = 0
    canvas: dict[str, Any] | None = None


class _Rooms:
    """How many messages this process may still send per queue before it looks again.

    At each look it takes half of the room, because others look too; while the broker is away it takes none.
    """

    def __init__(self) -> None:
        self._rooms: dict[str, tuple[float, int]] = {}
        self._silent_until = 0.0
        self._lock = threading.Lock()

    def take(self, queue: str, wanted: int) -> int:
        with self._lock:
            until, room = self._rooms.get(queue, (0.0, 0))
            if time.monotonic() < self._silent_until:
                return 0
            if time.monotonic() > until:
                until, room = time.monotonic() + _ROOM_SECONDS, (_room_of(queue) + 1) // 2
            taken = max(0, min(room, wanted))
            self._rooms[queue] = (until, room - taken)
            return taken

    def close(self) -> None:
        """Send nothing for a while: the feeder rings for all when the broker is back."""
        with self._lock:
            self._silent_until = time.monotonic() + _SILENT_SECONDS

    @property
    def are_closed(self) -> bool:
        return time.monotonic() < self._silent_until


_rooms = _Rooms()


def _room_of(queue: str) -> int:
    window = tunables.value("doorbell.window")
    rows = ledger.ask_in_transaction(
        "SELECT execution_window_v1(%s, %s) - count(*) AS room FROM (SELECT 1 FROM execution_step s "
        "WHERE s.state = 'ready' AND s.rung_at IS NOT NULL AND s.queue = %s LIMIT %s) o",
        [queue, window, queue, window],
    )
    return int(rows[0].room)


def room(queue: str, wanted: int = 1) -> int:
    """Take room for messages in a queue's window; what is not granted waits for the feeder."""
    return _rooms.take(queue, wanted)


def publish(rings: Sequence[Ring], app: Celery | None = None, *, insists: bool = False) -> int:
    """Send the messages; a broker that is away loses nothing, raises nothing, and is left alone for a while.

    What could not be sent is marked as not rung, so that the feeder, who insists, rings for it as soon as it can.
    """
    app = app_or_default(app)
    if not rings:
        return 0
    if _rooms.are_closed and not insists:
        _unring(rings)
        return 0
    sent = 0
    away: tuple[type[BaseException], ...] = (OperationalError, OSError, *_connection_errors(app))
    try:
        with app.producer_or_acquire() as producer:
            _reach(producer.connection)
            for ring in rings:
                _send(app, producer, ring)
                sent += 1
    except away as error:
        log.warning("doorbell.broker_away", error=str(error), sent=sent)
        _rooms.close()
        _unring(rings[sent:])
    return sent


def _reach(broker: Any) -> None:
    """Connect, trying each of the broker's hosts without a pause: by itself kombu tries again for six seconds."""
    broker.ensure_connection(max_retries=len(broker.alt), interval_start=0, interval_step=0)


def _connection_errors(app: Celery) -> tuple[type[BaseException], ...]:
    """Return what this broker's own client raises when it is away."""
    with contextlib.suppress(Exception):
        connection = app.connection_for_write()
        return (*connection.connection_errors, *connection.channel_errors)
    return ()


def _unring(rings: Sequence[Ring]) -> None:
    """Forget the messages that were not sent."""
    with contextlib.suppress(Exception):
        ledger.ask(
            "UPDATE execution_step SET rung_at = NULL, ring_count = 0 WHERE id = ANY(%s) AND state = 'ready'",
            [[ring.step_id for ring in rings]],
        )


def _send(app: Celery, producer: Any, ring: Ring) -> None:
    canvas = ring.canvas or {}
    limits = canvas.get("timelimit") or (None, None)
    message = app.amqp.as_task_v2(
        canvas.get("task_id") or str(ring.step_id),
        ring.skill,
        (),
        {},
        argsrepr=canvas.get("argsrepr", "…"),
        kwargsrepr=canvas.get("kwargsrepr", "…"),
        root_id=canvas.get("root_id"),
        parent_id=canvas.get("parent_id"),
        group_id=canvas.get("group_id"),
        shadow=canvas.get("shadow"),
        time_limit=limits[0],
        soft_time_limit=limits[1],
        replaced_task_nesting=canvas.get("replaced_task_nesting", 0),
        stamped_headers=canvas.get("stamped_headers"),
        **canvas.get("stamps", {}),
        ignore_result=True,
        create_sent_event=False,
    )
    message.headers["celeriac"] = 1  # a doorbell whose row is gone is not another producer's message
    route = app.amqp.router.route({"queue": ring.queue}, ring.skill)
    route["priority"] = broker_priority(app, ring.priority)
    app.amqp.send_task_message(producer, ring.skill, message, retry=False, **route)


def broker_priority(app: Celery, priority: int) -> int | None:
    """Return the priority on the broker's own scale, where the broker has one; the ledger's order counts anyway."""
    if str(app.conf.broker_url or "").startswith(("redis", "rediss")):
        return min(9, -priority) if priority < 0 else None
    return min(9, priority) if priority > 0 else None


def ring_for(step_ids: Sequence[uuid.UUID], app: Celery | None = None) -> int:
    """Ring for steps that just became ready, as far as their queues' windows have room."""
    if not step_ids or _rooms.are_closed:
        return 0
    rows = ledger.ask("SELECT * FROM execution_ring_v1(%s, %s)", [list(step_ids), tunables.value("doorbell.window")])
    return publish([_ring_of(row) for row in rows], app)


def ring_for_runs(run_ids: Sequence[uuid.UUID]) -> int:
    """Ring for what is ready in runs that were just opened."""
    if not run_ids:
        return 0
    rows = ledger.ask(
        "SELECT s.id FROM execution_step s WHERE s.run_id = ANY(%s) AND s.state = 'ready' AND s.rung_at IS NULL",
        [list(run_ids)],
    )
    return ring_for([row.id for row in rows])


def feed(queues: dict[str, int], app: Celery | None = None) -> int:
    """Ring for the backlog of these queues, given the free slots of each, by priority and in turn among agents."""
    if not queues:
        return 0
    app = app_or_default(app)
    window = tunables.value("doorbell.window")
    rows = ledger.ask(
        "SELECT * FROM execution_feed_v1(%s, %s, %s, %s)",
        [list(queues), list(queues.values()), window, [_sent(app, queue) for queue in queues]],
    )
    return publish([_ring_of(row) for row in rows], app, insists=True)


def _sent(app: Celery, queue: str) -> int:
    """Return how many messages the broker holds for a queue; 0 where it does not say."""
    with contextlib.suppress(Exception), app.connection_or_acquire() as connection:
        return int(connection.default_channel.queue_declare(queue=queue, passive=True).message_count)
    return 0


def _ring_of(row: Any) -> Ring:
    return Ring(step_id=row.step_id, skill=row.skill, queue=row.queue, priority=row.priority, canvas=row.canvas)
