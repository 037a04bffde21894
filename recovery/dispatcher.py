"""The dispatcher: each event of the log comes to each handler that asks for it, once, and to whoever watches live.

A handler registers for kinds of events; what it is to handle is written in the transaction that moves the dispatcher's
cursor, so that no event is missed and none is given twice. It is carried out elsewhere (`handling_process.py`): a
handler that hangs or dies is in nobody's way. Besides, every event is published on a Redis channel for live views,
which nothing rests on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from functools import cache, partial
from typing import Any

import structlog
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.module_loading import autodiscover_modules
from psycopg.types.json import Jsonb

from execution import events, ledger
from execution.cycles import Cycle
from execution.exceptions import OptionInvalid
from execution.models import Event
from recovery import handling, handling_process, redis_server
from recovery.exceptions import NotFound
from recovery.handling import Happened, NeedsPerson
from recovery.models import HandlerSwitch, Handling, HandlingState
from recovery.redis_server import Server

__all__ = ["Happened", "NeedsPerson", "on"]

log = structlog.get_logger(__name__)

READER = "recovery.dispatcher"
PASS_SECONDS = 5.0
HISTORY = timedelta(hours=1)
PUBLISHED_BYTES = 8192
_KIND = re.compile(r"\*|[a-z_]+(\.[a-z_]+)*(\.\*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """What is called with an event of certain kinds."""

    name: str
    kinds: tuple[str, ...]
    function: handling.Handle
    is_coalescing: bool = False

    def wants(self, kind: str) -> bool:
        """Tell whether it asks for events of this kind."""
        return any(kind.startswith(one[:-1]) if one.endswith("*") else kind == one for one in self.kinds)


KNOWN: dict[str, Handler] = {}


def on(*kinds: str, name: str = "", coalesce: bool = False) -> Callable[[handling.Handle], handling.Handle]:
    """Make a function a handler of events: of a kind (`run.failed`), of kinds that begin so (`run.*`), or of all (`*`).

    Its name is stored with what it handles; it is the function's own, with its module, unless given. One that
    coalesces only wants to know that something happened: of what is read together it is given the last.
    """
    wrong = [kind for kind in kinds if not _KIND.fullmatch(kind)]
    if wrong or not kinds:
        raise OptionInvalid(f"a handler asks for kinds such as 'run.failed', 'run.*' or '*', not {wrong or 'nothing'}")

    def register(function: handling.Handle) -> handling.Handle:
        chosen = name or f"{function.__module__}.{function.__qualname__}"
        known = KNOWN.get(chosen)
        if known and (known.function.__module__, known.function.__qualname__) != (
            function.__module__,
            function.__qualname__,
        ):
            raise OptionInvalid(
                f"two handlers are named {chosen!r}: {known.function.__qualname__} of {known.function.__module__} "
                f"and {function.__qualname__} of {function.__module__}"
            )
        KNOWN[chosen] = Handler(name=chosen, kinds=kinds, function=function, is_coalescing=coalesce)
        return function

    return register


@cache
def discover() -> None:
    """Find the handlers: in `handlers.py` of each installed app."""
    autodiscover_modules("handlers")


# From the log to the handlers


def dispatch(seconds: float = PASS_SECONDS) -> int:
    """Give out what happened, and see that it is handled; returns how many events were read."""
    discover()
    introduce()
    read = fan_out(seconds)
    if handling.due(list(KNOWN)):
        handling_process.ensure()
    return read


def introduce() -> None:
    """Note the handlers of this process: what happened long before is history to them."""
    noted = dict(HandlerSwitch.objects.values_list("handler", "kinds"))
    new = [
        HandlerSwitch(handler=one.name, kinds=list(one.kinds), known_at=Now() - HISTORY)
        for one in KNOWN.values()
        if one.name not in noted
    ]
    if new:
        HandlerSwitch.objects.bulk_create(new, ignore_conflicts=True)
    for one in KNOWN.values():
        if noted.get(one.name, list(one.kinds)) != list(one.kinds):
            HandlerSwitch.objects.filter(pk=one.name).update(kinds=list(one.kinds))


def fan_out(seconds: float = PASS_SECONDS) -> int:
    """Write down, for each new event, who is to handle it; returns how many events were read."""
    return events.consume_for(READER, _hand_out, seconds=seconds)


def _hand_out(found: Sequence[Event]) -> None:
    switches = {one.handler: one for one in HandlerSwitch.objects.filter(pk__in=KNOWN)}
    told = [_told(event) for event in found]
    for handler in KNOWN.values():
        if handler.name in switches:
            _give(handler.name, _wanted(handler, switches[handler.name], found, told))
    transaction.on_commit(partial(publish, told), robust=True)


def _wanted(
    handler: Handler, switch: HandlerSwitch, found: Sequence[Event], told: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return what one handler is to handle. It is not told of itself: what it fails at would never end."""
    wanted = [
        one
        for event, one in zip(found, told, strict=True)
        if handler.wants(event.kind) and event.at >= switch.known_at and event.data.get("handler") != handler.name
    ]
    if handler.is_coalescing:
        return wanted[-1:] if switch.is_enabled else []
    return wanted


