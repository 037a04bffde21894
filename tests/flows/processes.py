"""Other processes that a flow needs: beats, and a cable to PostgreSQL that can be cut."""

import os
import signal
import subprocess
import sys

import psutil

from config import substrate
from config.substrate.addresses import POSTGRES_PORT
from tests.conftest import REPOSITORY, wait_until
from tests.workers import test_environment


class Process:
    """One process and its group; it dies with its test."""

    def __init__(self, command, *, log):
        self.log_path = log
        with log.open("ab") as output:
            self.process = psutil.Popen(
                [sys.executable, "-m", *command],
                cwd=REPOSITORY,
                env=os.environ | test_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def freeze(self):
        """Stop it in mid-instruction."""
        self._signal(signal.SIGSTOP)

    def wake(self):
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self):
        """End it at once."""
        self._signal(signal.SIGKILL)
        self.process.wait(10)

    def _signal(self, number):
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)


def start_beat(folder, number):
    """Start a beat."""
    return Process(
        ("celery", "-A", "config", "beat", "-l", "INFO", "--pidfile=", "--max-interval=1"),
        log=folder / f"beat-{number}.log",
    )


def start_cable(folder):
    """Lay a cable to PostgreSQL; a client reaches it by this folder as its host."""
    folder.mkdir(mode=0o700)
    name = f".s.PGSQL.{POSTGRES_PORT}"
    target = substrate.addresses().postgres_socket_folder / name
    cable = Process(("tests.flows.proxy", str(folder / name), str(target)), log=folder / "cable.log")
    wait_until((folder / name).exists)
    return cable


def crash_postgres():
    """Shut PostgreSQL down as a power cut would, and start it again; it recovers from its log."""
    server = next(one for one in substrate.status() if one.name == "PostgreSQL")
    os.kill(server.pid, signal.SIGQUIT)
    wait_until(lambda: not psutil.pid_exists(server.pid), timeout=30)
    substrate.ensure()
