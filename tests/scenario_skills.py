"""Skills for the stories that real workers play."""

from __future__ import annotations

import os
import time
from pathlib import Path

from execution.skills import skill


@skill("scenario.publish")
def publish(ctx, log: str, policy: str = "ask") -> str:
    """Post a line, slowly the first time, so that it can be killed between intent and receipt."""
    return ctx.effect("post", _post, log, on_unknown=policy)


def _post(log, idempotency_key):
    path = Path(log)
    is_first = not path.exists()
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")
    if is_first:
        time.sleep(60)
    return idempotency_key


@skill("scenario.research")
def research(ctx, pages: int, gate: str) -> dict:
    """Read pages, ask for an approval, and call a child for the summary."""
    for page in ctx.each("page", range(pages)):
        ctx.append("notes", {"page": page, "by": os.getpid()})
        ctx.spend("page", cost="0.01", tokens=10)
        while page == pages // 2 and not Path(gate).exists():
            ctx.save("waiting at the gate", page, throttle=3600)
            time.sleep(0.02)
    approval = ctx.wait_for("approval", timeout="1h")
    return {
        "notes": len(ctx.items("notes")),
        "approval": approval,
        "summary": ctx.call("scenario.summary", pages=pages),
    }


@skill("scenario.summary")
def summary(ctx, pages: int) -> str:
    """Summarise, after a nap."""
    ctx.sleep("nap", seconds=0.1)
    return f"{pages} pages"
