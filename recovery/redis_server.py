"""The Redis beside the ledger, asked with little patience: it is a doorbell here as well, and never the truth.

Who stands in somebody's way, as `stream.add` does in its caller's, asks by `attempt`: a Redis that is dead, hangs or
refuses costs a fraction of a second once, and nothing at all for some seconds after. Passes ask by `client` and look
at the error themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import structlog
from django.conf import settings

from execution import conf

log = structlog.get_logger(__name__)

HURRY_SECONDS = 0.25
PASS_SECONDS = 2.0
SILENT_SECONDS = 5.0

Server = Any
"""A client of redis-py, whose answers are typed for asyncio too."""
Answer = TypeVar("Answer")

_silent = {"until": 0.0}


def key(name: str) -> str:
    """Return one of our keys, with the project's prefix."""
    return f"{conf.current().redis_prefix}{name}"


def client(patience_seconds: float = PASS_SECONDS) -> Server | None:
    """Return a client that gives up after so long; None where the project has no Redis."""
    url = getattr(settings, "REDIS_URL", "")
    return _client(url, patience_seconds) if url else None


@lru_cache(maxsize=8)
def _client(url: str, patience_seconds: float) -> Server:
    """Return this process's client; redis-py gives a forked child connections of its own."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(
        url,
        protocol=2,
        decode_responses=True,
        encoding_errors="replace",
        socket_timeout=patience_seconds,
        socket_connect_timeout=patience_seconds,
        retry=Retry(NoBackoff(), 0),
    )


def away() -> tuple[type[Exception], ...]:
    """Return the errors of a Redis that does not answer or refuses; looked up only where one was raised."""
    from redis import RedisError

    return RedisError, OSError


def attempt(action: Callable[[Server], Answer], otherwise: Answer, *, what: str) -> Answer:
    """Do something with Redis in a hurry; where that fails, say so in the log and go on with another answer."""
    server = client(HURRY_SECONDS)
    if server is None or time.monotonic() < _silent["until"]:
        return otherwise
    try:
        return action(server)
    except away() as error:
        _silent["until"] = time.monotonic() + SILENT_SECONDS
        log.warning("redis.away", what=what, error=str(error))
        return otherwise


def forget() -> None:
    """Ask again at once, whatever became of the last attempt."""
    _silent["until"] = 0.0
