"""The keeper of one worker: it holds the worker's lock, extends its leases, ends what must end, and does the upkeep.

It watches its worker through a pidfd, ends with it, and before it ends gives back what the worker was performing. The
lease thread has a connection of its own, holds the session lock, and never publishes; the upkeep thread sweeps and
wakes; the feed thread is the only one that talks to the broker, so that a broker that hangs stops neither of the
others.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import structlog

from execution import board as boards
from execution import conf, ledger, tunables, upkeep
from execution.beacon import Beacon
from execution.keeper import LOCK_CLASS, REGISTER

log = structlog.get_logger(__name__)

BEAT_SECONDS = 0.25
_ENFORCE_SECONDS = 0.5
_TUNE_SECONDS = 0.5
_CONFIRM_SECONDS = 0.2
_STRANGE_SECONDS = 24 * 3600
# Twice as long as a process that claimed several steps may leave one of them unbegun.
_UNBEGUN_SECONDS = 2.0

Key = tuple[uuid.UUID, int]


@dataclass(slots=True)
class Lock:
    """The worker's lock: a number, and the connection that holds it."""

    number: int
    is_used: bool
    early: Any = None
    held_on: Any = None


@dataclass(slots=True, kw_only=True)
class Keeper:
    """The keeper of one worker."""

    worker_id: uuid.UUID
    hostname: str
    pid: int
    board: boards.Board
    pool: str
    queues: list[str]
    slots: int
    free: int
    lock: Lock
    may_recycle: bool = True
    is_scaled: bool = False
    is_draining: bool = False
    started: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)
    wake: threading.Event = field(default_factory=threading.Event)
    hungry: threading.Event = field(default_factory=threading.Event)
    _child_died: bool = False
    _dead_since: dict[Key, float] = field(default_factory=dict)
    _cancelled_at: dict[Key, float] = field(default_factory=dict)
    _unextended: set[Key] = field(default_factory=set)
    _fenced: dict[Key, boards.Entry] = field(default_factory=dict)
    _extended_at: float = float("-inf")
    _enforced_at: float = float("-inf")
    _tuned_at: float = float("-inf")
    _recycled_at: float | None = None

    @classmethod
    def of(cls, description: dict[str, Any], early: Any = None) -> Keeper:
        """Make the keeper that a worker's bootstep describes."""
        return cls(
            worker_id=uuid.UUID(description["worker"]),
            hostname=description["hostname"],
            pid=description["pid"],
            board=boards.Board(Path(description["board"])),
            pool=description["pool"],
            queues=description["queues"],
            slots=description["slots"],
            free=description["slots"],
            lock=Lock(description["lock_number"], description["uses_lock"], early),
            may_recycle=description["may_recycle"],
            is_scaled=description["is_scaled"],
        )

    def run(self) -> None:
        """Keep until the worker ends."""
        self.started = self.board.process_started
        self.is_draining = self.board.is_draining
        threads = [
            threading.Thread(target=target, name=target.__name__.strip("_"), daemon=True)
            for target in (self._keep_leases, self._do_upkeep, self._do_feed)
        ]
        for thread in threads:
            thread.start()
        orderly = self._listen()
        for event in (self.over, self.wake, self.hungry):
            event.set()
        for thread in threads[:2]:
            thread.join(timeout=2)
        bury(self.board, is_draining=orderly or self.board.is_draining)

    # What the worker says

    def _listen(self) -> bool:
        """Follow the worker's words until it says bye (true) or is gone (false)."""
        pidfd = _pidfd(self.pid)
        source = sys.stdin.fileno()
        os.set_blocking(source, False)
        pending = b""
        while True:
            watched = [source, *([pidfd] if pidfd is not None else [])]
            ready, _, _ = select.select(watched, [], [], None if pidfd is not None else 0.2)
            if pidfd in ready or (pidfd is None and os.getppid() != self.pid):
                return False
            if source not in ready:
                continue
            chunk = os.read(source, 65536)
            if not chunk:
                return False
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                if line == b"bye":
                    return True
                self._heed(line.decode().split())

    def _heed(self, words: list[str]) -> None:
        if words[:1] == ["slots"]:
            self.slots, self.free = int(words[1]), int(words[2])
        elif words == ["drain"]:
            self.is_draining = True
        elif words == ["look"]:
            self._child_died = True
            self.wake.set()

    # Leases

    def _keep_leases(self) -> None:
        if self.lock.early is not None:
            with contextlib.suppress(psycopg.Error):
                ledger.hold(self.lock.early)
        while not self.over.is_set():
            try:
                self.beat()
            except Exception as error:  # noqa: BLE001 - leases must be kept, whatever one look at the board meets
                log.warning("keeper.beat_failed", error=repr(error))
                time.sleep(0.5)
            self.wake.wait(timeout=BEAT_SECONDS)
            self.wake.clear()

    def beat(self) -> None:
        """Look at the board: give back what the dead performed, extend the living, pass on what is asked of them."""
        self._hold_lock()
        self._tune()
        entries = self.board.performed()
        living = [entry for entry in entries if boards.is_alive(entry.pid, entry.process_started)]
        self._give_back_dead([entry for entry in entries if entry not in living])
        self._extend([entry for entry in living if not boards.is_stopped(entry.pid)])
        self._enforce(living)
        self._recycle(living)

    def _hold_lock(self) -> None:
        """Hold the session lock on this thread's connection; after a reconnection by a number that nobody can hold."""
        connection = ledger.connection()
        if connection is self.lock.held_on and not connection.closed:
            return
        if self.lock.is_used and connection is not self.lock.early:
            self.lock.number = secrets.randbelow(2**31 - 1) + 1
            ledger.ask("SELECT pg_advisory_lock(%s, %s)", [LOCK_CLASS, self.lock.number])
        ledger.ask(
            REGISTER,
            {
                "worker": self.worker_id,
                "hostname": self.hostname,
                "pid": self.pid,
                "pool": self.pool,
                "queues": self.queues,
                "slots": self.slots,
                "lock_number": self.lock.number,
                "uses_lock": self.lock.is_used,
            },
        )
        self.board.keep()
        self.lock.held_on = connection

    def _tune(self) -> None:
        """Write on the board what is tuned; where that has changed, every lease is extended now, perhaps by another."""
        if time.monotonic() - self._tuned_at < _TUNE_SECONDS:
            return
        self._tuned_at = time.monotonic()
        text = _guarded(tunables.published)
        if text is not None and self.board.tune(text):
            self._extended_at = float("-inf")

    def _extend(self, entries: list[boards.Entry]) -> None:
        """Extend all leases when it is time; those whose rows were held at that moment again at each beat."""
        settings = conf.current()
        is_due = time.monotonic() - self._extended_at >= min(settings.heartbeat_seconds, settings.lease_seconds / 3)
        asked = entries if is_due else [entry for entry in entries if entry.claim in self._unextended]
        if is_due:
            self._extended_at = time.monotonic()
        if not asked:
            self._unextended.clear()
            return
        rows = ledger.ask(
            "SELECT * FROM execution_extend_v1(%s, %s, %s, %s)",
            [
                self.worker_id,
                [entry.step_id for entry in asked],
                [entry.epoch for entry in asked],
                [entry.idle_seconds for entry in asked],
            ],
        )
        answers = {(row.step_id, row.epoch): row for row in rows}
        self._unextended = {key for key, row in answers.items() if not row.is_extended and row.control != "lost"}
        for entry in asked:
            if entry.claim in answers:
                self._pass_on(entry, answers[entry.claim].control)

    def _pass_on(self, entry: boards.Entry, asked: str) -> None:
        """Write on the board what the ledger asks of a step, if the slot still performs it."""
        number = boards.CONTROLS.get(asked, 0)
        if self.board.asked(entry.index) != number and self.board.shows(entry):
            self.board.ask_to_stop(entry.index, number)

    def _give_back_dead(self, entries: list[boards.Entry]) -> None:
        """Give back what a dead pool process performed, once it is sure that it did not die with its worker."""
        now = time.monotonic()
        self._dead_since = {entry.claim: self._dead_since.get(entry.claim, now) for entry in entries}
        for entry in entries:
            if not self._child_died and now - self._dead_since[entry.claim] < _CONFIRM_SECONDS:
                continue
            if not boards.is_alive(self.pid, self.started):
                return
            ending = "lost" if self.board.is_draining else "crashed"
            self._give_back(entry, ending=ending, reason="its process died")
            self.board.forget(entry)

    def _give_back(self, entry: boards.Entry, *, ending: str, reason: str, doom: dict[str, str] | None = None) -> str:
        step_id, epoch = entry.claim
        verdict = ledger.give_back(step_id, epoch, ending=ending, reason=reason, doom=doom)
        log.warning("step.given_back", step=str(step_id), epoch=epoch, verdict=verdict, reason=reason)
        self.hungry.set()
        return verdict

    # Enforcement

    def _enforce(self, entries: list[boards.Entry]) -> None:
        """Pass on what the ledger asks; end what heeds no cancellation, has used up its timebox, or has stalled."""
        now = time.monotonic()
        if not self._child_died and now - self._enforced_at < (_ENFORCE_SECONDS if entries else 5.0):
            return
        self._enforced_at, self._child_died = now, False
        rows = ledger.ask(
            "SELECT s.id, s.epoch, s.control, (s.options ->> 'stall_after')::float8 AS stall_after, "
            "coalesce(t.pid, 0) AS pid, t.started_at < clock_timestamp() - make_interval(secs => %s) AS is_old "
            "FROM execution_step s LEFT JOIN execution_attempt t ON t.id = s.attempt_id "
            "WHERE s.worker_id = %s AND s.state = 'running'",
            [_UNBEGUN_SECONDS, self.worker_id],
        )
        running = {(row.id, row.epoch): row for row in rows}
        self._cancelled_at = {
            key: self._cancelled_at.get(key, now) for key, row in running.items() if row.control == "cancel"
        }
        for entry in entries:
            row = running.pop(entry.claim, None)
            if row is not None:
                if row.control:
                    self._pass_on(entry, row.control)
                self._end_if_due(entry, row.stall_after)
        self._give_back_unshown(running)

    def _give_back_unshown(self, running: dict[Key, Any]) -> None:
        """Give back claims whose process died before it began them, or is held up by what it began first."""
        shown = {entry.claim for entry in self.board.performed()}
        for (step_id, epoch), row in running.items():
            if (step_id, epoch) in shown:
                continue
            if row.pid and boards.look(row.pid) is None and not self.board.is_draining:
                ledger.give_back(step_id, epoch, ending="lost", reason="its process died")
            elif row.is_old:
                _leave(step_id, epoch)
                self.hungry.set()

    def _end_if_due(self, entry: boards.Entry, stall_after: float | None) -> None:
        grace = conf.current().cancel_grace_seconds
        now = time.monotonic()
        if now - self._cancelled_at.get(entry.claim, now) > grace:
            self._end(entry, "it did not stop after its run was cancelled")
        elif entry.ends_at and now > entry.ends_at + grace:
            doom = {"type": "TimeboxPassed", "message": "the skill's timebox has passed"}
            self._end(entry, "its timebox has passed", doom=doom)
        elif stall_after and entry.idle_seconds > stall_after:
            self._end(entry, f"its context was not touched for {stall_after:.0f} s")

    def _end(self, entry: boards.Entry, reason: str, *, doom: dict[str, str] | None = None) -> None:
        """End one attempt, and hit no other step: bar the slot, raise the epoch, read the slot again.

        With the epoch raised the process can neither finish this step nor go on with another; barred it claims none.
        """
        self.board.bar(entry.index)
        verdict = self._give_back(entry, ending="crashed", reason=reason, doom=doom)
        if verdict == "stale" or not self.board.shows(entry):
            self.board.bar(entry.index, barred=False)
        elif entry.pid == self.pid:
            self.board.ask_to_stop(entry.index, boards.CONTROLS["lost"])
            self.board.bar(entry.index, barred=False)
            self._fenced[entry.claim] = entry
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(entry.pid, signal.SIGKILL)
            self.board.forget(entry)

    def _recycle(self, entries: list[boards.Entry]) -> None:
        """Shut the worker down, to be started anew, when threads that cannot be killed hold half of its slots."""
        self._fenced = {key: entry for key, entry in self._fenced.items() if self.board.shows(entry)}
        if self._recycled_at is None:
            if len(self._fenced) * 2 < self.slots or not self._fenced:
                return
            self._recycled_at = time.monotonic()
            log.error("worker.recycled", fenced=len(self._fenced), slots=self.slots, hostname=self.hostname)
            if self.may_recycle:
                os.kill(self.pid, signal.SIGTERM)
        elif self.may_recycle and (
            all(entry.claim in self._fenced for entry in entries)
            or time.monotonic() - self._recycled_at > conf.current().cancel_grace_seconds
        ):
            os.kill(self.pid, signal.SIGKILL)

    # Upkeep

    def _do_upkeep(self) -> None:
        _guarded(bury_abandoned)
        ticker, beacon = upkeep.Ticker(), Beacon(self.worker_id)
        pause = 0.0
        while not self.over.wait(timeout=pause):
            _guarded(self._report)
            pause = _guarded(ticker.tick) or conf.current().tick_seconds
            if ticker.has_released:
                self.hungry.set()
            beacon.show(hostname=self.hostname, free=self.free, slots=self.slots)

    def _report(self) -> None:
        """Tell the ledger that this worker lives and what is free, and the board what waits in its queues."""
        performing = len(self.board.performed())
        can_take = not (self.is_draining or boards.is_stopped(self.pid) or boards.is_taken_alone(self.board, self.pid))
        free = max(0, min(self.free, self.slots - performing)) if can_take else 0
        ledger.ask(
            "UPDATE execution_worker SET seen_at = clock_timestamp(), gone_at = NULL, "
            "free_count = %s, slot_count = %s, is_draining = %s WHERE id = %s",
            [free, self.slots, self.is_draining, self.worker_id],
        )
        ready, processes = upkeep.backlog_of(self.queues) if self.is_scaled else (0, 0)
        self.board.tell(has_lines=upkeep.has_lines(self.queues), ready=ready, processes=processes)

    def _do_feed(self) -> None:
        feeder = upkeep.Feeder()
        pause = 0.0
        while not self.over.is_set():
            is_urgent = self.hungry.wait(timeout=pause)
            self.hungry.clear()
            if not self.over.is_set():
                pause = _guarded(feeder.tick, is_urgent=is_urgent) or conf.current().tick_seconds


