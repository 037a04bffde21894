"""The board: a few bytes of shared memory in which each pool thread writes what it performs, for its keeper to read.

A keeper extends a lease only while the process that reports the step lives, with the same start time, and is not
stopped. A slot has one writer, the thread that took it; its sequence number is odd while it writes, so that a reader
never believes half a line. The head carries what the worker and its keeper tell all threads: drain, and whether a
backlog waits in the ledger; what has been tuned stands behind the slots. Times are monotonic: a host whose clock is
set does no harm.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import tempfile
import threading
import time
import uuid
import weakref
from dataclasses import dataclass
from pathlib import Path

import psutil

ENVIRONMENT = "CELERIAC_BOARD"
PREFIX = "celeriac-board-"
_HEAD = struct.Struct("<8s16sIIdQ")  # magic, worker, slots, pid, process start, pid namespace
_FIGURES = struct.Struct("<II")  # ready steps, live pool processes
_FIGURES_AT = 48
_DRAINING_AT, _LINES_AT, _KEPT_AT = 56, 57, 58
_HEAD_SIZE = 64
_SLOT = struct.Struct("<IIdd16sI16sd")  # sequence, pid, process start, touched, step, epoch, attempt, timebox end
_ASKED_AT, _BARRED_AT, _ALONE_AT = 88, 89, 90
_SIZE = 96
_COUNT = 1024
_TUNED = struct.Struct("<II")  # sequence, length
_TUNED_AT = _HEAD_SIZE + _SIZE * _COUNT
_TUNED_SIZE = 512 * 1024
_WHOLE = _TUNED_AT + _TUNED_SIZE
_MAGIC = b"celeria3"
_NOTHING = bytes(16)

CONTROLS = {"": 0, "cancel": 1, "pause": 2, "lost": 3}
NAMES = {number: name for name, number in CONTROLS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one slot says."""

    index: int
    pid: int
    process_started: float
    touched: float
    step_id: uuid.UUID | None
    epoch: int
    attempt_id: uuid.UUID | None
    ends_at: float

    @property
    def claim(self) -> tuple[uuid.UUID, int]:
        """The step and the epoch that the slot performs."""
        if self.step_id is None:
            raise LookupError(f"slot {self.index} performs nothing")
        return self.step_id, self.epoch

    @property
    def idle_seconds(self) -> float:
        """How long ago the context was last used."""
        return max(0.0, time.monotonic() - self.touched)


