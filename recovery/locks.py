"""Locks with one holder at a time, whose token rises at each change of holder.

A holder that stalls past its time loses the lock without noticing. So whatever is written under a lock names its token,
and the write itself refuses one that is no longer the lock's. Time is the database's.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import timedelta

from execution import ids, ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """What a holder has: the lock's name, its own, and the token under which it writes."""

    name: str
    holder: str
    token: int


def acquire(name: str, *, ttl_seconds: float, holder: str = "") -> Lock | None:
    """Take a lock, or learn that somebody else holds it; the same holder may ask again."""
    who = holder or new_holder()
    row = ledger.ask("SELECT * FROM recovery_acquire_lock_v1(%s, %s, %s)", [name, who, timedelta(seconds=ttl_seconds)])[
        0
    ]
    return Lock(name=name, holder=who, token=row.token) if row.is_mine else None


def extend(lock: Lock, *, ttl_seconds: float) -> bool:
    """Hold a lock for longer; False where its time has run out, and it must be thought lost."""
    parameters = [lock.name, lock.holder, lock.token, timedelta(seconds=ttl_seconds)]
    return bool(ledger.ask("SELECT recovery_extend_lock_v1(%s, %s, %s, %s) AS v", parameters)[0].v)


def release(lock: Lock) -> bool:
    """Let go of a lock; False where it is somebody else's by now, who keeps it."""
    parameters = [lock.name, lock.holder, lock.token]
    return bool(ledger.ask("SELECT recovery_release_lock_v1(%s, %s, %s) AS v", parameters)[0].v)


def new_holder() -> str:
    """Return a name that nobody else has, and that says where to look."""
    return f"{socket.gethostname()}:{os.getpid()}:{ids.new().hex[-12:]}"
