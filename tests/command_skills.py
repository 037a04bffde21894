"""Skills for the tests of the command line, one for each reason to wait."""

from __future__ import annotations

import time
from pathlib import Path

from execution.skills import skill


@skill("commands.report", timebox="6h")
def report(ctx, topic: str, pages: int = 2) -> dict:
    """Write a report, page by page.

    It spends a little on each page.
    """
    ctx.once("collect", topic.upper)
    for page in range(pages):
        ctx.once(f"page-{page}", lambda page=page: {"page": page})
    ctx.spend("pages", cost="0.25", tokens=100)
    return {"topic": topic, "pages": pages}


@skill("commands.ask")
def ask(ctx, timeout: str | None = None) -> str:
    """Wait for an approval."""
    ctx.once("before", lambda: 1)
    return ctx.wait_for("approval", timeout=timeout)


@skill("commands.nap")
def nap(ctx, hours: float = 1) -> None:
    """Sleep."""
    ctx.sleep("nap", hours=hours)


@skill("commands.parent")
def parent(ctx) -> str:
    """Wait for a child that waits."""
    return ctx.call("commands.ask")


@skill("commands.flaky", retries=3, retry_base=3600, retry_cap=3600)
def flaky(ctx) -> None:
    """Fail in a way that is worth another try."""
    raise ConnectionError("the line is dead")


@skill("commands.broken", retries=0)
def broken(ctx, fix: str = "") -> str:
    """Fail for good, unless the file named in `fix` is there."""
    ctx.once("before", lambda: 1)
    if not fix or not Path(fix).exists():
        raise ValueError("this cannot work")
    return "mended"


@skill("commands.costly", reserve={"cost": "1.00"})
def costly(ctx, pieces: int = 3) -> int:
    """Spend a unit of money on each piece."""
    for piece in range(pieces):
        with ctx.reserving(cost="1.00"):
            ctx.spend(f"piece-{piece}", cost="1.00")
    return pieces


@skill("commands.keyed", key="commands-key", key_limit=1)
def keyed(ctx, gate: str) -> None:
    """Hold a concurrency key until the file appears."""
    _until(gate)


@skill("commands.guarded", autonomy="fully_autonomous")
def guarded(ctx) -> str:
    """Do what only a trusted agent may do."""
    return "done"


@skill("commands.locked", capability="web")
def locked(ctx) -> str:
    """Use a capability."""
    return "done"


@skill("commands.publish")
def publish(ctx):
    """Do something outside whose outcome nobody learns."""
    return ctx.effect("post", _lose_the_answer, "the page")


def _lose_the_answer(page):
    raise ConnectionResetError("the answer was lost")


@skill("commands.sign", secret=["pin"])
def sign(ctx, pin: str, api_key: str = "", note: str = "") -> str:
    """Wait, with something in hand that nobody may see."""
    return ctx.wait_for("go")


@skill("commands.slow")
def slow(ctx, gate: str, steps: int = 1) -> int:
    """Record some steps, then work until the file appears."""
    for step in range(steps):
        ctx.once(f"step-{step}", lambda step=step: step)
    while not Path(gate).exists():
        _until(gate, seconds=0.2)
        _ = ctx.cancelled
        ctx.save("alive", None, throttle=3600)
    return steps


def _until(gate, seconds=60):
    deadline = time.monotonic() + seconds
    while not Path(gate).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
