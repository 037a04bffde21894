"""What agents remember: kept by kind and key, recalled by words, ranked by relevance and recency.

A memory may expire, by the database's clock; a pinned one neither expires, nor grows old, nor is evicted when its agent
keeps more than it may. What a step remembers is kept once, in the transaction of its checkpoint; what it recalls is
recorded, and served again on replay. A memory that is slow or away never fails a step: it recalls nothing, and what it
would remember is owed, and kept later. When a run ends, rules change memories with its result (see `memory_rules`).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Count, Q
from django.db.models.functions import Coalesce, Greatest, Now

from execution import agents, conf, ledger, openings, values
from execution.durations import Duration, seconds
from execution.exceptions import OptionInvalid, ValueTooLarge
from execution.models import Agent, Memory

log = structlog.get_logger(__name__)

LARGEST = 60_000
LONGEST_KEY = 255
LONGEST_KIND = 50
LONGEST_QUERY = 1000
_RECALL = "SELECT * FROM execution_recall_v1(%s, %s, %s, %s, %s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recollection:
    """One thing that was recalled."""

    kind: str
    key: str
    value: Any
    score: float
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing to remember, checked and packed."""

    kind: str
    key: str
    packed: values.Packed
    text: str
    ttl: timedelta | None = None
    is_pinned: bool | None = None


class Held:
    """What a skill holds of its agent's memory: `ctx.memory`."""

    def __init__(self, recall: Callable[..., list[Recollection]], remember: Callable[..., None]) -> None:
        self._recall, self._remember = recall, remember

    def recall(
        self, query: str = "", *, kinds: Iterable[str] | None = None, limit: int = 5, token: str | None = None
    ) -> list[Recollection]:
        """Return what the agent remembers of these words, best first; on replay, what was recalled then."""
        return self._recall(token or _short(query) or "everything", query, checked_kinds(kinds), checked_limit(limit))

    def remember(
        self,
        value: Any,
        *,
        key: str | None = None,
        kind: str = "note",
        ttl: Duration | None = None,
        pinned: bool | None = None,
        token: str | None = None,
    ) -> None:
        """Remember a value, once, also when the step is resumed; under a key that is known it replaces the other."""
        made = entry(value, key=key, kind=kind, ttl=ttl, pinned=pinned)
        self._remember(token or f"{made.kind}/{_short(made.key)}", made)


def remember(
    agent: str | Agent,
    value: Any,
    *,
    key: str | None = None,
    kind: str = "note",
    ttl: Duration | None = None,
    pinned: bool | None = None,
) -> uuid.UUID:
    """Remember a value; without a key, under one made of the value, so that the same thing is remembered once."""
    return keep(agents.id_of(agent), entry(value, key=key, kind=kind, ttl=ttl, pinned=pinned))


def keep(agent_id: uuid.UUID, made: Entry, *, run_id: uuid.UUID | None = None) -> uuid.UUID:
    """Keep an entry in the caller's transaction."""
    openings.keep_blobs([made.packed])
    row = ledger.ask_in_transaction(
        "SELECT execution_keep_memory_v1(%s, %s, %s, %b, %s, %s, %s, %s) AS id",
        [agent_id, made.kind, made.key, made.packed.data, made.text, made.ttl, made.is_pinned, run_id],
    )[0]
    return row.id  # type: ignore[no-any-return]


def recall(
    agent: str | Agent, query: str = "", *, kinds: Iterable[str] | None = None, limit: int = 5
) -> list[Recollection]:
    """Return what an agent remembers of these words, best first; without words, the most recent."""
    asked = _asked(agents.id_of(agent), query, checked_kinds(kinds), checked_limit(limit))
    return _recollections(ledger.ask_in_transaction(_RECALL, asked))


def recall_in_time(agent_id: uuid.UUID, query: str, kinds: list[str] | None, limit: int) -> list[Recollection]:
    """Do the same on a worker's own connection, within `recall_seconds`; raises what stands in the way."""
    asked = _asked(agent_id, query, kinds, limit)
    return _recollections(ledger.ask_in_time(_RECALL, asked, seconds=conf.current().recall_seconds))


def remember_in_time(step_id: uuid.UUID, epoch: int, token: str, position: int, made: Entry) -> Any:
    """Keep an entry for a step within `recall_seconds`; raises what stands in the way."""
    ledger.keep_blobs([made.packed])
    return ledger.ask_in_time(
        "SELECT * FROM execution_remember_v1(%s, %s, %s, %s, %s, %s, %b, %s, %s, %s)",
        [
            step_id, epoch, token, position,
            made.kind, made.key, made.packed.data, made.text, made.ttl, made.is_pinned,
        ],
        seconds=conf.current().recall_seconds,
    )[0]  # fmt: skip


def owe(step_id: uuid.UUID, epoch: int, token: str, position: int, made: Entry, why: str) -> Any:
    """Record for a step what its memory could not take; the cycle of the memory rules keeps it."""
    packed = values.pack({"owed": owed(made)}, place="what is owed to a memory")
    ledger.keep_blobs([packed])
    return ledger.ask(
        "SELECT * FROM execution_owe_memory_v1(%s, %s, %s, %s, %b, %s, %s)",
        [step_id, epoch, token, position, packed.data, packed.size, why],
    )[0]


