"""The outbox: new events become messages, one for each endpoint that wants them; what is due is claimed and completed.

The log itself is the outbox: what happened was written in the transaction in which it happened, and is read by cursor,
so that a message is made once. One leader at a time claims (`recovery/courier.py`); its lock's token is checked by each
claim and each completion, and every message that is claimed has a lease of its own. A message keeps the id of its event
over all tries.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, LiteralString

from django.db.models import F
from psycopg.types.json import Jsonb

from execution import events, ledger, logs
from execution.models import Event
from recovery import conf
from recovery.locks import Lock
from recovery.message import Answer, Message
from recovery.models import EndpointState, OutboxEvent, OutboxState, WebhookEndpoint

LOCK = "recovery.outbox"
READER = "recovery.outbox"
BATCH = 100

SCHEDULE = tuple(
    timedelta(seconds=seconds) for seconds in (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
"""How long each try comes after the one before it; after the last the message is dead."""
JITTER = 0.2
LONGEST_WAIT = timedelta(hours=24)
LONGEST_HOLD = timedelta(hours=1)
WAIT_SECONDS = 10.0
"""How long a message may wait for a place after it was claimed."""
_LEASE_MARGIN = timedelta(seconds=WAIT_SECONDS + 5)
_HANDFULS = 4
_READ_MOST, _MADE_MOST = 1000, 10_000
GONE, TOO_MANY, UNAVAILABLE = 410, 429, 503
_GONE = "the receiver answered 410: it is gone"


# New events


def publish() -> int:
    """Make messages of the events that no one has read yet; returns how many events were read."""
    wanting = WebhookEndpoint.objects.filter(state=EndpointState.ACTIVE).count()
    return events.consume(READER, fan_out, limit=max(min(_READ_MOST, _MADE_MOST // max(wanting, 1)), 10))


def fan_out(found: Sequence[Event]) -> None:
    """Make a message of each event for each active endpoint that wants it, in the caller's transaction."""
    endpoints = list(WebhookEndpoint.objects.filter(state=EndpointState.ACTIVE))
    made = [
        message(event, endpoint)
        for event in found
        for endpoint in endpoints
        if endpoint.created_at <= event.at and endpoint.wants(event.kind)
    ]
    store(made)


def store(made: Iterable[OutboxEvent]) -> int:
    """Store messages, each once for its event and endpoint, and count them; returns how many there are."""
    rows = list(made)
    OutboxEvent.objects.bulk_create(rows, batch_size=500, ignore_conflicts=True)
    for endpoint_id, count in sorted(Counter(row.endpoint_id for row in rows).items()):
        WebhookEndpoint.objects.filter(pk=endpoint_id).update(published_count=F("published_count") + count)
    return len(rows)


def message(event: Event, endpoint: WebhookEndpoint) -> OutboxEvent:
    """Return an event as a message to an endpoint, not stored."""
    return OutboxEvent(
        endpoint=endpoint,
        event_id=event.id,
        kind=event.kind,
        aggregate=_subject(event),
        body=as_cloudevent(event),
        due_at=event.at,
    )


def as_cloudevent(event: Event) -> dict[str, Any]:
    """Return an event of the log as a CloudEvents 1.0 event, in JSON; values that name a secret are hidden."""
    subject = _subject(event)
    facts = {"run_id": event.run_id, "step_id": event.step_id, "agent_id": event.agent_id}
    return {
        "specversion": "1.0",
        "id": str(event.id),
        "source": "/celeriac",
        "type": f"celeriac.{event.kind}",
        **({"subject": subject} if subject else {}),
        "time": event.at.isoformat(),
        "datacontenttype": "application/json",
        "data": dict(logs.hide_secrets(None, "", dict(event.data)))
        | {name: str(found) for name, found in facts.items() if found},
    }


def _subject(event: Event) -> str:
    if event.run_id:
        return f"run:{event.run_id}"
    return f"agent:{event.agent_id}" if event.agent_id else ""


# What is due


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A message that was claimed: under which lease, and after how many tries."""

    message: Message
    lease_token: uuid.UUID
    endpoint: str
    try_count: int
    claimed_at: float
    """By this process's own clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What becomes of a message after a try."""

    id: uuid.UUID
    lease_token: uuid.UUID
    state: str
    delay: float = 0.0
    """In how many seconds it is due again."""
    hold: float | None = None
    """For how many seconds its endpoint is left alone."""
    status: int | None = None
    error: str = ""
    response: str = ""
    duration_ms: float = 0.0
    gone: str = ""
    """Why its endpoint is disabled."""

    @property
    def leaves_alone(self) -> bool:
        """Whether nothing more goes to its endpoint for now."""
        return bool(self.gone) or self.hold is not None


def claim(lock: Lock, *, limit: int = BATCH, each: int | None = None, now: datetime | None = None) -> list[Parcel]:
    """Claim what is due, in turns by endpoint; a leader whose lock was lost claims nothing.

    Of one endpoint some more are in hand than may be under way, so that a place is never empty for want of a claim.
    """
    settings = conf.current()
    lease = timedelta(seconds=settings.webhook_timeout_seconds) + _LEASE_MARGIN
    rows = ledger.ask(
        "SELECT * FROM recovery_claim_outbox_v1(%s, %s, %s, %s, %s, %s)",
        [lock.name, lock.token, limit, each or settings.webhook_per_endpoint * _HANDFULS, lease, now],
    )
    return [_parcel(row) for row in rows]


