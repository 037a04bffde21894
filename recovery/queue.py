"""The express lane: a Redis list of candidates that an operator wants now, before all others.

The database knows that a candidate is urgent before Redis is told, and the database claim takes urgent ones first: an
empty, dead or hanging Redis makes the lane slower and loses nothing. Whoever takes from the list moves it, in one
step, to a list of its own; when it dies, what it held goes on in the stream, where the count of deliveries decides.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

import redis
import structlog
from django.db import transaction

from recovery import dead_letters, redis_server
from recovery.models import CandidateState, RecoveryCandidate
from recovery.redis_server import Server

log = structlog.get_logger(__name__)

TAKEN_MOST = 20
ALIVE_SECONDS = 60


def key() -> str:
    """Return the list's name."""
    return redis_server.key("recovery:express")


def _taken(by: str) -> str:
    return redis_server.key(f"recovery:express:{by}")


def _alive(by: str) -> str:
    return redis_server.key(f"recovery:express-alive:{by}")


def _takers() -> str:
    return redis_server.key("recovery:express-takers")


def push(ids: Iterable[uuid.UUID]) -> int:
    """Mark open candidates as urgent, and put them into the list after the commit; returns how many were marked."""
    wanted = list(ids)
    marked = RecoveryCandidate.objects.filter(pk__in=wanted, state=CandidateState.OPEN).update(is_urgent=True)
    if wanted:
        transaction.on_commit(partial(_push, wanted), robust=True)
    return marked


def _push(ids: Sequence[uuid.UUID]) -> int:
    names = [str(one) for one in ids]
    return redis_server.attempt(lambda server: int(server.lpush(key(), *names)), 0, what="queue.push")


def length(server: Server) -> int:
    """Return how many candidates wait in the list."""
    return int(server.llen(key()))


def work(server: Server, evaluate: Callable[..., Collection[uuid.UUID]], *, by: str, limit: int = TAKEN_MOST) -> int:
    """Evaluate the oldest of the list; what fails goes on in the stream. Returns how many were taken."""
    try:
        names = _take(server, by, limit)
    except redis.OutOfMemoryError:
        names = []  # to take is to write; the database claim takes urgent ones first
    if not names:
        return 0
    wanted = {name: _as_id(name) for name in names}
    for name in [name for name, one in wanted.items() if one is None]:
        _bury(server, name)
    ids = [one for one in wanted.values() if one is not None]
    done = set(_evaluated(evaluate, ids, by=by))
    _hand_over(server, by, [one for one in ids if one not in done])
    return len(names)


def _take(server: Server, by: str, limit: int) -> list[str]:
    """Move the oldest to our own list, having said first that we live; return all that is in it now."""
    if not length(server):
        return []
    with server.pipeline(transaction=True) as pipe:
        pipe.set(_alive(by), "1", ex=ALIVE_SECONDS)
        pipe.sadd(_takers(), by)
        for _ in range(limit):
            pipe.lmove(key(), _taken(by), "RIGHT", "LEFT")
        pipe.lrange(_taken(by), 0, -1)
        return list(pipe.execute()[-1])


def _evaluated(
    evaluate: Callable[..., Collection[uuid.UUID]], ids: Sequence[uuid.UUID], *, by: str
) -> Collection[uuid.UUID]:
    try:
        return evaluate(ids, source="express", by=by) if ids else ()
    except Exception:
        log.exception("express.evaluation_failed", candidates=len(ids))
        return ()


def _hand_over(server: Server, by: str, ids: Sequence[uuid.UUID]) -> None:
    """Put what is left into the stream, and let go of all that was taken."""
    from recovery import stream

    with server.pipeline(transaction=True) as pipe:
        for one in ids:
            pipe.xadd(stream.key(), {stream.FIELD: str(one)})
        pipe.delete(_taken(by))
        pipe.execute()


def give_back(server: Server) -> int:
    """Let what dead consumers had taken go on in the stream; returns how many candidates that were."""
    returned = 0
    for by in server.smembers(_takers()):
        if server.exists(_alive(by)):
            continue
        left = [one for name in server.lrange(_taken(by), 0, -1) if (one := _as_id(name))]
        _hand_over(server, by, left)
        server.srem(_takers(), by)
        returned += len(left)
    return returned


def _bury(server: Server, name: str) -> None:
    """Keep what names no candidate; the same nonsense is kept once."""
    original = str(uuid.uuid5(uuid.NAMESPACE_OID, name))
    dead_letters.send(
        server,
        queue="express",
        original_id=original,
        body={"item": name[:500]},
        reason="it names no candidate",
        tries=1,
    )


def _as_id(name: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(name)
    except ValueError:
        return None
