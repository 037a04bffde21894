"""Prometheus figures of recovery, read where they are asked for and counted nowhere else.

Totals come from what the tables keep, and of decisions from the audit, folded every fifteen seconds; present figures
from bounded, indexed queries and from Redis in a hurry. A Redis that is away leaves its figures out, and nothing else
notices: telemetry is write-only. The same pass looks after the stream's consumers, and says in the log when it lags.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import structlog
from django.utils import timezone
from prometheus_client.core import Metric

from execution import events, ledger
from execution.cycles import Cycle
from execution.metrics import counted, counter, gauge
from execution.models import CycleState
from recovery import conf, exports, redis_server, stream
from recovery.models import (
    DistributedLock,
    Stage,
    SuggestionProvenance,
    WebhookEndpoint,
)

log = structlog.get_logger(__name__)

STATE = "recovery.metrics"
FOLDED_MOST = 10_000
SETTLED = timedelta(seconds=10)
"""So old must a line of the audit be to be counted: what commits late is counted too."""
LAGGING_SHARE = 0.5
LOCKS_MOST = 500
OUTBOX = ("published", "delivered", "failed", "dead")


# What a scrape collects


def of_stream() -> Iterator[Metric]:
    """Yield how the stream and the dead letters stand."""
    found = redis_server.attempt(stream.figures, None, what="metrics")
    yield _of_redis("recovery_stream_length", "Entries of the stream: what is owed.", found.length if found else None)
    yield _of_redis(
        "recovery_stream_pending", "Entries delivered and not acknowledged.", found.pending if found else None
    )
    yield _of_redis("recovery_stream_lag", "Entries never delivered.", found.lag if found else None)
    kept = counted("recovery_deadletter WHERE replayed_at IS NULL")
    yield gauge(
        "recovery_dead_letter_length",
        "Dead letters that nobody has replayed or dismissed.",
        [],
        [((), kept + (found.dead if found else 0))],
    )


def _of_redis(name: str, text: str, value: float | None) -> Metric:
    """Return a figure of Redis; without a value where nobody has answered."""
    return gauge(name, text, [], [] if value is None else [((), value)])


def of_candidates() -> Iterator[Metric]:
    """Yield what became of candidates, and how many wait."""
    state = CycleState.objects.filter(pk=STATE).values_list("state", flat=True).first() or {}
    totals: dict[str, dict[str, int]] = state.get("candidates", {})
    yield counter(
        "recovery_candidates",
        "Candidates by how they came to an evaluator and what was decided; waiting: left to a person.",
        ["source", "decision"],
        [((source, decision), n) for source, found in totals.items() for decision, n in found.items()],
    )
    waiting = [((one,), counted("recovery_recoverycandidate WHERE state = %s", [one])) for one in ("open", "waiting")]
    yield gauge("recovery_candidates_waiting", "Candidates before an evaluator, or an operator.", ["state"], waiting)


def of_outbox() -> Iterator[Metric]:
    """Yield what was sent and what is due; each endpoint keeps its own totals."""
    rows: list[Any] = list(WebhookEndpoint.objects.values())
    for name in OUTBOX:
        total = sum(int(row.get(f"{name}_count", 0)) for row in rows)
        yield counter(f"recovery_outbox_{name}", f"Messages for webhooks: {name}.", [], [((), total)])
    pending = counted("recovery_outboxevent WHERE state = 'pending'")
    yield gauge("recovery_outbox_pending", "Messages that are not delivered yet.", [], [((), pending)])
    oldest = ledger.ask_in_transaction(
        "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - m.due_at)), 0)::float8 AS lag "
        "FROM recovery_webhookendpoint e CROSS JOIN LATERAL (SELECT due_at FROM recovery_outboxevent o "
        "WHERE o.endpoint_id = e.id AND o.state = 'pending' ORDER BY due_at LIMIT 1) m WHERE e.state = 'active'"
    )[0].lag
    text = "How long ago the message was due that is due for longest."
    yield gauge("recovery_outbox_lag_seconds", text, [], [((), max(oldest, 0.0))])


def of_locks() -> Iterator[Metric]:
    """Yield how locks changed hands."""
    rows = list(
        DistributedLock.objects.order_by("name").values_list("name", "acquired_count", "lost_count")[:LOCKS_MOST]
    )
    taken, lost = [((name,), n) for name, n, _ in rows], [((name,), n) for name, _, n in rows]
    yield counter("recovery_lock_acquired", "Locks taken.", ["lock"], taken)
    yield counter("recovery_lock_lost", "Locks whose time ran out before they were released.", ["lock"], lost)


def of_exports() -> Iterator[Metric]:
    """Yield what was exported; one row a night."""
    found = exports.totals()
    yield counter("recovery_export_bytes", "Bytes that went up.", [], [((), found.bytes)])
    yield counter("recovery_export_attempts", "Tries to upload.", [], [((), found.attempts)])
    yield counter("recovery_export_failures", "Tries that failed.", [], [((), found.failures)])


def of_handlings() -> Iterator[Metric]:
    """Yield what waits for handlers, and for persons that handlers ask."""
    states = ("pending", "waiting")
    values = [((state,), counted("recovery_handling WHERE state = %s", [state])) for state in states]
    yield gauge("recovery_handlings", "Events that wait for their handler, or for a person.", ["state"], values)


PARTS = (of_stream, of_candidates, of_outbox, of_locks, of_exports, of_handlings)


# The pass


def sample(state: dict[str, Any]) -> int:
    """Count what was decided since, look after the stream, and tell when it begins to lag or has caught up."""
    folded = fold(state)
    try:
        retired = stream.tidy()
        _tell_of_lag(state)
    except redis_server.away() as error:
        log.warning("metrics.redis_away", error=str(error))
        retired = 0
    return folded + retired


def fold(state: dict[str, Any]) -> int:
    """Add the lines of the audit that came since to the totals."""
    seen = uuid.UUID(state.get("seen", str(uuid.UUID(int=0))))
    until = events.first_id_at(timezone.now() - SETTLED)
    rows = list(
        SuggestionProvenance.objects.filter(pk__gt=seen, pk__lt=until)
        .order_by("pk")
        .values_list("pk", "stage", "candidate__source", "candidate__decision")[:FOLDED_MOST]
    )
    totals: dict[str, dict[str, int]] = state.setdefault("candidates", {})
    for _, stage, source, decision in rows:
        if stage == Stage.DECIDED or (stage == Stage.EVALUATED and not decision):
            of_source = totals.setdefault(source or "unknown", {})
            of_source[decision or "waiting"] = of_source.get(decision or "waiting", 0) + 1
    if rows:
        state["seen"] = str(rows[-1][0])
    return len(rows)


def _tell_of_lag(state: dict[str, Any]) -> None:
    """Write an event when the stream begins to lag, and when it has caught up."""
    server = redis_server.client()
    if server is None:
        return
    found, most = stream.figures(server), conf.current().stream_most
    is_lagging = found.length > most * LAGGING_SHARE
    if is_lagging != state.get("is_lagging", False):
        state["is_lagging"] = is_lagging
        kind = "stream.lagging" if is_lagging else "stream.caught_up"
        data = {"length": found.length, "pending": found.pending, "lag": found.lag, "most": most}
        log.warning(kind, **data)
        events.note(kind, data)


SAMPLE = Cycle(name=STATE, period=timedelta(seconds=15), step=sample, is_atomic=False)
