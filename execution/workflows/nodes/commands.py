"""Commands: programs run with a time-out, in a group of their own, so that what they started ends with them."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_MOST_BYTES = 16 * 1024 * 1024
_EVERY_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a command ended, and the last of what it said."""

    returncode: int | None
    output: str
    errors: str
    seconds: float
    timed_out: bool = False
    missing: bool = False

    @property
    def ok(self) -> bool:
        """Whether it came to its own end, without an error."""
        return self.returncode == 0

    def tail(self, most: int = 4000) -> str:
        """Return the end of what it said, its errors last."""
        return f"{self.output}\n{self.errors}".strip()[-most:]


def run(
    command: list[str], *, cwd: Path, timeout_seconds: float, should_stop: Callable[[], bool] = lambda: False
) -> Ending:
    """Run a program to its end; kill it and what it started when its time is up or the run is cancelled."""
    begun = time.monotonic()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                preexec_fn=_end_with_the_worker,  # noqa: PLW1509 - it calls one function of the kernel and nothing else
                env=_environment(),
            )
        except (FileNotFoundError, PermissionError) as error:
            return Ending(returncode=None, output="", errors=str(error), seconds=0.0, missing=True)
        timed_out = _waited(process, begun + timeout_seconds, should_stop)
        return Ending(
            returncode=None if timed_out else process.returncode,
            output=_last(output),
            errors=_last(errors),
            seconds=round(time.monotonic() - begun, 3),
            timed_out=timed_out,
        )


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _end_with_the_worker() -> None:
    """Have the kernel kill the program when who waits for it dies: nobody would ever look at what it does."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def python_tool(name: str) -> list[str] | None:
    """Return how a tool of this interpreter is called, or nothing where it is not installed."""
    return [sys.executable, "-m", name] if importlib.util.find_spec(name) else None


def _environment() -> dict[str, str]:
    """Return the worker's environment without its own Django settings: the tree that is worked on has others."""
    kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return kept | {"PYTHONDONTWRITEBYTECODE": "1"}


def _waited(process: subprocess.Popen[bytes], deadline: float, should_stop: Callable[[], bool]) -> bool:
    try:
        while time.monotonic() < deadline and not should_stop():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_EVERY_SECONDS)
                return False
        return True
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _MOST_BYTES))
    return file.read().decode(errors="replace")
