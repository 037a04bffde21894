"""Wait for a server as long as its recovery may take, and say so every few seconds."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from config.substrate.errors import tail

POLL_SECONDS = 0.02
PROGRESS_SECONDS = 5.0


def until(is_done: Callable[[], bool], *, what: str, log: Path, timeout_seconds: float) -> bool:
    """Poll until the condition holds; tell whether it did before the deadline."""
    began = time.monotonic()
    told = began
    while not is_done():
        now = time.monotonic()
        if now - began > timeout_seconds:
            return False
        if now - told > PROGRESS_SECONDS:
            told = now
            say(f"{what} ({now - began:.0f} s): {' '.join(tail(log, 1))}")
        time.sleep(POLL_SECONDS)
    return True


def say(message: str) -> None:
    """Tell the person at the terminal, without disturbing standard output."""
    print(f"celeriac: {message}", file=sys.stderr, flush=True)  # noqa: T201 - runs before logging is configured
