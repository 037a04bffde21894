"""Webhooks: endpoints that events are sent to, as an operator adds, tests, changes, rotates, disables and replays them.

Messages are signed by Standard Webhooks 1.0. A secret is shown once, when it is made; after that neither a page nor a
document nor a log shows it. While a secret is rotated the old one stays valid for a time and both sign.
"""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from itertools import islice
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from psycopg.types.json import Jsonb

from execution import events, ids, ledger
from execution.durations import Duration, seconds
from execution.exceptions import NotAllowed, OptionInvalid
from execution.models import Event
from recovery import addresses, event_kinds, outbox
from recovery.exceptions import NotFound
from recovery.message import Answer, Message
from recovery.models import Delivery, EndpointState, OutboxEvent, OutboxState, WebhookEndpoint

SECRETS_MOST = 5
"""Secrets of one endpoint that are valid at once."""
_SECRET_BYTES = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")

Named = WebhookEndpoint | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A new endpoint, and the secret that is shown this once."""

    endpoint: WebhookEndpoint
    secret: str


def add(
    name: str, url: str, *, kinds: Iterable[str] = (), is_ordered: bool = False, by: str = "", reason: str = ""
) -> Added:
    """Send the events of these kinds, or all, to an address from now on."""
    if not _NAME.fullmatch(name):
        raise OptionInvalid(
            f"a webhook's name is {name!r:.120}; use small letters, digits, '.', '-' and '_', up to 100"
        )
    secret = new_secret()
    try:
        with transaction.atomic():
            endpoint = WebhookEndpoint.objects.create(
                name=name,
                url=addresses.checked_url(url),
                kinds=event_kinds.checked(kinds),
                is_ordered=is_ordered,
                secrets=[{"secret": secret, "until": None}],
                created_at=Now(),
                changed_by=by[:150],
            )
            _note("added", endpoint, by=by, reason=reason)
    except IntegrityError:
        raise OptionInvalid(f"there is a webhook {name!r} already; change it, or give another name") from None
    endpoint.refresh_from_db()
    return Added(endpoint=endpoint, secret=secret)


@transaction.atomic
def change(
    endpoint: Named,
    *,
    url: str | None = None,
    kinds: Iterable[str] | None = None,
    is_ordered: bool | None = None,
    by: str = "",
    reason: str = "",
) -> WebhookEndpoint:
    """Change what is given; messages that wait already go to the new address."""
    found = _held(endpoint)
    given = {
        "url": None if url is None else addresses.checked_url(url),
        "kinds": None if kinds is None else event_kinds.checked(kinds),
        "is_ordered": is_ordered,
    }
    changed = {field: value for field, value in given.items() if value not in (None, getattr(found, field))}
    if changed:
        WebhookEndpoint.objects.filter(pk=found.pk).update(**changed, changed_by=by[:150])
        _note("changed", found, by=by, reason=reason, changed=sorted(changed))
    found.refresh_from_db()
    return found


def get(endpoint: Named) -> WebhookEndpoint:
    """Return an endpoint by its name, its id or the beginning of one."""
    if isinstance(endpoint, WebhookEndpoint):
        return endpoint
    if found := WebhookEndpoint.objects.filter(name=endpoint).first():
        return found
    beginning = re.sub(r"[^0-9a-f]", "", endpoint.lower())
    by_id = [one for one in WebhookEndpoint.objects.all() if len(beginning) >= 8 and one.id.hex.startswith(beginning)]
    if len(by_id) == 1:
        return by_id[0]
    names = list(WebhookEndpoint.objects.order_by("name").values_list("name", flat=True))
    near = get_close_matches(endpoint, names, n=1)
    raise NotFound("webhook", repr(endpoint), _hint(near, names))


def _hint(near: Sequence[str], names: Sequence[str]) -> str:
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there are {', '.join(names[:10])}" if names else "`manage.py webhooks add NAME URL` adds one"


def remove(endpoint: Named, *, by: str = "", reason: str = "") -> int:
    """Remove an endpoint with its messages; returns how many of them waited still."""
    found = get(endpoint)
    WebhookEndpoint.objects.filter(pk=found.pk).update(state=EndpointState.DISABLED)
    waiting = OutboxEvent.objects.filter(endpoint=found, state=OutboxState.PENDING).count()
    while outbox.remove("o.endpoint_id = %s", [found.pk]):
        pass
    with transaction.atomic():
        _note("removed", found, by=by, reason=reason)
        WebhookEndpoint.objects.filter(pk=found.pk).delete()
    return waiting


def health(endpoint: WebhookEndpoint) -> str:
    """Say in words how an endpoint does."""
    if endpoint.state == EndpointState.DISABLED:
        return f"disabled: {endpoint.disabled_reason}"
    if endpoint.failing_since:
        return f"failing since {endpoint.failing_since:%Y-%m-%d %H:%M UTC}: {endpoint.last_error}"
    if endpoint.last_error:
        return f"well, but for one try lately: {endpoint.last_error}"
    return "well" if endpoint.delivered_at else "nothing was delivered yet"


def last_tries(endpoint: WebhookEndpoint, count: int) -> list[Delivery]:
    """Return the last tries, the newest first, of the messages that were made last."""
    newest = OutboxEvent.objects.filter(endpoint=endpoint).order_by("-id").values_list("id", flat=True)[: count * 10]
    rows = Delivery.objects.filter(message_id__in=list(newest)).select_related("message").defer("message__body")
    return list(rows.order_by("-id")[:count])


# On and off


def disable(endpoint: Named, *, by: str = "", reason: str = "") -> None:
    """Send nothing more; what waits stays."""
    found = get(endpoint)
    said = reason or f"by {by or 'an operator'}"
    row = ledger.ask_in_transaction("SELECT recovery_disable_webhook_v1(%s, %s, %s) AS v", [found.pk, said, by])[0]
    if not row.v:
        raise NotAllowed(f"the webhook {found.name!r} is disabled already: {found.disabled_reason}")


@transaction.atomic
def enable(endpoint: Named, *, by: str = "", reason: str = "") -> None:
    """Send again: what waits, and new events; for what was missed meanwhile there is `replay_since`."""
    found = _held(endpoint)
    if found.state == EndpointState.ACTIVE:
        raise NotAllowed(f"the webhook {found.name!r} is active already")
    WebhookEndpoint.objects.filter(pk=found.pk).update(
        state=EndpointState.ACTIVE, disabled_reason="", failing_since=None, held_until=None, changed_by=by[:150]
    )
    _note("enabled", found, by=by, reason=reason)


# Secrets


def new_secret() -> str:
    """Return a secret as Standard Webhooks writes it."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