class Board:
    """The shared memory of one worker."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._handle)
        self._memory = mmap.mmap(self._handle, _WHOLE)
        self._lock = threading.Lock()
        magic, worker, _, self.pid, self.process_started, self._namespace = _HEAD.unpack_from(self._memory, 0)
        if magic != _MAGIC:
            raise ValueError(f"{path} is no board of this version")
        self.worker_id = uuid.UUID(bytes=worker)

    @classmethod
    def make(cls, worker_id: uuid.UUID) -> Board:
        """Make a new, empty board in the fastest folder there is."""
        handle, name = tempfile.mkstemp(prefix=PREFIX, dir=folder())
        head = _HEAD.pack(_MAGIC, worker_id.bytes, _COUNT, os.getpid(), _start_of(os.getpid()), _pid_namespace())
        os.write(handle, head)
        os.ftruncate(handle, _WHOLE)  # a hole takes no memory until it is written
        os.close(handle)
        return cls(Path(name))

    def remove(self) -> None:
        """Remove the board's file; who has it open goes on reading."""
        self.path.unlink(missing_ok=True)

    @property
    def is_abandoned(self) -> bool:
        """Whether the worker that made it is gone; never said of another container's."""
        return self._namespace == _pid_namespace() and not is_alive(self.pid, self.process_started)

    @property
    def age_seconds(self) -> float:
        """How long ago it was made."""
        return time.time() - self.path.stat().st_mtime

    # The head

    @property
    def is_draining(self) -> bool:
        """Whether the worker is shutting down."""
        return self._memory[_DRAINING_AT] != 0

    def drain(self) -> None:
        """Ask every thread to finish or suspend at its next context call."""
        self._memory[_DRAINING_AT] = 1

    @property
    def is_kept(self) -> bool:
        """Whether a keeper has registered the worker: before that nobody would miss it, so it claims nothing."""
        return self._memory[_KEPT_AT] != 0

    def keep(self) -> None:
        """Say that the worker is registered."""
        self._memory[_KEPT_AT] = 1

    @property
    def has_lines(self) -> bool:
        """Whether steps of several agents or priorities waited in the worker's queues at its keeper's last look."""
        return self._memory[_LINES_AT] != 0

    @property
    def figures(self) -> tuple[int, int]:
        """The ready steps of the worker's queues, and the pool processes that live for them on all hosts."""
        ready, processes = _FIGURES.unpack_from(self._memory, _FIGURES_AT)
        return ready, processes

    def tell(self, *, has_lines: bool, ready: int = 0, processes: int = 0) -> None:
        """Write what the keeper saw in the ledger."""
        self._memory[_LINES_AT] = int(has_lines)
        _FIGURES.pack_into(self._memory, _FIGURES_AT, min(ready, 2**32 - 1), min(processes, 2**32 - 1))

    @property
    def tuned_count(self) -> int:
        """How often what is tuned was written; 0 where no keeper has done so yet."""
        return int(_TUNED.unpack_from(self._memory, _TUNED_AT)[0])

    def tune(self, text: bytes) -> bool:
        """Write what is tuned, where it is something else than before and has room; tells whether it was written."""
        sequence, length = _TUNED.unpack_from(self._memory, _TUNED_AT)
        start = _TUNED_AT + _TUNED.size
        is_whole = bool(sequence) and sequence % 2 == 0
        is_same = is_whole and self._memory[start : start + length] == text
        if is_same or len(text) > _TUNED_SIZE - _TUNED.size:
            return False
        _TUNED.pack_into(self._memory, _TUNED_AT, sequence | 1, len(text))
        self._memory[start : start + len(text)] = text
        _TUNED.pack_into(self._memory, _TUNED_AT, (sequence | 1) + 1 & 0xFFFFFFFF, len(text))
        return True

    def tuned(self) -> tuple[int, bytes] | None:
        """Return what is tuned, with the count of its writing; None where a keeper has died over it."""
        start = _TUNED_AT + _TUNED.size
        for _ in range(100):
            before, length = _TUNED.unpack_from(self._memory, _TUNED_AT)
            text = bytes(self._memory[start : start + length])
            if before % 2 == 0 and _TUNED.unpack_from(self._memory, _TUNED_AT) == (before, length):
                return before, text
        return None

    # A thread's slot

    def take_slot(self) -> int:
        """Take a free slot; one whose dead holder still shows a step is left until the keeper has given that back."""
        pid, started = os.getpid(), _start_of(os.getpid())
        with self._locked():
            for index in range(_COUNT):
                holder, holder_started = self._holder(index)
                if holder == 0 or not (self._shows_step(index) or is_alive(holder, holder_started)):
                    self._empty(index, pid, started)
                    return index
        raise RuntimeError(f"a worker has at most {_COUNT} threads that perform steps")

    def show(
        self,
        index: int,
        step_id: uuid.UUID,
        epoch: int,
        attempt_id: uuid.UUID,
        ends_at: float = 0.0,
        *,
        alone: bool = False,
    ) -> None:
        """Write what this slot performs; `ends_at` is monotonic, 0 where there is no timebox."""
        self._write(index, step_id.bytes, epoch, attempt_id.bytes, ends_at, alone=alone)

    def clear(self, index: int) -> None:
        """Write that this slot performs nothing."""
        self._write(index, _NOTHING, 0, _NOTHING, 0.0)

    def touch(self, index: int) -> None:
        """Write that the context of what this slot performs was used now."""
        struct.pack_into("<d", self._memory, _at(index) + 16, time.monotonic())

    def _write(
        self, index: int, step: bytes, epoch: int, attempt: bytes, ends_at: float, *, alone: bool = False
    ) -> None:
        at = _at(index)
        sequence, pid, started, *_ = _SLOT.unpack_from(self._memory, at)
        struct.pack_into("<I", self._memory, at, sequence | 1)
        self._memory[at + _ASKED_AT] = 0
        self._memory[at + _ALONE_AT] = int(alone)
        _SLOT.pack_into(self._memory, at, sequence | 1, pid, started, time.monotonic(), step, epoch, attempt, ends_at)
        struct.pack_into("<I", self._memory, at, (sequence | 1) + 1 & 0xFFFFFFFF)

    def ask_to_stop(self, index: int, reason: int) -> None:
        """Tell the thread of a slot what it is asked to do (see `CONTROLS`)."""
        self._memory[_at(index) + _ASKED_AT] = reason

    def asked(self, index: int) -> int:
        """Return what the thread of a slot is asked to do."""
        return self._memory[_at(index) + _ASKED_AT]

    def bar(self, index: int, *, barred: bool = True) -> None:
        """Bar a slot from new claims, before its process is killed."""
        self._memory[_at(index) + _BARRED_AT] = int(barred)

    def is_barred(self, index: int) -> bool:
        """Whether this slot may claim nothing more."""
        return self._memory[_at(index) + _BARRED_AT] != 0

    def is_alone(self, index: int) -> bool:
        """Whether what this slot performs must have its process to itself."""
        return self._memory[_at(index) + _ALONE_AT] != 0

    # Reading

    def read(self, index: int) -> Entry | None:
        """Return what a slot says, or None where nobody has taken it."""
        for _ in range(100):
            before, pid, started, touched, step, epoch, attempt, ends_at = _SLOT.unpack_from(self._memory, _at(index))
            if pid == 0:
                return None
            (after,) = struct.unpack_from("<I", self._memory, _at(index))
            if before == after and before % 2 == 0:
                return Entry(
                    index=index,
                    pid=pid,
                    process_started=started,
                    touched=touched,
                    epoch=epoch,
                    ends_at=ends_at,
                    step_id=uuid.UUID(bytes=step) if step != _NOTHING else None,
                    attempt_id=uuid.UUID(bytes=attempt) if attempt != _NOTHING else None,
                )
        return None

    def entries(self) -> list[Entry]:
        """Return every slot that a thread has taken."""
        found = []
        for index in range(_COUNT):
            if self._holder(index)[0] == 0:
                break
            entry = self.read(index)
            if entry is not None:
                found.append(entry)
        return found

    def slots_of(self, pid: int) -> list[int]:
        """Return the slots that the threads of a process have taken."""
        found = []
        for index in range(_COUNT):
            holder, _ = self._holder(index)
            if holder == 0:
                break
            if holder == pid:
                found.append(index)
        return found

    def performed(self) -> list[Entry]:
        """Return the slots that show a step."""
        return [entry for entry in self.entries() if entry.step_id is not None]

    def shows(self, entry: Entry) -> bool:
        """Tell whether a slot still says what this entry said."""
        now = self.read(entry.index)
        return (
            now is not None
            and now.step_id == entry.step_id
            and now.epoch == entry.epoch
            and now.pid == entry.pid
            and now.process_started == entry.process_started
        )

    def forget(self, entry: Entry) -> None:
        """Empty the slot of a process that is gone, unless another has taken it."""
        with self._locked():
            if self._holder(entry.index) == (entry.pid, entry.process_started):
                self._empty(entry.index, entry.pid, entry.process_started)

    def _empty(self, index: int, pid: int, started: float) -> None:
        at = _at(index)
        self._memory[at : at + _SIZE] = bytes(_SIZE)
        _SLOT.pack_into(self._memory, at, 0, pid, started, 0.0, _NOTHING, 0, _NOTHING, 0.0)

    def _shows_step(self, index: int) -> bool:
        return bytes(self._memory[_at(index) + 24 : _at(index) + 40]) != _NOTHING

    def _holder(self, index: int) -> tuple[int, float]:
        _, pid, started = struct.unpack_from("<IId", self._memory, _at(index))
        return pid, started

    def _locked(self) -> _Locked:
        return _Locked(self._lock, self._handle)


