"""The attendant: `python -m recovery.handling_process`, a process that has handlers handle, each in a child.

A handler may take its time or hang for ever, and neither a slot of a Celery pool nor another handler may wait for it.
A thread cannot be ended and a pool's time limit exists in one kind of pool only; so the dispatcher's pass, in whatever
pool, starts this process where something is due, and goes on. It has no threads and no open connection when it forks a
child for a handler; it ends the child that takes too long, gives back what that had not begun, and starts another. It
leaves when there has been nothing to do for a minute, or when whoever started it is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recovery.handling import Batch

CHILDREN_MOST = 16
LOOK_SECONDS = 0.25
STAY_SECONDS = 60.0

_started: dict[str, subprocess.Popen[bytes]] = {}


def ensure() -> None:
    """See that this process has an attendant."""
    running = _started.get("attendant")
    if running is not None and running.poll() is None:
        return
    if running is not None and running.stdin is not None:
        running.stdin.close()
    _started["attendant"] = start()


def start() -> subprocess.Popen[bytes]:
    """Start an attendant, with the handlers that are known here."""
    from recovery.dispatcher import KNOWN

    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "recovery.handling_process"], stdin=subprocess.PIPE, env=environment
    )
    modules = sorted({handler.function.__module__ for handler in KNOWN.values()})
    if process.stdin is not None:
        process.stdin.write(json.dumps({"app": _app_path(), "modules": modules}).encode() + b"\n")
        process.stdin.flush()
    return process


def _app_path() -> str:
    from celery import current_app

    from execution.presence import app_path

    return app_path(current_app._get_current_object())  # noqa: SLF001 - a proxy's only way to its app


# The attendant itself


@dataclass(slots=True, kw_only=True)
class Child:
    """A process that works off a batch; it writes a byte at the beginning of each event."""

    pid: int
    batch: Batch
    deadline: float


class Attendant:
    """Claims what is due, and watches over the children that handle it."""

    def __init__(self, *, stay_seconds: float = STAY_SECONDS) -> None:
        self.children: dict[int, Child] = {}
        self.is_orphan = False
        self._stay_seconds = stay_seconds

    def run(self) -> None:
        """Work until there has been nothing to do for long, or who started us is gone and no child is left."""
        idle_since = time.monotonic()
        while True:
            if not self.is_orphan:
                self._start_due()
            if self.children:
                idle_since = time.monotonic()
            elif self.is_orphan or time.monotonic() - idle_since > self._stay_seconds:
                return
            self._look()

    def _start_due(self) -> None:
        from django.db import connections

        from recovery import handling
        from recovery.dispatcher import KNOWN

        busy = {child.batch.handler for child in self.children.values()}
        for name in handling.due([name for name in KNOWN if name not in busy]):
            if len(self.children) >= CHILDREN_MOST:
                return
            batch = handling.claim(name)
            if batch is not None:
                connections.close_all()
                self._fork(batch)

    def _fork(self, batch: Batch) -> None:
        reads, writes = os.pipe()
        pid = os.fork()
        if pid == 0:
            _be_child(batch, writes)
        os.close(writes)
        self.children[reads] = Child(pid=pid, batch=batch, deadline=_deadline())

    def _look(self) -> None:
        """Wait for a word of somebody; end who takes too long, and give back what the dead have left."""
        wanted = [*self.children, *([] if self.is_orphan else [sys.stdin.fileno()])]
        ready, _, _ = select.select(wanted, [], [], LOOK_SECONDS)
        for one in ready:
            said = os.read(one, 4096)
            if one not in self.children:
                self.is_orphan = not said
            elif said:
                self.children[one].deadline = _deadline()
        for reads, child in list(self.children.items()):
            if time.monotonic() > child.deadline:
                os.kill(child.pid, signal.SIGKILL)
            if os.waitpid(child.pid, os.WNOHANG)[0]:
                self._part_with(reads)

    def _part_with(self, reads: int) -> None:
        from recovery import handling

        os.close(reads)
        handling.let_go(self.children.pop(reads).batch)


def _deadline() -> float:
    from recovery import conf

    return time.monotonic() + conf.current().handler_seconds


def _be_child(batch: Batch, writes: int) -> None:
    """Work off a batch, and end without anything that the parent would do at its end."""
    from recovery import handling
    from recovery.dispatcher import KNOWN

    status = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        handling.work_off(batch, KNOWN[batch.handler].function, begun=lambda: _begin(writes))
        status = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _begin(writes: int) -> None:
    """Tell the attendant that an event is begun; should nobody be left to look, the kernel ends what takes too long."""
    from recovery import handling

    signal.setitimer(signal.ITIMER_REAL, handling.lease_seconds())
    with contextlib.suppress(OSError):
        os.write(writes, b".")


def main() -> None:
    """Load the project and its handlers, and attend."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    line = sys.stdin.buffer.readline()
    if not line:
        return
    description: dict[str, Any] = json.loads(line)

    import django
    from celery.utils.imports import symbol_by_name

    if description["app"]:
        symbol_by_name(description["app"]).set_current()
    django.setup()
    for name in description["modules"]:
        import_module(name)
    Attendant().run()


if __name__ == "__main__":
    main()
