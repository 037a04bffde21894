"""The worker's side of its keeper: a bootstep that makes the board, starts the keeper, and tells it what happens.

The keeper (`keeping.py`) is a process of its own, and not a thread or a fork: a child that holds the interpreter lock
for minutes does not starve it, no database connection is inherited by pool children (an inherited socket keeps an
advisory lock alive after its owner's death), and nothing is forked while threads run. It costs the memory of one
Python with Django. A keeper that dies or is stopped is replaced; the new one holds the lock before two ticks have
passed, so that nothing is taken from the worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import structlog
from celery import bootsteps, signals

from execution import board as boards
from execution import conf, ids, ledger

if TYPE_CHECKING:
    from celery import Celery

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 0.25
_LOST = ("WorkerLostError", "TimeLimitExceeded", "Terminated")


class KeeperStep(bootsteps.StartStopStep):
    """Starts the keeper with its worker. It may be stopped before the pool, so that it lets the keeper outlive it."""

    requires = ("celery.worker.components:Timer", "celery.worker.components:Hub")

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.worker = worker
        self.worker_id = ids.new()
        self.lock_number = secrets.randbelow(2**31 - 1) + 1
        self.board = boards.Board.make(self.worker_id)
        self.process: subprocess.Popen[bytes] | None = None
        self.is_over = False
        self._words: int | None = None
        self._said = ""
        self._stopped_looks = 0
        os.environ[boards.ENVIRONMENT] = str(self.board.path)

    def start(self, worker: Any) -> None:
        """Start the keeper and the report to it."""
        self._launch()
        signals.worker_shutting_down.connect(self._drain, weak=False)
        signals.worker_shutdown.connect(self._over, weak=False)
        signals.task_failure.connect(self._look, weak=False)
        self._wrap_signals()
        if _is_prefork(worker):
            worker.timer.call_repeatedly(_LOOK_SECONDS, self._report)
        else:
            threading.Thread(target=self._report_always, name="celeriac-report", daemon=True).start()

    def stop(self, worker: Any) -> None:
        """Begin to drain; the keeper stays until the process ends, because the pool may still perform."""
        self._drain()

    def terminate(self, worker: Any) -> None:
        """Begin to drain, as for a warm shutdown."""
        self._drain()

    def _over(self, *_: Any, **__: Any) -> None:
        """The worker has stopped: let the keeper go too, if nothing is performed any more."""
        if self.is_over or self.board.performed():
            return
        self.is_over = True
        self._tell("bye")
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=2)

    def _launch(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        if self._words is not None:
            os.close(self._words)
        listens, self._words = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "execution.keeper", self.worker.hostname], stdin=listens, env=environment
        )
        os.close(listens)
        os.write(self._words, json.dumps(self._description(), default=str).encode() + b"\n")
        # A word is one small write: a signal handler may interrupt another, and a stopped keeper must not hold us.
        os.set_blocking(self._words, False)
        self._said, self._stopped_looks = "", 0
        self._report()

    def _description(self) -> dict[str, Any]:
        """Return what the keeper needs; by its standard input, because a command line is for all to read."""
        worker = self.worker
        return {
            "worker": str(self.worker_id),
            "hostname": worker.hostname,
            "pid": os.getpid(),
            "board": str(self.board.path),
            "app": app_path(worker.app),
            "include": list(worker.app.conf.include),
            "pool": _pool_name(worker),
            "queues": sorted(worker.app.amqp.queues.consume_from),
            "slots": _slot_count(worker),
            "lock_number": self.lock_number,
            "uses_lock": conf.current().session_locks,
            "may_recycle": threading.current_thread() is threading.main_thread(),
            "is_scaled": bool(getattr(worker, "autoscale", None)),
            "database": ledger.address("celeriac-keeper"),
        }

    def _report_always(self) -> None:
        while not self.is_over:
            with contextlib.suppress(Exception):
                self._report()
            time.sleep(_LOOK_SECONDS)

    def _report(self) -> None:
        """Tell the keeper how many slots there are and are free; replace a keeper that has died or is stopped."""
        if self.is_over or self.process is None:
            return
        if self.process.poll() is not None:
            log.warning("keeper.died", code=self.process.returncode)
            self._launch()
            return
        self._stopped_looks = self._stopped_looks + 1 if boards.is_stopped(self.process.pid) else 0
        if self._stopped_looks * _LOOK_SECONDS > 2:
            log.warning("keeper.stopped")
            self.process.kill()
            return
        from celery.worker import state

        slots = _slot_count(self.worker)
        line = f"slots {slots} {max(0, slots - len(state.reserved_requests))}"
        if line != self._said:
            self._said = line
            self._tell(line)

    def _drain(self, *_: Any, **__: Any) -> None:
        self.board.drain()
        self._tell("drain")

    def _look(self, *_: Any, exception: BaseException | None = None, **__: Any) -> None:
        """A pool child died: let the keeper give back at once what it performed."""
        if type(exception).__name__ in _LOST:
            self._tell("look")

    def _tell(self, line: str) -> None:
        if self._words is not None:
            with contextlib.suppress(OSError):
                os.write(self._words, f"{line}\n".encode())

    def _wrap_signals(self) -> None:
        """Set the drain flag the moment a shutdown signal arrives, before Celery's own handler."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            before = signal.getsignal(number)
            if callable(before):
                signal.signal(number, self._drained_before(before))

    def _drained_before(self, before: Any) -> Any:
        pid = os.getpid()

        def handler(number: int, frame: Any) -> None:
            if os.getpid() == pid:
                self._drain()
            before(number, frame)

        return handler


def _is_prefork(worker: Any) -> bool:
    return "prefork" in _pool_name(worker)


def _pool_name(worker: Any) -> str:
    pool = worker.pool_cls
    return str(getattr(pool, "__module__", pool)).rpartition(".")[2]


def _slot_count(worker: Any) -> int:
    pool = getattr(worker, "pool", None)
    with contextlib.suppress(Exception):
        if pool is not None and pool.num_processes:
            return int(pool.num_processes)
    return int(worker.concurrency or 1)


def app_path(app: Celery) -> str:
    """Return where a Celery app can be imported from, as `module:attribute`."""
    given = conf.current().app
    if given:
        return given
    for name, module in list(sys.modules.items()):
        if name == "__main__" or name.startswith("celery."):
            continue
        for attribute, value in list(vars(module).items()) if hasattr(module, "__dict__") else []:
            if value is app:
                return f"{name}:{attribute}"
    return ""