class _Locked:
    """Both locks: a file's lock excludes other processes, and not other threads of this one."""

    def __init__(self, lock: threading.Lock, handle: int) -> None:
        self._lock, self._handle = lock, handle

    def __enter__(self) -> None:
        self._lock.acquire()
        fcntl.lockf(self._handle, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._handle, fcntl.LOCK_UN)
        self._lock.release()


def folder() -> str:
    """Return the folder of this host's boards."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()  # noqa: S108 - mkstemp makes them private


def on_this_host() -> list[Board]:
    """Return every board that can be read here."""
    found = []
    for path in Path(folder()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, ValueError, struct.error):
            found.append(Board(path))
    return found


def abandoned() -> list[Board]:
    """Return the boards on this host whose workers are gone."""
    return [board for board in on_this_host() if board.is_abandoned]


class _Held:
    """A thread's hold on its slot; a green thread that ends leaves it to the next one of its process."""

    def __init__(self, board: Board) -> None:
        self.pid, self.path = os.getpid(), board.path
        free = _free.get((self.pid, self.path))
        self.index = free.pop() if free else board.take_slot()
        weakref.finalize(self, _leave, self.pid, self.path, self.index).atexit = False


def _leave(pid: int, path: Path, index: int) -> None:
    if os.getpid() == pid:
        _free.setdefault((pid, path), []).append(index)


