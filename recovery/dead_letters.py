"""Dead letters: what could not be worked off, kept with its reason until somebody replays it, which is once.

A letter from Redis goes through a stream of its own before its original is acknowledged, and from there to a row that
is unique by its original: a crash anywhere between gives one letter, never two and never none. A handler's letter is
written in the transaction that gives the handler up. What was decided long ago leaves; what waits stays.
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.db import DataError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from execution import events, ids
from execution.cycles import Cycle
from recovery import conf, redis_server
from recovery.exceptions import AlreadyDecided, NotFound
from recovery.models import CandidateState, DeadLetter, Handling, HandlingState, RecoveryCandidate
from recovery.redis_server import Server

HANDLER = "handler:"
"""What the queue of a handler's letters begins with."""
PAGE = 200
FORGOTTEN_AT_ONCE = 10_000
REASON_MOST = 4000


def key() -> str:
    """Return the name of the stream of dead letters."""
    return redis_server.key("recovery:dead")


def send(server: Server, *, queue: str, original_id: str, body: Any, reason: str, tries: int) -> None:
    """Put a letter into its stream, on its way to a row."""
    letter = {"queue": queue, "original_id": original_id, "body": json.dumps(body), "reason": reason, "tries": tries}
    server.xadd(key(), letter, maxlen=conf.current().stream_most, approximate=True)


def archive(server: Server) -> int:
    """Keep the letters of the stream as rows, then remove them from it; returns how many were new."""
    kept = 0
    while found := server.xrange(key(), count=PAGE):
        kept += sum(_keep_sent(entry_id, fields) for entry_id, fields in found)
        if not server.xdel(key(), *[entry_id for entry_id, _ in found]):
            break
    return kept


def _keep_sent(entry_id: str, fields: dict[str, str]) -> bool:
    """Keep one as it is; what somebody else wrote there, and the database cannot hold, as a text."""
    try:
        return keep(
            queue=fields.get("queue", "unknown"),
            original_id=fields.get("original_id", entry_id),
            body=_read(fields.get("body", "")),
            reason=fields.get("reason", ""),
            tries=int(fields.get("tries", "0")) if fields.get("tries", "0").isdecimal() else 0,
        )
    except (DataError, ValueError):
        body, reason = {"text": ascii(fields)[:REASON_MOST]}, "the database could not hold it as it was"
        return keep(queue="unknown", original_id=entry_id, body=body, reason=reason, tries=0)


@transaction.atomic
def keep(*, queue: str, original_id: str, body: Any, reason: str, tries: int, is_told: bool = True) -> bool:
    """Keep one letter, with its event unless nobody is to be told; says whether it is new."""
    about = {"body": body, "reason": clean(reason), "tries": tries}
    letter, is_new = DeadLetter.objects.get_or_create(queue=queue, original_id=original_id, defaults=about)
    if is_new and is_told:
        _note("letter.died", letter, reason=letter.reason)
    return is_new


