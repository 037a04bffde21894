"""Counts finished jobs across processes without touching the servers under test.

Every contender's job, ours included, has the same body: one byte appended to a file, a few microseconds. The size of
the file is the count, so the clock can watch it as often as it likes at no cost to PostgreSQL or Redis.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Self

VARIABLE = "BENCH_TALLY"


class TooSlowError(RuntimeError):
    """The load did not end within its limit."""

    def __init__(self, counted: int, expected: int, seconds: float) -> None:
        super().__init__(f"{counted} of {expected} jobs ended within {seconds:.0f} s; raise --seconds or lower --count")


_descriptors: dict[int, int] = {}


def add() -> None:
    """Count one job as done, in whichever process performs it."""
    pid = os.getpid()
    if pid not in _descriptors:
        _descriptors[pid] = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND)
    os.write(_descriptors[pid], b".")


class Tally:
    """The count as the clock sees it."""

    def __init__(self) -> None:
        descriptor, name = tempfile.mkstemp(prefix="celeriac-bench-tally-")
        os.close(descriptor)
        self.path = Path(name)
        os.environ[VARIABLE] = name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)

    def count(self) -> int:
        """Return how many jobs have ended so far."""
        return self.path.stat().st_size

    def wait_for(self, expected: int, *, seconds: float) -> None:
        """Return when the count has reached `expected`; raise `TooSlowError` after `seconds`."""
        deadline = time.monotonic() + seconds
        while (counted := self.count()) < expected:
            if time.monotonic() > deadline:
                raise TooSlowError(counted, expected, seconds)
            time.sleep(0.002)
