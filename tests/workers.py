"""Real Celery workers for tests, with the verbs that a story needs: start, kill, freeze, wake, stop, kill a child.

Each worker leads a process group of its own. Only processes that were started here are ever signalled, and only while
they are still the ones that were started.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import psutil
from django.db import connection

from config import substrate

REPOSITORY = Path(__file__).resolve().parent.parent
READY = " ready."
DEFAULT_SKILLS = "tests.skills"


class WorkerFailedError(AssertionError):
    """A worker did not do as told; the message holds the end of its log."""


class Worker:
    """One `celery -A config worker` and its pool."""

    def __init__(
        self,
        name: str,
        *,
        logs: Path,
        queues: str = "default",
        concurrency: int = 2,
        pool: str = "prefork",
        skills: str | None = None,
        options: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        """Describe the worker; `start` starts it. `skills` names modules to import, separated by commas."""
        logs.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log_path = logs / f"{name}.log"
        self.environment = environment or {}
        self.process: psutil.Popen | None = None
        skills = os.environ.get("CELERIAC_TEST_SKILLS", DEFAULT_SKILLS) if skills is None else skills
        self.command = [
            *(sys.executable, "-m", "celery", "-A", "config", "worker"),
            *(f"--hostname={name}@%h", f"--queues={queues}", f"--concurrency={concurrency}", f"--pool={pool}"),
            *("--loglevel=INFO", "--task-events", "--without-mingle", "--without-gossip"),
            *(("-I", skills) if skills else ()),
            *options,
        ]

    @property
    def pid(self) -> int:
        """The main process."""
        if self.process is None:
            raise WorkerFailedError(f"{self.name} was not started")
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the main process lives."""
        return self.process is not None and self.process.poll() is None

    @property
    def children(self) -> list[psutil.Process]:
        """The processes below the main one."""
        return psutil.Process(self.pid).children(recursive=True) if self.is_alive else []

    def start(self, *, wait: bool = True, timeout: float = 60) -> "Worker":
        """Start the worker, and wait until it takes messages."""
        with self.log_path.open("ab") as log:
            self.process = psutil.Popen(
                self.command,
                cwd=REPOSITORY,
                env=os.environ | test_environment() | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self._wait_for(READY, timeout=timeout)
        return self

    def kill(self) -> None:
        """Kill the main process and its pool at once, as an out-of-memory killer or a power cut would."""
        self._signal_group(signal.SIGKILL)
        self._reap()

    def kill_main(self) -> None:
        """Kill only the main process; what becomes of its pool is the platform's business."""
        if self.is_alive:
            os.kill(self.pid, signal.SIGKILL)
        self._reap()

    def kill_child(self, pid: int | None = None) -> int:
        """Kill one pool child, the first one unless named, and return its process id."""
        children = self.pool_children()
        victim = next((child for child in children if pid in {None, child.pid}), None)
        if victim is None:
            raise WorkerFailedError(f"{self.name} has no pool child {pid or ''}: {children}")
        victim.kill()
        return victim.pid

    def pool_children(self) -> list[psutil.Process]:
        """Return the prefork pool's processes: forked, so their command line is their parent's."""
        parent = psutil.Process(self.pid)
        marks = parent.cmdline(), "ForkPoolWorker"
        return [
            child
            for child in parent.children()
            if (line := _command_line(child)) == marks[0] or marks[1] in " ".join(line)
        ]

    def freeze(self) -> None:
        """Stop every process of the worker in mid-instruction."""
        self._signal_group(signal.SIGSTOP)

    def wake(self) -> None:
        """Let a frozen worker go on."""
        self._signal_group(signal.SIGCONT)

    def stop(self, *, timeout: float = 60) -> int:
        """Ask for a warm shutdown of the main process, wait for it, and return its status."""
        if self.is_alive:
            os.kill(self.pid, signal.SIGTERM)
        try:
            return int(self.process.wait(timeout)) if self.process else 0
        except psutil.TimeoutExpired:
            raise WorkerFailedError(f"{self.name} did not stop within {timeout} s:\n{self._log_end()}") from None

    def log(self) -> str:
        """Return all that the worker has said."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def _signal_group(self, number: signal.Signals) -> None:
        """Signal the whole group: its leader has not been waited for, so the number cannot have been given away."""
        if self.process is not None and self.process.returncode is None:
            os.killpg(self.process.pid, number)

    def _reap(self) -> None:
        if self.process is not None:
            self.process.wait(10)

    def _wait_for(self, text: str, *, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while text not in self.log():
            if not self.is_alive:
                raise WorkerFailedError(f"{self.name} ended at its start:\n{self._log_end()}")
            if time.monotonic() > deadline:
                raise WorkerFailedError(f"{self.name} did not say {text!r} within {timeout} s:\n{self._log_end()}")
            time.sleep(0.05)

    def _log_end(self) -> str:
        return "\n".join(self.log().splitlines()[-40:])


class Workers:
    """The workers of one test."""

    everyone: ClassVar[list[Worker]] = []

    def __init__(self, *, logs: Path) -> None:
        """Keep the workers' logs in this folder."""
        self.logs = logs
        self.crew: list[Worker] = []

    def __call__(self, name: str | None = None, **options: object) -> Worker:
        """Start a worker and return it; the options are those of `Worker`."""
        return self.make(name, **options).start()

    def make(self, name: str | None = None, **options: object) -> Worker:
        """Describe a worker without starting it."""
        worker = Worker(name or f"w{len(self.crew) + 1}", logs=self.logs, **options)  # type: ignore[arg-type]
        self.crew.append(worker)
        self.everyone.append(worker)
        return worker

    def start_all(self, count: int, **options: object) -> list[Worker]:
        """Start several workers side by side, and wait for all of them."""
        crew = [self.make(**options).start(wait=False) for _ in range(count)]
        for worker in crew:
            worker._wait_for(READY, timeout=60)
        return crew

    def kill_all(self) -> None:
        """Kill what is left of this test's workers."""
        for worker in self.crew:
            worker.kill()
            self.everyone.remove(worker)
        self.crew.clear()

    @classmethod
    def kill_leftovers(cls) -> None:
        """Kill what is left of any test's workers."""
        for worker in cls.everyone:
            worker.kill()
        cls.everyone.clear()


def test_environment() -> dict[str, str]:
    """Return the environment that puts another process on this test's database and broker."""
    addresses = substrate.addresses()
    return {
        "DATABASE_URL": database_url(connection.settings_dict),
        "REDIS_URL": addresses.redis_url,
        "CELERY_BROKER_URL": addresses.broker_url,
        "CELERIAC_HOME": str(addresses.home),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "default",
    }


test_environment.__test__ = False  # type: ignore[attr-defined]


def database_url(settings: dict[str, object]) -> str:
    """Write Django's database setting as a DATABASE_URL."""
    user, password = quote(str(settings["USER"]), safe=""), quote(str(settings["PASSWORD"]), safe="")
    host = quote(str(settings["HOST"]), safe="")
    port = f":{settings['PORT']}" if settings["PORT"] else ""
    account = f"{user}:{password}@" if password else f"{user}@"
    return f"postgres://{account}{host}{port}/{settings['NAME']}"


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