def clean(text: str) -> str:
    """Return an error's text as the database can hold it: its end, which says most."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()[-REASON_MOST:]


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {"text": text}


# Looking


def waiting() -> QuerySet[DeadLetter]:
    """Return the letters that nobody has replayed, the newest first."""
    return DeadLetter.objects.filter(replayed_at=None).order_by("-id")


def lives_of(queue: str, original: str) -> int:
    """Return how often an original has died in a queue: the number of its latest letter, whichever are forgotten."""
    found = DeadLetter.objects.filter(queue=queue, original_id__startswith=f"{original}/").order_by("-id").first()
    return int(found.original_id.rpartition("/")[2]) if found else 0


def between(since: datetime | None, until: datetime | None, *, queue: str = "") -> QuerySet[DeadLetter]:
    """Return the waiting letters that died in a span of time, the oldest first."""
    span: dict[str, Any] = {"queue": queue} if queue else {}
    span |= {"died_at__gte": since} if since else {}
    span |= {"died_at__lt": until} if until else {}
    return waiting().filter(**span).order_by("id")


def get(beginning: str) -> DeadLetter:
    """Return the letter of this id, or the only one whose id begins so."""
    digits = beginning.strip().replace("-", "").lower()
    if not digits or len(digits) > 32 or set(digits) - set("0123456789abcdef"):
        raise NotFound("dead letter", repr(beginning), "give the beginning of its id, as `dead-letters list` shows it")
    span = ids.span(digits)
    found = list(DeadLetter.objects.filter(pk__range=span).order_by("id")[:2])
    if len(found) != 1:
        hint = "give more of it: it begins several" if found else "`dead-letters list` shows them"
        raise NotFound("dead letter", beginning, hint)
    return found[0]


# Replay


@transaction.atomic
def replay(letter: DeadLetter, *, by: str, reason: str = "") -> DeadLetter:
    """Give what died another life, once: a candidate goes back into the stream, an event to its handler."""
    _decide(letter, by, is_dismissed=False)
    if letter.queue.startswith(HANDLER):
        _replay_handling(letter)
    else:
        _replay_candidate(letter)
    _note("letter.replayed", letter, by=by, reason=reason)
    return letter


@transaction.atomic
def dismiss(letter: DeadLetter, *, by: str, reason: str = "") -> DeadLetter:
    """Put a letter aside that needs no other life; it stays to be read."""
    _decide(letter, by, is_dismissed=True)
    _note("letter.dismissed", letter, by=by, reason=reason)
    return letter


@transaction.atomic
def restore(letter: DeadLetter, *, by: str, reason: str = "") -> DeadLetter:
    """Take it back that a letter was put aside: it waits again."""
    rows = DeadLetter.objects.filter(pk=letter.pk, is_dismissed=True)
    won = rows.update(replayed_at=None, replayed_by="", is_dismissed=False)
    letter.refresh_from_db()
    if not won:
        how = "waits already" if letter.replayed_at is None else "was replayed: what died lives again"
        raise AlreadyDecided(f"the dead letter {letter.pk} {how}")
    _note("letter.restored", letter, by=by, reason=reason)
    return letter


def _decide(letter: DeadLetter, by: str, *, is_dismissed: bool) -> None:
    rows = DeadLetter.objects.filter(pk=letter.pk, replayed_at=None)
    won = rows.update(replayed_at=Now(), replayed_by=by, is_dismissed=is_dismissed)
    letter.refresh_from_db()
    if not won:
        how, who = "dismissed" if letter.is_dismissed else "replayed", letter.replayed_by or "somebody"
        raise AlreadyDecided(f"the dead letter {letter.pk} was {how} by {who} already")


def _replay_handling(letter: DeadLetter) -> None:
    from recovery import handling

    handling_id = _id_in(letter, "handling")
    if handling_id is None:
        raise NotFound("handling", _named(letter), "there is nothing to give another life: dismiss the letter")
    handling.revive(handling_id)


def _replay_candidate(letter: DeadLetter) -> None:
    """Clear what counts against a candidate that still waits, and add it again; who holds it keeps it."""
    from recovery import stream

    wanted = [one for one in [_id_in(letter, "candidate")] if one is not None]
    rows = RecoveryCandidate.objects.filter(pk__in=wanted, state=CandidateState.OPEN)
    if not rows.update(claim_count=0, last_error=""):
        raise NotFound("open candidate", _named(letter), "there is nothing to evaluate any more: dismiss the letter")
    stream.add(wanted)


def _id_in(letter: DeadLetter, name: str) -> uuid.UUID | None:
    """Return the id that a letter's body has under a name; what somebody else wrote may have anything there."""
    try:
        return uuid.UUID(letter.body[name])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _named(letter: DeadLetter) -> str:
    found = _id_in(letter, "candidate")
    return str(found) if found else f"in {json.dumps(letter.body)[:200]}"


# Letting go


def forget(limit: int = FORGOTTEN_AT_ONCE) -> int:
    """Remove letters that were replayed or dismissed long ago, the oldest first; returns how many.

    With a dismissed letter of a handler goes what the handler was given: nobody can replay it any more.
    """
    decided = DeadLetter.objects.filter(replayed_at__lt=Now() - timedelta(days=conf.current().dead_letter_days))
    gone = list(decided.order_by("id").values_list("id", "queue", "is_dismissed", "body")[:limit])
    given = [body["handling"] for _, queue, is_over, body in gone if is_over and queue.startswith(HANDLER)]
    Handling.objects.filter(pk__in=given, state=HandlingState.DEAD).delete()
    return DeadLetter.objects.filter(pk__in=[row[0] for row in gone]).delete()[0]


FORGET = Cycle(name="recovery.forget_dead_letters", period=timedelta(hours=1), step=lambda _: forget())


def _note(kind: str, letter: DeadLetter, **more: Any) -> None:
    data = {"letter": str(letter.pk), "queue": letter.queue, "original_id": letter.original_id, **more}
    if letter.queue.startswith(HANDLER):
        data["handler"] = letter.queue.removeprefix(HANDLER)
    events.note(kind, data)