def _give(handler: str, wanted: Sequence[dict[str, Any]]) -> None:
    """Write down what a handler is to handle, each event once."""
    if wanted:
        ledger.ask_in_transaction(
            "INSERT INTO recovery_handling (id, handler, event_id, kind, event) "
            "SELECT execution_uuid7_v1(), %s, (e ->> 'id')::uuid, e ->> 'kind', e FROM unnest(%s::jsonb[]) "
            "WITH ORDINALITY AS t(e, place) ORDER BY place ON CONFLICT (event_id, handler) DO NOTHING",
            [handler, [Jsonb(one) for one in wanted]],
        )


def _told(event: Event) -> dict[str, Any]:
    """Return an event as JSON, for handlers and for live views."""
    named = {name: getattr(event, name) for name in ("id", "run_id", "step_id", "agent_id")}
    return {
        **{name: str(value) if value else None for name, value in named.items()},
        "kind": event.kind,
        "at": event.at.isoformat(),
        "epoch": event.epoch,
        "data": event.data,
    }


WATCH = Cycle(name=READER, period=timedelta(milliseconds=200), step=lambda _: dispatch(), is_atomic=False)


# Live views


def channel() -> str:
    """Return the name of the Redis channel of events."""
    return redis_server.key("events")


def publish(told: Sequence[dict[str, Any]]) -> int:
    """Publish events to whoever listens now; what is lost was only a view. Returns how many were published."""
    return redis_server.attempt(lambda server: _publish(server, told), 0, what="dispatcher.publish")


def _publish(server: Server, told: Sequence[dict[str, Any]]) -> int:
    with server.pipeline(transaction=False) as pipe:
        for one in told:
            pipe.publish(channel(), _message(one))
        return len(pipe.execute())


def _message(told: dict[str, Any]) -> str:
    text = json.dumps(told)
    return text if len(text) <= PUBLISHED_BYTES else json.dumps(told | {"data": {}, "is_shortened": True})


# Switches


def switch(name: str, *, is_enabled: bool, by: str, reason: str = "", is_fresh: bool = False) -> HandlerSwitch:
    """Switch a handler off or on. What happens meanwhile waits for it, unless it is to begin afresh."""
    with transaction.atomic():
        about = {"is_enabled": is_enabled, "changed_by": by, "reason": reason, "changed_at": timezone.now()}
        found = _switch_of(name)
        HandlerSwitch.objects.filter(pk=found.pk).update(**about)
        if is_fresh:
            Handling.objects.filter(handler=name, state=HandlingState.PENDING, lease_until=None).delete()
        kind = "handler.enabled" if is_enabled else "handler.disabled"
        data = {"handler": name, "by": by, "reason": reason, "is_fresh": is_fresh}
        events.note(kind, data)
    found.refresh_from_db()
    return found


def _switch_of(name: str) -> HandlerSwitch:
    discover()
    introduce()
    found = HandlerSwitch.objects.select_for_update().filter(pk=name).first()
    if found is not None:
        return found
    near = get_close_matches(name, HandlerSwitch.objects.values_list("pk", flat=True), n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`manage.py handlers list` shows them"
    raise NotFound("handler", repr(name), hint)