def forget(agent: str | Agent, key: str | None = None, *, kind: str | None = None) -> int:
    """Forget a memory by its key, a kind, or both; returns how many."""
    if key is None and kind is None:
        raise OptionInvalid("forget wants a key, a kind, or both")
    mine = Memory.objects.filter(agent_id=agents.id_of(agent))
    mine = mine.filter(key=key) if key is not None else mine
    return (mine.filter(kind=kind) if kind is not None else mine).delete()[0]


def tidy(batch: int = 1000) -> int:
    """Remove what has expired, and of agents that keep more than they may, the least used; returns how many."""
    removed = _delete(Memory.objects.filter(is_pinned=False, expires_at__lte=Now()), batch)
    limit = conf.current().memory_limit
    loose = Memory.objects.filter(is_pinned=False)
    counted = (
        loose.values("agent_id").annotate(count=Count("id")).filter(count__gt=limit).values_list("agent_id", "count")
    )
    for agent_id, count in list(counted):
        used_at = Greatest("updated_at", Coalesce("recalled_at", "updated_at"))
        evicted = _delete(loose.filter(agent_id=agent_id).order_by(used_at, "id"), min(count - limit, batch))
        log.info("memory.evicted", agent=str(agent_id), count=evicted)
        removed += evicted
    return removed


@transaction.atomic
def _delete(rows: Any, most: int) -> int:
    found = list(rows.select_for_update(skip_locked=True).values_list("id", flat=True)[:most])
    return int(Memory.objects.filter(pk__in=found).delete()[0])


# What is stored


def entry(
    value: Any,
    *,
    key: str | None = None,
    kind: str = "note",
    ttl: Duration | None = None,
    pinned: bool | None = None,
) -> Entry:
    """Check and pack what is to be remembered; refused with the place of what is wrong."""
    place = "the value to remember"
    packed = values.pack(value, place=place)
    if packed.size > LARGEST:
        raise ValueTooLarge(place, packed.size, LARGEST)
    text = value if isinstance(value, str) else values.encode(value, place=place).decode("utf-8", "replace")
    return Entry(
        kind=_word("kind", kind, LONGEST_KIND),
        key=_word("key", key, LONGEST_KEY) if key is not None else values.digest(value, place=place).hex(),
        packed=packed,
        text=text.replace("\0", " ").encode("utf-8", "replace").decode(),
        ttl=None if ttl is None else timedelta(seconds=seconds(ttl, name="ttl")),
        is_pinned=pinned,
    )


def owed(made: Entry) -> dict[str, Any]:
    """Return an entry as JSON, for a checkpoint that owes it."""
    return {**asdict(made), "packed": made.packed.value(), "ttl": made.ttl.total_seconds() if made.ttl else None}


def of_owed(found: dict[str, Any]) -> Entry:
    """Return the entry that a checkpoint owes."""
    return entry(found["packed"], key=found["key"], kind=found["kind"], ttl=found["ttl"], pinned=found["is_pinned"])


def _asked(agent_id: uuid.UUID, query: str, kinds: list[str] | None, limit: int) -> list[Any]:
    if not isinstance(query, str):
        raise OptionInvalid(f"a query is words, not {query!r:.80}")
    words = query[:LONGEST_QUERY].replace("\0", " ").encode("utf-8", "replace").decode()
    return [agent_id, words, kinds, limit, timedelta(days=conf.current().memory_half_life_days)]


def _recollections(rows: list[Any]) -> list[Recollection]:
    return [
        Recollection(
            kind=row.kind, key=row.key, value=ledger.unpack(row.value), score=row.score, updated_at=row.updated_at
        )
        for row in rows
    ]


def checked_kinds(kinds: Iterable[str] | None) -> list[str] | None:
    """Return kinds as a list; a lone text is one kind."""
    return None if kinds is None else [kinds] if isinstance(kinds, str) else list(kinds)


def checked_limit(limit: Any) -> int:
    """Return a limit that makes sense."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= 1000:
        raise OptionInvalid(f"limit is {limit!r}; it counts memories, from 1 to 1000")
    return limit


def _word(name: str, value: Any, longest: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= longest or "\0" in value:
        raise OptionInvalid(f"the {name} of a memory is text of 1 to {longest} characters, not {value!r:.80}")
    return value


def _short(text: Any) -> str:
    """Return a text that fits into a token: itself, or its beginning and a hash of it."""
    words = str(text)
    if len(words) <= 120 and "\0" not in words:
        return words
    return words[:80].replace("\0", " ") + hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()[:16]


def of_agent(agent: str | Agent, *, kind: str | None = None) -> Any:
    """Return an agent's memories that have not expired, the latest changed first."""
    alive = Q(is_pinned=True) | Q(expires_at=None) | Q(expires_at__gt=Now())
    found = Memory.objects.filter(alive, agent_id=agents.id_of(agent)).order_by("-updated_at")
    return found.filter(kind=kind) if kind else found
