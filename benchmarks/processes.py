"""Starts the worker processes of a contender and ends exactly those, by pid.

They stay in the contender's process group, so that the harness can sweep up behind a contender that it had to kill.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path


def _environment() -> dict[str, str]:
    paths = [str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@contextlib.contextmanager
def running(*commands: Sequence[str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run each command with this Python (`-m module ...`) while the block lasts; show their output if it fails."""
    with tempfile.TemporaryFile() as output:
        workers = [_start(command, output.fileno()) for command in commands]
        try:
            yield workers
        except BaseException:
            output.seek(0)
            sys.stderr.write(output.read().decode(errors="replace")[-8000:])
            raise
        finally:
            stop(workers)


def _start(command: Sequence[str], output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *command],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )


def stop(workers: Sequence[subprocess.Popen[bytes]], *, grace_seconds: float = 5.0) -> None:
    """End the workers: SIGTERM to each, then SIGKILL to any that is left."""
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    for worker in workers:
        try:
            worker.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
