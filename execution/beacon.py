"""The beacon: a Redis key with a life of five minutes that says a worker lives. Only dashboards depend on it."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from typing import Any

from execution import conf

_LIFE_SECONDS = 300
_EVERY_SECONDS = 10.0


class Beacon:
    """The key of one worker, written at most every ten seconds, and less often while Redis is away."""

    def __init__(self, worker_id: uuid.UUID) -> None:
        self._key = f"{conf.current().redis_prefix}worker:{worker_id}"
        self._client = _client()
        self._next_at = 0.0

    def show(self, **facts: Any) -> None:
        """Write what there is to know, if it is time."""
        if self._client is None or time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + 6 * _EVERY_SECONDS
        with contextlib.suppress(Exception):
            self._client.set(self._key, json.dumps(facts), ex=_LIFE_SECONDS)
            self._next_at = time.monotonic() + _EVERY_SECONDS


def _client() -> Any:
    """Return a client that gives up soon: it stands in the way of the upkeep."""
    import redis
    from django.conf import settings
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    url = getattr(settings, "REDIS_URL", "")
    if not url:
        return None
    return redis.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5, retry=Retry(NoBackoff(), 0))
