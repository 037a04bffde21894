"""Skills that are cut off at the worst moments. What they do to the world they note in files, outside the ledger."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from celery import shared_task

from execution.cycles import Cycle
from execution.exceptions import Fenced
from execution.skills import skill


def note(folder, name):
    """Note that something was done to the world."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with (Path(folder) / name).open("a") as notes:
        notes.write(f"{os.getpid()}\n")


def noted(folder, name):
    """Return how often something was done to the world."""
    path = Path(folder) / name
    return len(path.read_text().splitlines()) if path.exists() else 0


def die_once(folder, name):
    """Kill this process, the first time that this place is reached."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (Path(folder) / f"died-{name}").touch(exist_ok=False)
        os.kill(os.getpid(), signal.SIGKILL)


@skill("flows.add", retries=0, breaker="")
def add(ctx, left: int, right: int = 1) -> int:
    """Add two numbers."""
    return left + right


@skill("flows.everything", retries=0, breaker="")
def everything(ctx, folder: str) -> list:
    """Use every verb that writes."""
    first = ctx.once("first", lambda: 1)
    for item in ctx.each("item", ["a", "b"]):
        ctx.append("seen", item)
        ctx.spend("paid", cost="0.10")
    ctx.save("place", {"at": "middle"})
    sent = ctx.effect("sent", lambda: note(folder, "sent"), on_unknown="retry")
    ctx.sleep("nap", milliseconds=1)
    return [first, list(ctx.items("seen")), ctx.checkpoint.data, sent]


@skill("flows.long", retries=0, breaker="")
def long(ctx, folder: str, count: int = 400, pause: float = 0.05) -> int:
    """Record a step every now and then, and each attempt's own mark; note a write that was refused."""
    for number in range(count):
        try:
            ctx.once(f"step-{number}", lambda number=number: number)
            time.sleep(pause)
            ctx.append("marks", number, token=f"{number} by {ctx.attempt}")
        except Fenced:
            note(folder, "refused")
            raise
        if (Path(folder) / "enough").exists():
            return number
    return count


@skill("flows.item", retries=0, breaker="")
def item(ctx, folder: str, number: int) -> int:
    """Change the world for one item of a job, at a price."""
    note(folder, f"item-{number}")
    ctx.spend("change", cost="0.01")
    time.sleep(0.02)
    return number


@skill("flows.nap", retries=0, breaker="", capability="nap", reserve={"cost": "0.10"}, autonomy="advisor")
def nap(ctx, seconds: float = 1.0) -> str:
    """Sleep between two claims."""
    ctx.sleep("nap", seconds=seconds)
    return "rested"


@skill("flows.dies_recording", retries=0, breaker="")
def dies_recording(ctx, folder: str) -> list:
    """Die between doing and recording, in a once and in an iteration."""
    ctx.once("before", note, folder, "before")
    ctx.once("cut", _do_and_die, folder, "cut")
    for item in ctx.each("item", ["a", "b", "c"]):
        note(folder, f"item-{item}")
        ctx.append("seen", item)
        if item == "b":
            die_once(folder, "iteration")
    return list(ctx.items("seen"))


@skill("flows.plans", retries=0, breaker="")
def plans(ctx, folder: str) -> list:
    """Recall before the work and after it, remember in between, and die once."""
    before = [one.value for one in ctx.memory.recall("deployment plan")]
    ctx.memory.remember(f"the deployment of {folder}", key=folder)
    die_once(folder, "planning")
    return [before, len(ctx.memory.recall("deployment", token="again"))]


def _do_and_die(folder, name):
    note(folder, name)
    die_once(folder, name)


@skill("flows.dies_sending", retries=0, breaker="")
def dies_sending(ctx, folder: str, policy: str) -> str:
    """Die between an effect's intent and its receipt."""

    def send(idempotency_key):
        note(folder, f"key-{idempotency_key}".replace(":", "-"))
        note(folder, "sent")
        die_once(folder, "sending")
        return "sent by us"

    return ctx.effect("letter", send, on_unknown=policy)


CYCLE = Cycle(
    name="flows.cycle", period=timedelta(seconds=1), step=lambda state: state.update(n=state.get("n", 0) + 1) or 1
)


@shared_task(name="flows.cycle", ignore_result=True)
def cycle():
    """Do one tick."""
    CYCLE.run()
