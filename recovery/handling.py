"""Handling: one event in one handler, from pending to done, with its tries, its questions and its end.

Who carries it out holds a lease; each write names the lease's token and is refused when another has taken over. A try
is counted before it begins, and what it will be told of it, should its process die or take too long, is written then:
a `kill -9` at any point leaves a row that is tried again, later and later, until it is a dead letter.
"""

from __future__ import annotations

import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils.dateparse import parse_datetime

from execution import events, ids, ledger
from execution.cycles import Cycle
from recovery import conf, dead_letters
from recovery.exceptions import AlreadyDecided, Late, NotFound
from recovery.models import Handling, HandlingState

log = structlog.get_logger(__name__)

AT_ONCE = 50
"""How many events a handler is given at once; they are handled one after the other."""
GRACE_SECONDS = 5.0
BACKOFF_SECONDS = 5
FORGOTTEN_AT_ONCE = 10_000
_OF_FAILING = ("handler.gave_up", "letter.died")
"""Who fails at these leaves a letter and no event: two that fail at everything would tell each other of it for ever."""

_READY = (
    "state = 'pending' AND due_at <= clock_timestamp() AND (lease_until IS NULL OR lease_until <= clock_timestamp())"
)


class NeedsPerson(BaseException):  # a signal, no error: a handler's `except Exception` must not eat it
    """A handler stops here until a person has answered, and is then called again with the answer."""

    def __init__(self, question: str) -> None:
        super().__init__(question)
        self.question = question


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """An event, as a handler is given it. Its id is the same at each try: a key for whatever must not be done twice."""

    id: uuid.UUID
    kind: str
    at: datetime
    run_id: uuid.UUID | None = None
    step_id: uuid.UUID | None = None
    agent_id: uuid.UUID | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    try_number: int = 1
    answers: Mapping[str, Any] = field(default_factory=dict)
    """What persons have answered so far, by question."""
    hold: Hold | None = field(default=None, repr=False)

    def ask(self, question: str) -> Any:
        """Return a person's answer; without one yet, stop here until there is."""
        if question not in self.answers:
            raise NeedsPerson(question)
        return self.answers[question]

    def settle(self) -> None:
        """Say, within the handler's own transaction, that this is done: what it wrote then happens exactly once."""
        if self.hold is not None and not _end(self.hold, state=HandlingState.DONE, ended_at=Now(), last_error=""):
            raise Late(f"the event {self.id} has gone to another process: nothing of it may be written here")


