"""The demo's processes: started, killed, frozen, woken and ended, each with a group of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from config.substrate.addresses import REPOSITORY

GRACE_SECONDS = 10.0
START_SECONDS = 60.0


class Member:
    """One Celery process with its children; nobody else's process is ever signalled."""

    def __init__(self, name: str, arguments: tuple[str, ...], *, log: Path) -> None:
        self.name, self.arguments, self.log_path = name, arguments, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process in a session of its own, so that Ctrl-C reaches the demo alone."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "config", *self.arguments],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "LOG_FORMAT": "json"},
                start_new_session=True,
            )

    def wait_for(self, text: str, *, seconds: float = START_SECONDS) -> str:
        """Wait until the process has said something, and return the line; raises RuntimeError where it does not."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = next((line for line in self.log().splitlines() if text in line), None)
            if found is not None:
                return found
            if self.process is not None and self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with status {self.process.returncode}:\n{self._last_words()}")
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} did not say {text!r} within {seconds:.0f} s:\n{self._last_words()}")

    def log(self) -> str:
        """Return all that the process has said."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def kill(self) -> None:
        """Kill the process, its pool and its keeper at once, as a power cut would."""
        self._signal_group(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(GRACE_SECONDS)

    def freeze(self) -> None:
        """Stop every process of the group in mid-instruction."""
        self._signal_group(signal.SIGSTOP)

    def wake(self) -> None:
        """Let a frozen group go on."""
        self._signal_group(signal.SIGCONT)

    def ask_to_end(self) -> None:
        """Ask for a warm shutdown; a frozen process is woken to hear it."""
        if self.process is not None and self.process.poll() is None:
            self.wake()
            self.process.terminate()

    def end(self) -> None:
        """Wait for the end, and enforce it on whatever is left of the group."""
        if self.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE_SECONDS)
        self._signal_group(signal.SIGKILL)
        self.process.wait(GRACE_SECONDS)

    def _signal_group(self, number: signal.Signals) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)

    def _last_words(self) -> str:
        return "\n".join(self.log().splitlines()[-15:])
