"""The demo's home: a folder, servers, and processes that live exactly as long as the demo."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from config import substrate
from config.demo.crew import Member
from config.demo.screen import Screen
from config.substrate import processes
from config.substrate.addresses import REPOSITORY

LEASE_SECONDS = 5
HEARTBEAT_SECONDS = 1.5
STOP_SECONDS = 20.0
LEAVING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Servers that the environment names belong to somebody: the demo kills and flushes only what is its own.
NOT_OURS = ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "CELERIAC_HOME")


class Home:
    """A folder of the demo's own; leaving it stops the processes, then the servers, then removes the folder."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.folder = Path()
        self.crew: list[Member] = []

    def __enter__(self) -> Self:
        """Make the folder, and name it, the lease and no foreign server in the environment."""
        base = Path(os.environ.get("CELERIAC_HOME") or REPOSITORY / ".celeriac").expanduser().absolute()
        for name in NOT_OURS:
            os.environ.pop(name, None)
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="demo-", dir=base))
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "CELERIAC_HOME": str(self.folder),
            "CELERIAC_LEASE_SECONDS": str(LEASE_SECONDS),
            "CELERIAC_HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything; what the processes said is kept when something went wrong. A second Ctrl-C does not help."""
        before = [(number, signal.signal(number, signal.SIG_IGN)) for number in LEAVING]
        try:
            for member in self.crew:
                member.ask_to_end()
            for member in self.crew:
                member.end()
            self._stop_servers()
            shutil.rmtree(substrate.addresses().sockets, ignore_errors=True)
            self._remove(keep_logs=kind is not None and kind is not KeyboardInterrupt)
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    def start(self, name: str, *arguments: str) -> Member:
        """Start a Celery process; it is stopped with the demo."""
        member = Member(name, arguments, log=self.folder / "crew" / f"{name}.log")
        self.crew.append(member)
        member.start()
        return member

    def _stop_servers(self) -> None:
        """Stop the servers, also one that an interrupted start has just left without a pid file."""
        deadline = time.monotonic() + STOP_SECONDS
        substrate.stop()
        while processes.working_in(self.folder / "postgres") and time.monotonic() < deadline:
            time.sleep(0.1)
            substrate.stop()

    def _remove(self, *, keep_logs: bool) -> None:
        if not keep_logs:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        for part in self.folder.iterdir():
            if part.name not in {"crew", "logs"}:
                shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)
        self.screen.fail(f"What its processes said is kept in {self.folder}")
