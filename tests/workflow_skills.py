"""Skills for graphs of steps."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from execution import skill


@skill("graphs.give", retries=0, breaker="")
def give(value: Any = None) -> Any:
    """Return what it is given."""
    return value


@skill("graphs.add", retries=0, breaker="")
def add(left: int, right: int = 0) -> int:
    """Add two numbers."""
    return left + right


@skill("graphs.fail", retries=0, breaker="")
def fail(value: Any = None, fix: str = "") -> Any:
    """Fail, unless the file named in `fix` is there."""
    if fix and Path(fix).exists():
        return value
    raise ValueError(f"no luck with {value!r}")


@skill("graphs.spend", retries=0, breaker="", reserve={"cost": "1.00"})
def spend(ctx, cost: str = "0.50") -> str:
    """Spend money."""
    ctx.spend("work", cost=cost)
    return cost


@skill("graphs.note", retries=0, breaker="")
def note(ctx, place: str, value: Any = None, pause: float = 0) -> Any:
    """Write a line to a file each time it is performed, then record a step."""
    time.sleep(pause)
    with Path(place).open("a") as file:
        file.write(f"{ctx.step_id} {value}\n")
    return ctx.once("done", lambda: value)


@skill("graphs.range", retries=0, breaker="")
def numbers(count: int) -> list[int]:
    """Return the numbers below a count."""
    return list(range(count))


@skill("graphs.total", retries=0, breaker="")
def total(values: list[int]) -> int:
    """Add numbers up."""
    return sum(values)
