"""The courier leads the outbox from one process: it claims, delivers and completes until nothing is due or under way.

It works in a thread of its own, on one event loop and one HTTP client, so that a receiver that hangs holds up no tick
and no slot of the pool: a delivery that takes longer than a moment leaves its place to others, and ends by its own time
limit while the courier goes on. The database is asked from a second thread: a slow statement delays no delivery. Its
lock is extended while it leads; when that is refused, somebody else may lead, and it claims nothing more.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from celery import signals
from django.db import connections

from execution import ledger
from execution.cycles import Cycle
from recovery import conf, locks, outbox
from recovery.locks import Lock
from recovery.outbox import Outcome, Parcel

if TYPE_CHECKING:
    from recovery.network import Resolve
    from recovery.posting import Sender

log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]

SLOW_SECONDS = 0.25
"""A delivery that takes longer does not count as one of those that may be under way at once."""
MOST_IN_HAND = 1000
"""Messages that are claimed and not completed, the slow ones with them."""
ATTEND_SECONDS = 1.0
"""How long a tick looks on; the courier goes on without it."""
LINGER_SECONDS = 2.0
"""How long it goes on looking when all is delivered: until the next tick would."""
_LOOK_SECONDS = 0.2
_FAREWELL_SECONDS = 2.0


class Courier:
    """Leads the outbox, from when it was given the lock until it lets go of it."""

    def __init__(
        self,
        lock: Lock,
        *,
        first: list[Parcel] | None = None,
        clock: Clock | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        """Lead under this lock; `first` was claimed already, `clock` says what is due, `resolve` looks names up."""
        self.lock = lock
        self.ended_count = 0
        self.error: Exception | None = None
        self.is_leading = True
        self._first = first or []
        self._clock = clock
        self._resolve = resolve
        self._settings = conf.current()
        self._waiting: list[Parcel] = []
        self._under_way: dict[asyncio.Task[None], tuple[str, float]] = {}
        self._finished: list[Outcome] = []
        self._calm = threading.Event()
        self._farewell_at: float | None = None
        self._extended_at = time.monotonic()
        self._published_at = 0.0
        self._moved_at = 0.0
        self._linger_seconds = 0.0
        self._thread = threading.Thread(target=self._work, name="celeriac-courier", daemon=True)
        self._database = ThreadPoolExecutor(1, thread_name_prefix="celeriac-courier-database")

    # For its process

    def start(self) -> Courier:
        """Begin, in a thread of its own."""
        self._linger_seconds = LINGER_SECONDS
        self._thread.start()
        return self

    @property
    def is_alive(self) -> bool:
        """Whether its thread works; a forked child has none."""
        return self._thread.is_alive()

    def attend(self, seconds: float) -> None:
        """Look on until nothing is due but what is slow, or for so long."""
        self._calm.wait(seconds)
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """Claim nothing more, give what is under way a moment, and let go of the lock."""
        self._farewell_at = time.monotonic() + _FAREWELL_SECONDS
        if self.is_alive:
            self._thread.join(_FAREWELL_SECONDS * 3)

    def run(self) -> int:
        """Lead in this thread, to the end; returns how many tries have ended."""
        self._work()
        if self.error is not None:
            raise self.error
        return self.ended_count

    # In its thread

    def _work(self) -> None:
        try:
            asyncio.run(self._lead())
        except Exception as error:  # noqa: BLE001 - the tick that looks on tells it
            self.error = error
            log.warning("outbox.courier_failed", error=str(error))
        finally:
            self._database.submit(self._leave).result()
            self._database.shutdown()
            self._calm.set()

    async def _lead(self) -> None:
        from recovery import posting

        async with posting.Sender(self._resolve) as sender:
            try:
                self._send_all(sender, self._first)
                self._first = []
                while await self._turn(sender):
                    await self._wait(sender)
            finally:
                for task in self._under_way:
                    task.cancel()
                await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _turn(self, sender: Sender) -> bool:
        """Complete what has ended and send what is due; returns whether there is more to do."""
        finished, self._finished = self._finished, []
        claimed, read = await self._ask(self._exchange, finished, self._room())
        self._send_all(sender, claimed)
        self._mark(is_moving=bool(claimed or finished or read))
        return self._has_work() and not self._is_leaving()

    def _mark(self, *, is_moving: bool) -> None:
        """Remember when something was done last; it is calm while all that is under way is slow."""
        if is_moving:
            self._moved_at = time.monotonic()
            self._calm.clear()
        elif not self._young_count():
            self._calm.set()

    def _has_work(self) -> bool:
        """Whether something is under way, or was done just now, so that more may come."""
        is_fresh = time.monotonic() - self._moved_at <= self._linger_seconds
        return bool(self._under_way or self._waiting or self._finished) or is_fresh or not self._calm.is_set()

    def _is_leaving(self) -> bool:
        """Whether it no longer leads or was told to stop, and has waited long enough for what is under way."""
        if self._farewell_at is None:
            return False
        has_ended = not self._under_way and not self._finished
        return has_ended or time.monotonic() > self._farewell_at

    async def _wait(self, sender: Sender) -> None:
        """Wait for a delivery to end, or to look again at what is due."""
        if self._finished:
            return
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        elif self._calm.is_set():
            await asyncio.sleep(_LOOK_SECONDS)
        self._send(sender)

    async def _ask(self, function: Callable[..., Any], *parameters: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._database, function, *parameters)

    def _send_all(self, sender: Sender, parcels: list[Parcel]) -> None:
        self._waiting += parcels
        self._send(sender)

    def _send(self, sender: Sender) -> None:
        """Begin what waits and has a place; what has waited for too long is left to the end of its lease."""
        oldest = time.monotonic() - outbox.WAIT_SECONDS
        places = self._settings.webhook_concurrency - self._young_count()
        at = Counter(endpoint for endpoint, _ in self._under_way.values())
        waiting, self._waiting = self._waiting, []
        for parcel in waiting:
            if places <= 0 or at[parcel.endpoint] >= self._settings.webhook_per_endpoint:
                self._waiting += [parcel] if parcel.claimed_at > oldest else []
                continue
            self._begin(sender, parcel)
            places, at[parcel.endpoint] = places - 1, at[parcel.endpoint] + 1

    def _begin(self, sender: Sender, parcel: Parcel) -> None:
        task = asyncio.ensure_future(self._deliver(sender, parcel))
        self._under_way[task] = (parcel.endpoint, time.monotonic())
        task.add_done_callback(lambda done: self._end(sender, done))

    async def _deliver(self, sender: Sender, parcel: Parcel) -> None:
        from recovery import posting

        answer = await posting.post(sender, parcel.message)
        outcome = outbox.judge(parcel, answer)
        self._finished.append(outcome)
        if outcome.leaves_alone:
            self._waiting = [one for one in self._waiting if one.endpoint != parcel.endpoint]

    def _end(self, sender: Sender, done: asyncio.Task[None]) -> None:
        """Give the place of a delivery that has ended to the next."""
        del self._under_way[done]
        if not done.cancelled() and self._farewell_at is None:
            self._send(sender)

    def _young_count(self) -> int:
        edge = time.monotonic() - SLOW_SECONDS
        return sum(began > edge for _, began in self._under_way.values())

    def _room(self) -> int:
        """Return how many more may be claimed: what waits for its own slow endpoint takes no other's room."""
        at = Counter(endpoint for endpoint, _ in self._under_way.values())
        held_up = [one for one in self._waiting if at[one.endpoint] >= self._settings.webhook_per_endpoint]
        next_up = len(self._waiting) - len(held_up)
        is_full = len(self._under_way) + len(self._waiting) >= MOST_IN_HAND
        if self._farewell_at is not None or is_full or next_up > outbox.BATCH // 2:
            return 0
        return outbox.BATCH - next_up

    # In the database's thread

    def _exchange(self, finished: list[Outcome], room: int) -> tuple[list[Parcel], int]:
        """Write what became of messages, keep the lock, read new events and claim what is due."""
        now = self._clock() if self._clock else None
        written = outbox.complete(self.lock, finished, now=now)
        self._count(finished, len(written))
        self._extend()
        read = self._publish()
        return (outbox.claim(self.lock, limit=room, now=now) if room and self.is_leading else []), read

    def _count(self, finished: list[Outcome], written: int) -> None:
        self.ended_count += written
        if written < len(finished):
            log.warning("outbox.completion_refused", count=len(finished) - written, token=self.lock.token)

    def _extend(self) -> None:
        ttl = self._settings.webhook_lock_seconds
        if not self.is_leading or time.monotonic() - self._extended_at < ttl / 3:
            return
        self._extended_at = time.monotonic()
        self.is_leading = locks.extend(self.lock, ttl_seconds=ttl)
        if not self.is_leading:
            self._farewell_at = time.monotonic() + _FAREWELL_SECONDS
            log.warning("outbox.lead_lost", token=self.lock.token)

    def _publish(self) -> int:
        """Make messages of new events, every now and then, and at once again while there are more."""
        if time.monotonic() - self._published_at < _LOOK_SECONDS or self._farewell_at is not None:
            return 0
        read = outbox.publish()
        if not read:
            self._published_at = time.monotonic()
        return read

    def _leave(self) -> None:
        """Let go of the lock and of this thread's connections."""
        try:
            locks.release(self.lock)
        except Exception as error:  # noqa: BLE001 - its time will run out
            log.warning("outbox.not_released", error=str(error))
        finally:
            ledger.close()
            connections.close_all()


