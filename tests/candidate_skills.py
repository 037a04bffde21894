"""Skills that fail until something outside is put right."""

from __future__ import annotations

from pathlib import Path

from execution.skills import skill


@skill("candidates.flaky", retries=0, breaker_threshold=1000)
def flaky(ctx, gate: str, cost: str = "") -> str:
    """Fail while the gate is not there."""
    if not Path(gate).exists():
        raise ConnectionError(f"the gate {gate} is closed")
    if cost:
        ctx.spend("way", cost=cost)
    return "through"


@skill("candidates.picky", retries=0)
def picky(ctx, number: int) -> int:
    """Take even numbers only."""
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number


@skill("candidates.other", retries=0)
def other(ctx, gate: str = "", cost: str = "", number: int = 0) -> str:
    """Do it another way."""
    return "another way"


@skill("candidates.dear", retries=0, reserve={"cost": "0.10"})
def dear(ctx) -> str:
    """Want more than there is."""
    with ctx.reserving(cost="1.00"):
        ctx.spend("call", cost="1.00")
    return "paid"


@skill("candidates.unguarded", retries=0, breaker="")
def unguarded(ctx) -> None:
    """Fail, with no breaker that could hold it back."""
    raise ValueError("no")