def _parcel(row: Any) -> Parcel:
    return Parcel(
        message=Message(id=row.id, event_id=row.event_id, url=row.url, body=row.body, secrets=row.secrets),
        lease_token=row.lease_token,
        endpoint=row.endpoint,
        try_count=row.try_count,
        claimed_at=time.monotonic(),
    )


def judge(parcel: Parcel, answer: Answer, *, chance: float | None = None) -> Outcome:
    """Decide what becomes of a message: delivered, due again by the schedule, or dead."""
    tried = Outcome(
        id=parcel.message.id,
        lease_token=parcel.lease_token,
        state=OutboxState.DELIVERED,
        status=answer.status,
        error=answer.error,
        response=answer.response,
        duration_ms=answer.duration_ms,
    )
    if answer.is_success:
        return tried
    tries, gone = parcel.try_count + 1, _GONE if answer.status == GONE else ""
    if tries >= len(SCHEDULE):
        return replace(tried, state=OutboxState.DEAD, gone=gone)
    delay = delay_before(tries, asked=answer.retry_after, chance=chance)
    return replace(tried, state=OutboxState.PENDING, delay=delay, hold=_hold(answer), gone=gone)


def delay_before(tries: int, *, asked: float | None = None, chance: float | None = None) -> float:
    """Return the seconds until the next try: the schedule's, or longer where the receiver asked for that."""
    share = random.uniform(-JITTER, JITTER) if chance is None else chance * JITTER  # noqa: S311 - spreads load
    planned = SCHEDULE[tries].total_seconds() * (1 + share)
    return max(planned, min(asked or 0.0, LONGEST_WAIT.total_seconds()))


def _hold(answer: Answer) -> float | None:
    """Return for how long no other message goes to the endpoint either: it said that it has too much to do."""
    if answer.status not in (TOO_MANY, UNAVAILABLE) or answer.retry_after is None:
        return None
    return min(answer.retry_after, LONGEST_HOLD.total_seconds())


def complete(lock: Lock, outcomes: Sequence[Outcome], *, now: datetime | None = None) -> set[uuid.UUID]:
    """Write what became of messages; returns those that were written: none where the lock or a lease was lost."""
    if not outcomes:
        return set()
    given = [asdict(outcome) | {"id": str(outcome.id), "lease_token": str(outcome.lease_token)} for outcome in outcomes]
    row = ledger.ask(
        "SELECT recovery_complete_outbox_v1(%s, %s, %s, %s) AS written", [lock.name, lock.token, Jsonb(given), now]
    )[0]
    return set(row.written)


# Looking


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What the outbox has done, and what lies in it; the first four only grow."""

    published: int
    delivered: int
    failed: int
    """Tries that failed."""
    dead: int
    pending: int
    lag_seconds: float
    """The age of what has been due for longest, at endpoints that are active."""


def counts() -> Counts:
    """Count by the endpoints' own rows, and by the index of what is due."""
    row = ledger.ask_in_transaction(
        "SELECT coalesce(sum(e.published_count), 0)::bigint AS published, "
        "coalesce(sum(e.delivered_count), 0)::bigint AS delivered, "
        "coalesce(sum(e.failed_count), 0)::bigint AS failed, coalesce(sum(e.dead_count), 0)::bigint AS dead, "
        "coalesce(sum(w.pending), 0)::bigint AS pending, "
        "coalesce(greatest(extract(epoch FROM clock_timestamp() - min(w.due_at)), 0), 0)::float8 AS lag_seconds "
        "FROM recovery_webhookendpoint e LEFT JOIN LATERAL ("
        "SELECT count(*) AS pending, min(o.due_at) AS due_at FROM recovery_outboxevent o "
        "WHERE o.endpoint_id = e.id AND o.state = 'pending' AND e.state = 'active') w ON true"
    )[0]
    return Counts(**row._asdict())


# Retention


def clean_up(_: dict[str, Any] | None = None) -> int:
    """Remove the messages that were delivered or given up long ago, with their deliveries; returns how many."""
    is_old: LiteralString = (
        "o.state <> 'pending' AND o.created_at < clock_timestamp() - make_interval(secs => %s * 86400)"
    )
    removed = 0
    while gone := remove(is_old, [conf.current().webhook_days]):
        removed += gone
    return removed


def remove(condition: LiteralString, parameters: Sequence[Any], *, batch: int = 5000) -> int:
    """Remove some of the messages that a condition means, with their deliveries; returns how many."""
    rows = ledger.ask(
        f"WITH old AS (SELECT o.id FROM recovery_outboxevent o WHERE {condition} ORDER BY o.id LIMIT %s), "  # noqa: S608 - ours
        "tries AS (DELETE FROM recovery_delivery d USING old WHERE d.message_id = old.id) "
        "DELETE FROM recovery_outboxevent o USING old WHERE o.id = old.id RETURNING 1 AS one",
        [*parameters, batch],
    )
    return len(rows)