@transaction.atomic
def rotate(endpoint: Named, *, keep: Duration = "24h", by: str = "", reason: str = "") -> str:
    """Give an endpoint a new secret, returned this once; those before it stay valid for `keep`."""
    found = _held(endpoint)
    length = seconds(keep, name="keep")
    if length < 0:
        raise OptionInvalid(f"keep is {keep!r}; the old secret stays valid for a time of 0 or more")
    now = _database_now()
    until = now + timedelta(seconds=length)
    kept = [_ending(one, until) for one in found.secrets if _is_valid(one, now)] if length else []
    if len(kept) >= SECRETS_MOST:
        raise NotAllowed(
            f"{len(kept)} secrets of the webhook {found.name!r} are valid still; wait until one expires, or rotate "
            "with keep 0, which ends them all"
        )
    secret = new_secret()
    found.secrets = [{"secret": secret, "until": None}, *kept]
    WebhookEndpoint.objects.filter(pk=found.pk).update(secrets=found.secrets, changed_by=by[:150])
    _note("rotated", found, by=by, reason=reason, keep_seconds=length)
    return secret


def _is_valid(one: dict[str, Any], now: datetime) -> bool:
    return one["until"] is None or datetime.fromisoformat(one["until"]) > now


def _ending(one: dict[str, Any], until: datetime) -> dict[str, Any]:
    """Return a secret that ends then, or earlier if that was said before."""
    ends = until if one["until"] is None else min(until, datetime.fromisoformat(one["until"]))
    return {"secret": one["secret"], "until": ends.isoformat()}


def secret_count(endpoint: WebhookEndpoint) -> int:
    """Return how many secrets are valid."""
    return len(_valid_secrets(endpoint))


def _valid_secrets(endpoint: WebhookEndpoint) -> list[str]:
    rows = ledger.ask_in_transaction("SELECT recovery_valid_secrets_v1(%s) AS found", [Jsonb(endpoint.secrets)])
    return list(rows[0].found)


def _database_now() -> datetime:
    now: datetime = ledger.ask_in_transaction("SELECT clock_timestamp() AS now")[0].now
    return now


# Test and replay


def send_test(endpoint: Named, *, by: str = "") -> Answer:
    """Send one test message now and tell what was answered; it is kept as any message, and never tried again."""
    found = get(endpoint)
    message = _test_message(found, by)
    sent = Message(
        id=message.id,
        event_id=message.event_id,
        url=found.url,
        body=message.body,
        secrets=_valid_secrets(found),
    )
    answer = asyncio.run(_post_alone(sent))
    _keep(message, answer)
    return answer


def _test_message(endpoint: WebhookEndpoint, by: str) -> OutboxEvent:
    event = Event(id=ids.new(), kind="webhook.test", at=_database_now(), data={"endpoint": endpoint.name, "by": by})
    return outbox.message(event, endpoint)


