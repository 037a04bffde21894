"""The stream: how a candidate comes to an evaluator at once, in order, and to exactly one of them at a time.

It is Redis Streams with a consumer group that begins at 0, so that what was added before there was a group is read as
well. An entry is acknowledged after the database has committed what became of it, and leaves the stream in the same
breath: what the stream holds is what is owed. It is never trimmed; when it is full nothing more goes in, and the
database claim finds the candidate, as it does when Redis is away.

A consumer that dies leaves its entries pending: after a minute another takes them, each alone, so that one which
kills its evaluator takes no neighbour along. The count of deliveries decides when an entry is a dead letter.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, partial
from typing import Any

import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from execution.cycles import Cycle
from recovery import conf, dead_letters, queue, redis_server
from recovery.models import CandidateState, RecoveryCandidate
from recovery.redis_server import Server

log = structlog.get_logger(__name__)

GROUP = "evaluators"
FIELD = "candidate"
READ_MOST = 50
PASS_SECONDS = 5.0
RETIRED_SECONDS = 900.0
VANISHED_MOST = 1000

# Between a look at a consumer and its removal it may read: what it then held would be dropped with it.
_RETIRE = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
"""

# What is added in one go is added while nobody else adds: a full stream stays as long as it may be.
_ADD = """
local added = math.min(math.max(ARGV[1] - redis.call('XLEN', KEYS[1]), 0), #ARGV - 2)
for place = 3, added + 2 do redis.call('XADD', KEYS[1], '*', ARGV[2], ARGV[place]) end
return added
"""

# A transaction would be refused by a server that has no memory left, which could then never be emptied.
_LEAVE = """
redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 2))
redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
"""

Evaluate = Callable[..., Collection[uuid.UUID]]
"""Takes candidates' ids, `source` and `by`; returns the ids that need no evaluation any more."""


def key() -> str:
    """Return the stream's name."""
    return redis_server.key("recovery:stream")


def add(ids: Iterable[uuid.UUID]) -> None:
    """Put candidates into the stream once the caller's transaction has committed, if Redis takes them in time."""
    wanted = list(ids)
    if wanted:
        transaction.on_commit(partial(_add, wanted), robust=True)


def _add(ids: Sequence[uuid.UUID]) -> int:
    return redis_server.attempt(lambda server: _put(server, ids), 0, what="stream.add")


def _put(server: Server, ids: Sequence[uuid.UUID]) -> int:
    """Add as many as there is room for; returns how many."""
    most = conf.current().stream_most
    added = int(server.eval(_ADD, 1, key(), most, FIELD, *map(str, ids)))
    if added < len(ids):
        log.warning("stream.full", left_out=len(ids) - added, most=most)
    return added


