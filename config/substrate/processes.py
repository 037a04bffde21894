"""Know a server's process from a stranger that inherited its number.

A process id alone proves nothing: after a crash or a reboot it may belong to anybody. A server is trusted, and
signalled, only while its process is alive, its command line names this home's folder, and its birth is the one on
record. Birth is counted from the boot, so that a clock that is set forward does not make a stranger of a server.
"""

from dataclasses import dataclass
from pathlib import Path

import psutil

TOLERANCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One process, as it was when the server was known to be up."""

    pid: int
    birth: float

    def store(self, record: Path) -> None:
        """Write the identity where the next process looks for it."""
        draft = record.with_suffix(".draft")
        draft.write_text(f"{self.pid} {self.birth:.3f}\n")
        draft.replace(record)


def recorded(record: Path) -> Identity | None:
    """Return the identity on record, or none."""
    try:
        pid, birth = record.read_text().split()
        return Identity(pid=int(pid), birth=float(birth))
    except (OSError, ValueError):
        return None


def identify(pid: int | None, *, mark: str) -> Identity | None:
    """Return the identity of a living process whose command line names the mark, or none."""
    if pid is None or pid <= 0:
        return None
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or mark not in " ".join(process.cmdline()):
            return None
        return Identity(pid=pid, birth=process.create_time() - psutil.boot_time())
    except psutil.Error:
        return None


def is_alive(identity: Identity, *, mark: str) -> bool:
    """Tell whether this very process still lives."""
    found = identify(identity.pid, mark=mark)
    return found is not None and abs(found.birth - identity.birth) <= TOLERANCE_SECONDS


def pid_in(pid_file: Path) -> int | None:
    """Return the number on a pid file's first line, or none."""
    try:
        return int(pid_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def working_in(folder: Path) -> list[int]:
    """Return the processes whose working folder this is."""
    path = str(folder.resolve())
    return [process.pid for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == path]