_free: dict[tuple[int, Path], list[int]] = {}
_local = threading.local()
_opened: tuple[str, Board] | None = None


def current() -> Board | None:
    """Return the board of the worker that this process belongs to, if it is one."""
    global _opened  # noqa: PLW0603 - one board a process
    path = os.environ.get(ENVIRONMENT, "")
    if not path:
        return None
    if _opened is None or _opened[0] != path:
        try:
            _opened = (path, Board(Path(path)))
        except (FileNotFoundError, ValueError):
            return None
    return _opened[1]


def slot(board: Board) -> int:
    """Return this thread's slot, taken on first use; a forked child takes one of its own."""
    held: _Held | None = getattr(_local, "slot", None)
    if held is None or held.pid != os.getpid() or held.path != board.path:
        held = _local.slot = _Held(board)
    return held.index


def performing_count(board: Board, pid: int) -> int:
    """Return how many steps a process performs."""
    return sum(1 for entry in board.performed() if entry.pid == pid)


def is_taken_alone(board: Board, pid: int) -> bool:
    """Tell whether a process performs a step that must have it to itself."""
    return any(board.is_alone(index) for index in board.slots_of(pid))


def is_alive(pid: int, started: float) -> bool:
    """Tell whether this very process lives."""
    found = look(pid)
    return found is not None and abs(found[1] - started) < 0.02 and found[0] not in "ZX"


def is_stopped(pid: int) -> bool:
    """Tell whether a process is stopped, as by SIGSTOP."""
    found = look(pid)
    return found is None or found[0] in "Tt"


def look(pid: int) -> tuple[str, float] | None:
    """Return a process's state letter and start time; on Linux in ticks since boot, which no change of clock moves."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        return fields[0], float(fields[19])
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    except (OSError, IndexError, ValueError):
        return None
    try:
        process = psutil.Process(pid)
        letter = {psutil.STATUS_STOPPED: "T", psutil.STATUS_TRACING_STOP: "t", psutil.STATUS_ZOMBIE: "Z"}
        return letter.get(process.status(), "R"), float(process.create_time())
    except psutil.Error:
        return None


def _at(index: int) -> int:
    return _HEAD_SIZE + index * _SIZE


def _start_of(pid: int) -> float:
    found = look(pid)
    return found[1] if found else 0.0


def _pid_namespace() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0