Handle = Callable[[Happened], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The right to write about one handling: its row, and the token of the lease."""

    handling_id: uuid.UUID
    token: uuid.UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a handler was given at once, under one lease."""

    handler: str
    token: uuid.UUID
    ids: tuple[uuid.UUID, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """It was handled."""


@dataclass(frozen=True, slots=True)
class Asked:
    """It waits for a person."""

    question: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It raised something."""

    error: str


# Who may begin


def due(names: Sequence[str]) -> list[str]:
    """Return which of these handlers are switched on, have something due, and hold nothing: each does one at a time."""
    rows = ledger.ask_in_transaction(
        "SELECT s.handler FROM recovery_handlerswitch s WHERE s.is_enabled AND s.handler = ANY(%s) "  # noqa: S608 - ours
        f"AND EXISTS (SELECT 1 FROM recovery_handling h WHERE h.handler = s.handler AND {_READY}) "
        "AND NOT EXISTS (SELECT 1 FROM recovery_handling h WHERE h.handler = s.handler AND h.state = 'pending' "
        "AND h.lease_until > clock_timestamp()) ORDER BY s.handler",
        [list(names)],
    )
    return [row.handler for row in rows]


def claim(handler: str, limit: int = AT_ONCE) -> Batch | None:
    """Take what is due for a handler, under a lease that no other takes; what has died too often is buried first."""
    bury_unanswered(handler)
    token = ids.new()
    rows = ledger.ask_in_transaction(
        "UPDATE recovery_handling SET lease_token = %s, lease_until = clock_timestamp() + make_interval(secs => %s) "  # noqa: S608 - ours
        f"WHERE id IN (SELECT id FROM recovery_handling WHERE handler = %s AND {_READY} "
        "ORDER BY due_at, id LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING id, due_at",
        [token, lease_seconds(), handler, limit],
    )
    if not rows:
        return None
    in_order = sorted(rows, key=lambda row: (row.due_at, row.id))
    return Batch(handler=handler, token=token, ids=tuple(row.id for row in in_order))


def let_go(batch: Batch) -> None:
    """Give back what a batch has not ended: its process has."""
    rows = Handling.objects.filter(pk__in=batch.ids, lease_token=batch.token, state=HandlingState.PENDING)
    rows.update(lease_until=Now())


@transaction.atomic
def bury_unanswered(handler: str) -> int:
    """Give up what was begun for the last time and never answered; returns how many that were."""
    rows = Handling.objects.select_for_update(skip_locked=True).filter(
        handler=handler,
        state=HandlingState.PENDING,
        lease_until__lte=Now(),
        try_count__gte=conf.current().handler_tries,
    )[:AT_ONCE]
    return sum(
        _bury(row, Hold(handling_id=row.pk, token=row.lease_token), row.last_error) for row in rows if row.lease_token
    )


def lease_seconds() -> float:
    """Return how long a handler may be silent: as long as one event may take, and a little more."""
    return conf.current().handler_seconds + GRACE_SECONDS


# One try


def work_off(batch: Batch, handle: Handle, *, begun: Callable[[], None] = lambda: None) -> None:
    """Handle a batch, one after the other; `begun` is called at the beginning of each."""
    for handling_id in batch.ids:
        row = _begin(handling_id, batch)
        if row is not None:
            begun()
            perform(row, Hold(handling_id=row.pk, token=batch.token), handle)


def perform(row: Handling, hold: Hold, handle: Handle) -> None:
    """Call a handler, and write how that ended; a process that has lost its lease writes nothing."""
    ending = _ending_of(handle, _happened(row, hold))
    if isinstance(ending, Done):
        _end(hold, state=HandlingState.DONE, ended_at=Now(), last_error="")
    elif isinstance(ending, Asked):
        _wait(row, hold, ending.question)
    elif row.try_count < conf.current().handler_tries:
        _end(hold, last_error=ending.error)
    else:
        with transaction.atomic():
            _bury(row, hold, ending.error)


def _begin(handling_id: uuid.UUID, batch: Batch) -> Handling | None:
    """Count a try and extend the lease, with those behind it where half of theirs is over, or learn that it is lost.

    What is written here holds if nothing is heard of this try again: when it is due, and what became of it.
    """
    seconds = conf.current().handler_seconds
    kept = Handling.objects.raw(
        "UPDATE recovery_handling SET lease_until = clock_timestamp() + make_interval(secs => %(lease)s), "
        "try_count = try_count + (id = %(id)s)::int, "
        "due_at = CASE WHEN id = %(id)s THEN clock_timestamp() + make_interval(secs => "
        "%(backoff)s * power(2, least(try_count, 7))) ELSE due_at END, "
        "last_error = CASE WHEN id = %(id)s THEN %(unanswered)s ELSE last_error END "
        "WHERE id = ANY(%(ids)s) AND lease_token = %(token)s AND state = 'pending' AND (id = %(id)s "
        "OR lease_until < clock_timestamp() + make_interval(secs => %(lease)s / 2)) RETURNING *",
        {
            "lease": lease_seconds(), "id": handling_id, "ids": list(batch.ids), "token": batch.token,
            "backoff": BACKOFF_SECONDS,
            "unanswered": f"it did not end: it took longer than {seconds:g} s, or its process died",
        },
    )  # fmt: skip
    return next((row for row in kept if row.pk == handling_id), None)


def _ending_of(handle: Handle, happened: Happened) -> Done | Asked | Failed:
    """Call user code, here alone, and turn whatever it does into a value."""
    try:
        handle(happened)
    except NeedsPerson as asked:
        return Asked(dead_letters.clean(str(asked.question)))
    except Exception as error:  # noqa: BLE001 - whatever a handler raises is that try's end
        log.warning("handler.failed", event_id=str(happened.id), error=repr(error))
        return Failed(dead_letters.clean("".join(traceback.format_exception(error))))
    return Done()


def _happened(row: Handling, hold: Hold) -> Happened:
    stored = row.event
    named = {name: uuid.UUID(stored[name]) if stored.get(name) else None for name in ("run_id", "step_id", "agent_id")}
    return Happened(
        id=row.event_id, kind=row.kind, at=parse_datetime(stored["at"]) or row.created_at,
        data=stored.get("data") or {}, try_number=row.try_count, answers=row.answers, hold=hold, **named,
    )  # fmt: skip


def _end(hold: Hold, **columns: Any) -> bool:
    """Write how a try ended, if the lease is still ours."""
    rows = Handling.objects.filter(pk=hold.handling_id, lease_token=hold.token, state=HandlingState.PENDING)
    return bool(rows.update(lease_token=None, lease_until=None, **columns))


@transaction.atomic
def _wait(row: Handling, hold: Hold, question: str) -> None:
    if _end(hold, state=HandlingState.WAITING, question=question, last_error=""):
        _note("handler.asked", row, question=question)


def _bury(row: Handling, hold: Hold, reason: str) -> bool:
    """Give up, with a dead letter, in the caller's transaction."""
    if not _end(hold, state=HandlingState.DEAD, ended_at=Now(), last_error=reason):
        return False
    is_told, queue = row.kind not in _OF_FAILING, f"{dead_letters.HANDLER}{row.handler}"
    lives = dead_letters.lives_of(queue, str(row.event_id))
    dead_letters.keep(
        queue=queue, original_id=f"{row.event_id}/{lives + 1}", reason=reason, tries=row.try_count, is_told=is_told,
        body={"handling": str(row.pk), "handler": row.handler, "event": row.event},
    )  # fmt: skip
    if is_told:
        _note("handler.gave_up", row, reason=reason[-500:], tries=row.try_count)
    return True


# Another life


@transaction.atomic
def resolve(row: Handling, answer: Any, *, by: str, reason: str = "") -> Handling:
    """Answer what a handler has asked; it is called again, with the answer."""
    rows = Handling.objects.filter(pk=row.pk, state=HandlingState.WAITING, question=row.question)
    won = rows.update(
        state=HandlingState.PENDING, answers=row.answers | {row.question: answer}, answered_by=by, question="",
        try_count=0, due_at=Now(),
    )  # fmt: skip
    if not won:
        raise AlreadyDecided(f"the handling {row.pk} waits for no answer, or not for this one any more")
    _note("handler.answered", row, question=row.question, answer=answer, by=by, reason=reason)
    row.refresh_from_db()
    return row


def revive(handling_id: uuid.UUID) -> None:
    """Let what was given up be tried again, from the first try on."""
    rows = Handling.objects.filter(pk=handling_id, state=HandlingState.DEAD)
    if not rows.update(state=HandlingState.PENDING, try_count=0, due_at=Now(), ended_at=None):
        raise NotFound("given-up handling", handling_id, "it is forgotten, or goes on already: dismiss the letter")


def waiting() -> QuerySet[Handling]:
    """Return what waits for a person, the newest first."""
    return Handling.objects.filter(state=HandlingState.WAITING).order_by("-id")


def forget() -> int:
    """Remove what was handled long ago, some at a time; returns how many."""
    old = Handling.objects.filter(
        state=HandlingState.DONE, ended_at__lt=Now() - timedelta(days=conf.current().handler_days)
    )
    return Handling.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE])).delete()[0]


FORGET = Cycle(name="recovery.forget_handled", period=timedelta(hours=1), step=lambda _: forget())


def _note(kind: str, row: Handling, **more: Any) -> None:
    data = {"handler": row.handler, "handling": str(row.pk), "event": str(row.event_id), "kind": row.kind, **more}
    events.note(kind, data, run_id=row.event.get("run_id"))