# The tick

_attending = threading.Lock()
_here: list[Courier] = []


def deliver(_: dict[str, Any] | None = None) -> int:
    """See to it that somebody leads, and look on for a moment; returns how many tries have ended under this process."""
    if not _attending.acquire(blocking=False):
        return 0
    try:
        leading = _leading()
        if leading is None:
            return 0
        leading.attend(ATTEND_SECONDS)
        ended, leading.ended_count = leading.ended_count, 0
        return ended
    finally:
        _attending.release()


def _leading() -> Courier | None:
    """Return this process's courier, a new one where something is due and nobody leads, or None."""
    if _here and _here[0].is_alive:
        return _here[0]
    lock = locks.acquire(outbox.LOCK, ttl_seconds=conf.current().webhook_lock_seconds)
    if lock is None:
        return None
    first = _first(lock)
    if not first:
        locks.release(lock)
        return None
    _here[:] = [Courier(lock, first=first).start()]
    return _here[0]


def _first(lock: Lock) -> list[Parcel]:
    """Read new events until something is due, or all are read, or for so long."""
    ends_at = time.monotonic() + ATTEND_SECONDS
    while True:
        read = outbox.publish()
        found = outbox.claim(lock)
        if found or not read or time.monotonic() > ends_at:
            return found


def lead(*, clock: Clock | None = None, resolve: Resolve | None = None) -> int:
    """Lead in this thread until nothing is due or under way; returns how many tries have ended."""
    lock = locks.acquire(outbox.LOCK, ttl_seconds=conf.current().webhook_lock_seconds)
    return Courier(lock, clock=clock, resolve=resolve).run() if lock else 0


@signals.worker_process_shutdown.connect
def stop(**_: Any) -> None:
    """Let this process's courier go, so that another one leads at once."""
    if _here and _here[0].is_alive:
        _here[0].stop()


CYCLE = Cycle(name="recovery.outbox", period=timedelta(seconds=2), step=deliver, is_atomic=False)
CLEAN_UP = Cycle(name="recovery.outbox.clean_up", period=timedelta(hours=24), step=outbox.clean_up, is_atomic=False)