def bury(board: boards.Board, *, is_draining: bool) -> None:
    """Give back what a worker that ended was performing, before the sweep would; ring for it, and remove its board."""
    from execution import doorbell

    deadline = time.monotonic() + 1.0
    released = []
    for entry in board.performed():
        while boards.is_alive(entry.pid, entry.process_started) and time.monotonic() < deadline:
            time.sleep(0.01)
        step_id, epoch = entry.claim
        reason = "worker stopped" if is_draining else "worker died"
        with contextlib.suppress(Exception):
            if ledger.give_back(step_id, epoch, ending="lost", reason=reason) != "stale":
                released.append(step_id)
    released += _give_back_unbegun(board.worker_id)
    board.remove()
    with contextlib.suppress(Exception):
        ledger.ask("SELECT execution_bury_v1(%s)", [[board.worker_id]])
        doorbell.ring_for(released)


def _give_back_unbegun(worker_id: uuid.UUID) -> list[uuid.UUID]:
    """Give back what a worker that ended had claimed and not begun."""
    with contextlib.suppress(Exception):
        unended = "SELECT id, epoch FROM execution_step WHERE worker_id = %s AND state = 'running'"
        return [row.id for row in ledger.ask(unended, [worker_id]) if _leave(row.id, row.epoch) != "stale"]
    return []


def _leave(step_id: uuid.UUID, epoch: int) -> str:
    return ledger.give_back(step_id, epoch, ending="lost", reason="it was claimed and not begun")


def bury_abandoned() -> int:
    """Bury this host's workers that were killed with their keepers; boards of another ledger go after a day."""
    found = boards.abandoned()
    for board in found:
        is_ours = ledger.ask("SELECT 1 FROM execution_worker WHERE id = %s", [board.worker_id])
        if is_ours:
            bury(board, is_draining=board.is_draining)
        elif board.age_seconds > _STRANGE_SECONDS:
            board.remove()
    return len(found)


def _guarded(action: Callable[..., Any], **words: Any) -> Any:
    try:
        return action(**words)
    except Exception as error:  # noqa: BLE001 - the keeper must keep, whatever one action meets
        log.warning("keeper.failed", error=repr(error))
        return None


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
