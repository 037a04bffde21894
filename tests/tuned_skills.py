"""Skills with which the tests see what is tuned."""

from __future__ import annotations

import time
from pathlib import Path

from execution import tunables
from execution.skills import skill


@skill("tuned.watch", retries=0, breaker="")
def watch(ctx, name: str, value: float, gate: str) -> float:
    """Look at a tunable until it has a value; return when that was seen, by the clock that all processes share."""
    Path(gate).touch()
    while tunables.value(name, "tuned.watch") != value:
        time.sleep(0.005)
    return time.monotonic()


@skill("tuned.fail", retries=1, breaker="")
def fail(ctx) -> None:
    """Fail in a way that is tried again."""
    raise ConnectionError("not now")


@skill("tuned.hold", retries=0, breaker="", key="tuned", key_limit=1)
def hold(ctx, gate: str) -> str:
    """Hold the key until a file is there."""
    while not Path(gate).exists():
        time.sleep(0.01)
    return "held"


@skill("tuned.own", retries=0, breaker="", lease="45s", retry_base="7s")
def own(ctx, gate: str) -> str:
    """Perform under a lease of its own until a file is there."""
    while not Path(gate).exists():
        time.sleep(0.01)
    return "done"