# What it holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry, as it was delivered."""

    id: str
    fields: dict[str, str]
    delivery_count: int

    @property
    def candidate_id(self) -> uuid.UUID | None:
        """The candidate that it names, if it names one."""
        try:
            return uuid.UUID(self.fields[FIELD])
        except (KeyError, ValueError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How the stream stands: entries, those delivered and not acknowledged, those never delivered."""

    length: int
    pending: int
    dead: int

    @property
    def lag(self) -> int:
        """Entries that were never delivered: what is acknowledged has left the stream."""
        return max(self.length - self.pending, 0)


def figures(server: Server) -> Figures:
    """Return how the stream stands."""
    length, dead = int(server.xlen(key())), int(server.xlen(dead_letters.key()))
    groups = server.xinfo_groups(key()) if length else []
    pending = sum(int(group["pending"]) for group in groups if group["name"] == GROUP)
    return Figures(length=length, pending=pending, dead=dead)


# One evaluator's hold on it


def consumer_name() -> str:
    """Return this process's name among the consumers; no other process ever had it."""
    return _name_of(os.getpid())


@lru_cache(maxsize=4)
def _name_of(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}:{secrets.token_hex(4)}"


class Consumer:
    """One reader of the group, and what it does with what it is given."""

    def __init__(self, server: Server, evaluate: Evaluate, *, name: str = "") -> None:
        self.server = server
        self.name = name or consumer_name()
        self._evaluate = partial(evaluate, source="stream", by=self.name)
        settings = conf.current()
        self.idle_ms = int(settings.stream_idle_seconds * 1000)
        self.tries = settings.stream_tries

    def read(self, limit: int = READ_MOST) -> int:
        """Evaluate what nobody was given yet; returns how many entries were read."""
        found = self._in_group(lambda: self.server.xreadgroup(GROUP, self.name, {key(): ">"}, count=limit))
        entries = [
            Entry(id=entry_id, fields=fields or {}, delivery_count=1)
            for _, delivered in found or []
            for entry_id, fields in delivered
        ]
        self._settle(entries, self._evaluated(entries))
        return len(entries)

    def take_over(self, *, until: float) -> int:
        """Evaluate what others were given and left, to the end of the list or of the time.

        One is taken at a time: each taking counts as a delivery, and one that kills its evaluator must not have
        counted against those behind it.
        """
        taken, cursor = 0, "0-0"
        while True:
            cursor, found, *_ = self._in_group(partial(self._claim_idle, cursor))
            taken += sum(self._retry(entry_id, fields) for entry_id, fields in found)
            if cursor == "0-0" or time.monotonic() > until:
                return taken

    def retire_others(self, idle_seconds: float = RETIRED_SECONDS) -> int:
        """Remove the consumers that were not heard of for long and hold nothing."""
        gone = [
            one["name"]
            for one in self._in_group(lambda: self.server.xinfo_consumers(key(), GROUP))
            if one["idle"] > idle_seconds * 1000 and not one["pending"] and one["name"] != self.name
        ]
        return sum(int(self.server.eval(_RETIRE, 1, key(), GROUP, name)) for name in gone)

    def _in_group(self, ask: Callable[[], Any]) -> Any:
        """Ask, making the group anew where the server has lost it."""
        import redis

        try:
            return ask()
        except redis.ResponseError as error:
            if not _has_no_group(error):
                raise
        make_group(self.server)
        return ask()

    def _claim_idle(self, cursor: str) -> Any:
        return self.server.xautoclaim(key(), GROUP, self.name, self.idle_ms, start_id=cursor, count=1)

    def _retry(self, entry_id: str | None, fields: dict[str, str]) -> bool:
        """Evaluate an entry that was left behind, or give it up; one without an id has vanished from the stream."""
        held = entry_id and self.server.xpending_range(key(), GROUP, min=entry_id, max=entry_id, count=1)
        if not entry_id or not held:
            self._forget_vanished()
            return False
        entry = Entry(id=entry_id, fields=fields, delivery_count=int(held[0]["times_delivered"]))
        if entry.delivery_count > self.tries and not _is_settled(entry):
            self._bury(entry, f"{self.tries} deliveries ended without an answer: {_last_error(entry)}")
        else:
            self._settle([entry], self._evaluated([entry]))
        return True

    def _forget_vanished(self) -> None:
        """Acknowledge what somebody has deleted from the stream: before Redis 7 it would stay pending for ever."""
        held = self.server.xpending_range(key(), GROUP, "-", "+", VANISHED_MOST, consumername=self.name)
        with self.server.pipeline(transaction=False) as pipe:
            for row in held:
                pipe.xrange(key(), row["message_id"], row["message_id"])
            there = pipe.execute() if held else []
        gone = [row["message_id"] for row, found in zip(held, there, strict=True) if not found]
        if gone:
            self.server.xack(key(), GROUP, *gone)
            log.warning("stream.vanished", entries=len(gone))

    def _evaluated(self, entries: Sequence[Entry]) -> dict[str, str]:
        """Evaluate entries; return, for each that is not done, why. One that fails does not take the others along."""
        wanted = {entry.id: entry.candidate_id for entry in entries}
        ids = [one for one in wanted.values() if one is not None]
        try:
            done = set(self._evaluate(ids)) if ids else set()
        except Exception as error:
            log.exception("stream.evaluation_failed", entries=len(entries))
            if len(entries) > 1:
                return {name: why for entry in entries for name, why in self._evaluated([entry]).items()}
            return {entries[0].id: f"{type(error).__name__}: {error}"}
        done |= self._held_by_others([one for one in ids if one not in done])
        return {name: "" for name, one in wanted.items() if one not in done}

    def _held_by_others(self, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
        """Return which of these somebody else evaluates just now: should it die, the database claim goes on."""
        if not ids:
            return set()
        rows = RecoveryCandidate.objects.filter(pk__in=ids, lease_until__gt=Now(), last_error="")
        return set(rows.exclude(claimed_by=self.name).values_list("pk", flat=True))

    def _settle(self, entries: Sequence[Entry], failed: dict[str, str]) -> None:
        """Acknowledge what is done; what failed stays pending, or is given up."""
        self._acknowledge([entry.id for entry in entries if entry.id not in failed])
        for entry in entries:
            if entry.candidate_id is None:
                self._bury(entry, f"it names no candidate: {entry.fields!r:.500}")
            elif entry.id in failed and entry.delivery_count >= self.tries:
                self._bury(entry, failed[entry.id] or _last_error(entry))

    def _acknowledge(self, entry_ids: Sequence[str]) -> None:
        if entry_ids:
            self.server.eval(_LEAVE, 1, key(), GROUP, *entry_ids)

    def _bury(self, entry: Entry, reason: str) -> None:
        """Write a dead letter, then acknowledge: whoever dies in between writes it again, and it is kept once."""
        dead_letters.send(
            self.server, queue="stream", original_id=entry.id, body=entry.fields, reason=reason,
            tries=entry.delivery_count,
        )  # fmt: skip
        self._acknowledge([entry.id])


def make_group(server: Server) -> None:
    """Make the group, and the stream where there is none; entries that are there already will be read."""
    import redis

    try:
        server.xgroup_create(key(), GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise


def _has_no_group(error: Exception) -> bool:
    """Tell a lost group; asked for the consumers of a lost stream, Redis says that there is no such key."""
    return str(error).startswith("NOGROUP") or "no such key" in str(error)


def _is_settled(entry: Entry) -> bool:
    """Tell whether the candidate waits for no evaluation any more."""
    return _candidate(entry).exclude(state=CandidateState.OPEN).exists()


def _last_error(entry: Entry) -> str:
    found = _candidate(entry).values_list("last_error", flat=True).first()
    return "there is no such candidate" if found is None else found or "its evaluator died, or said nothing"


def _candidate(entry: Entry) -> QuerySet[RecoveryCandidate]:
    return RecoveryCandidate.objects.filter(pk__in=[entry.candidate_id] if entry.candidate_id else [])


# The pass


def work(*, evaluate: Evaluate | None = None, seconds: float = PASS_SECONDS) -> int:
    """Evaluate what the express lane and the stream hold, for so long at most; returns how many were handed out.

    Where Redis is away nothing happens: the database claim goes on without it.
    """
    server = redis_server.client()
    if server is None:
        return 0
    try:
        return _work(server, evaluate or _evaluator, until=time.monotonic() + seconds)
    except redis_server.away() as error:
        log.warning("stream.away", error=str(error))
        return 0


def _work(server: Server, evaluate: Evaluate, *, until: float) -> int:
    consumer, touched = Consumer(server, evaluate), 0
    while found := queue.work(server, evaluate, by=consumer.name) + consumer.read():
        touched += found
        if time.monotonic() > until:
            break
    touched += consumer.take_over(until=until)
    dead_letters.archive(server)
    return touched


def _evaluator(ids: Sequence[uuid.UUID], *, source: str, by: str) -> Collection[uuid.UUID]:
    """Hand candidates to the evaluator."""
    from recovery import evaluator

    return evaluator.evaluate_ids(ids, source=source, by=by)


def tidy() -> int:
    """Remove consumers that are gone, and give back what they held of the express lane."""
    server = redis_server.client()
    if server is None:
        return 0
    return Consumer(server, _evaluator).retire_others() + queue.give_back(server)


def _watch(_: dict[str, Any]) -> int:
    return work()


# Nudged passes come between those of beat; one in a fifth of a second is enough.
WATCH = Cycle(name="recovery.stream", period=timedelta(milliseconds=200), step=_watch, is_atomic=False)