async def _post_alone(message: Message) -> Answer:
    from recovery import posting

    async with posting.Sender() as sender:
        return await posting.post(sender, message)


@transaction.atomic
def _keep(message: OutboxEvent, answer: Answer) -> None:
    message.state = OutboxState.DELIVERED if answer.is_success else OutboxState.DEAD
    message.try_count = 1
    message.delivered_at = _database_now() if answer.is_success else None
    message.save(force_insert=True)
    Delivery.objects.create(
        message=message,
        status=answer.status,
        error=answer.error,
        response=answer.response,
        duration_ms=answer.duration_ms,
    )


def replay(message: OutboxEvent | uuid.UUID | str, *, by: str = "", reason: str = "") -> OutboxEvent:
    """Send one message again, from the first try on, under the id that it had."""
    found = message if isinstance(message, OutboxEvent) else _message(message)
    if not _send_again([found.id]):
        raise NotAllowed(f"the message {found.id} is being delivered at this moment; look again when that has ended")
    _note("replayed", found.endpoint, by=by, reason=reason, message=str(found.id))
    found.refresh_from_db()
    return found


def replay_since(
    endpoint: Named, since: datetime, until: datetime | None = None, *, by: str = "", reason: str = ""
) -> tuple[int, int]:
    """Send the dead messages of a time again, and what the endpoint missed in it; returns how many of each."""
    found = get(endpoint)
    end = until or _database_now()
    if since >= end:
        raise OptionInvalid(f"since is {since:%Y-%m-%d %H:%M} and until is not later: {end:%Y-%m-%d %H:%M}")
    dead = OutboxEvent.objects.filter(endpoint=found, state=OutboxState.DEAD).exclude(kind="webhook.test")
    span = (events.first_id_at(since), events.first_id_at(end))
    again = 0
    while batch := list(dead.filter(event_id__range=span).values_list("id", flat=True)[:1000]):
        again += _send_again(batch)
    missed = _make_missed(found, span)
    _note("replayed", found, by=by, reason=reason, again=again, missed=missed)
    return again, missed


def _make_missed(endpoint: WebhookEndpoint, span: tuple[uuid.UUID, uuid.UUID]) -> int:
    """Make messages of the events of a time that never became one for this endpoint."""
    rows = Event.objects.filter(id__gte=span[0], id__lt=span[1]).order_by("id").iterator(chunk_size=1000)
    wanted = (event for event in rows if endpoint.wants(event.kind))
    made = 0
    for batch in _batches(wanted, 500):
        there = set(
            OutboxEvent.objects.filter(endpoint=endpoint, event_id__in=[event.id for event in batch]).values_list(
                "event_id", flat=True
            )
        )
        with transaction.atomic():
            made += outbox.store(outbox.message(event, endpoint) for event in batch if event.id not in there)
    return made


def _batches(found: Iterable[Event], size: int) -> Iterator[list[Event]]:
    rest = iter(found)
    while batch := list(islice(rest, size)):
        yield batch


def _send_again(messages: Sequence[uuid.UUID]) -> int:
    """Make messages due now, but for those that somebody is delivering; returns how many."""
    rows = ledger.ask_in_transaction(
        "UPDATE recovery_outboxevent SET state = 'pending', try_count = 0, due_at = clock_timestamp(), "
        "lease_token = NULL, lease_until = NULL, delivered_at = NULL WHERE id = ANY(%s) "
        "AND (state <> 'pending' OR lease_token IS NULL OR lease_until < clock_timestamp()) RETURNING id",
        [list(messages)],
    )
    return len(rows)


def _message(name: uuid.UUID | str) -> OutboxEvent:
    """Return a message by its id, its event's id, or the beginning of one."""
    text = str(name)
    digits = text.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{8,32}", digits):
        raise NotFound("message", repr(text), "give its id, its event's id, or 8 characters of one")
    span = ids.span(digits)
    rows = OutboxEvent.objects.select_related("endpoint")
    for field in ("id__range", "event_id__range"):
        found = list(rows.filter(**{field: span})[:2])
        if len(found) > 1:
            raise NotFound("single message", repr(text), "several begin so: give more of the id, or the message's own")
        if found:
            return found[0]
    raise NotFound("message", repr(text), "`manage.py webhooks show NAME` lists the last ones")


def _held(endpoint: Named) -> WebhookEndpoint:
    return WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=get(endpoint).pk)


def _note(verb: str, endpoint: WebhookEndpoint, **data: Any) -> None:
    """Write one event about an endpoint, in the caller's transaction."""
    events.note(f"webhook.{verb}", {"endpoint": str(endpoint.pk), "name": endpoint.name, **data})
