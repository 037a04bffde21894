"""What is performed under the hand.

Each step follows a little script drawn from its number, the same on every attempt. Whatever is really done is written
to a file outside the ledger, one line a deed, so that afterwards the ledger's word can be held against what happened.
"""

from __future__ import annotations

import os
import random
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from celery import shared_task

from execution.skills import SkillTask, skill

DEEDS = "CHAOS_DEEDS"
PRICE = Decimal("0.01")
BUDGET = Decimal("0.20")


def deed(kind: str, key: str, mark: str) -> None:
    """Write one line that cannot be torn: what was done, for which key, by whom."""
    line = f"{kind}\t{key}\t{mark}\n".encode()
    handle = os.open(Path(os.environ[DEEDS]), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)


def produce(key: str) -> str:
    """Do a piece of work that has another result each time."""
    mark = os.urandom(8).hex()
    time.sleep(random.random() * 0.03)
    deed("once", key, mark)
    return mark


def act(key: str, idempotency_key: str) -> str:
    """Do something to the outside world."""
    mark = os.urandom(8).hex()
    deed("effect", key, mark)
    time.sleep(random.random() * 0.02)
    return mark


def script(number: int, seed: int) -> list[str]:
    """Return what a step of this number does, in order."""
    draw = random.Random(f"{seed}:{number}")
    verbs = ["once", "once", "once", "spend", "append", "effect-ask", "effect-retry", "sleep", "signal", "save"]
    return ["once", *draw.choices(verbs, weights=[6, 6, 6, 4, 3, 2, 2, 1, 1, 3], k=draw.randint(2, 7))]


@skill("chaos.work", retries=20, retry_base=0.1, retry_cap=1, reserve={"cost": "0.01"}, breaker="", on_failure="halt")
def work(ctx: Any, number: int, seed: int) -> dict[str, Any]:
    """Follow the script."""
    found: dict[str, Any] = {}
    for place, verb in enumerate(script(number, seed)):
        token, key = f"{verb}-{place}", f"{number}/{place}"
        if verb == "once":
            found[token] = ctx.once(token, produce, key)
        elif verb.startswith("effect"):
            found[token] = ctx.effect(token, act, key, on_unknown=verb.partition("-")[2])
        elif verb == "spend":
            with ctx.reserving(cost=PRICE):
                ctx.spend(token, cost=PRICE)
        elif verb == "append":
            for item in ctx.each(token, ["a", "b", "c"]):
                ctx.append("letters", f"{place}{item}")
        elif verb == "save":
            ctx.save(token, {"place": place})
        elif verb == "sleep":
            ctx.sleep(token, seconds=0.3)
        else:
            found[token] = ctx.wait_for(f"go-{place}")
    found["letters"] = list(ctx.items("letters"))
    return found


@skill("chaos.march", retries=20, retry_base=0.1, retry_cap=1, breaker="", priority=9)
def march(ctx: Any, paces: int) -> int:
    """Save a checkpoint twenty times a second, so that a kill always finds something to take over."""
    start = ctx.checkpoint.data or 0
    for pace in range(start, paces):
        ctx.save("pace", pace)
        time.sleep(0.05)
    return paces


@shared_task(base=SkillTask, bind=True, name="chaos.link")
def link(self: Any, value: Any, number: int) -> int:
    """Be a link of a chain, or the body of a chord."""
    deed("link", f"{number}", self.request.id)
    return number


@shared_task(base=SkillTask, bind=True, name="chaos.part")
def part(self: Any, number: int, index: int) -> int:
    """Be a part of a chord."""
    time.sleep(0.01)
    return index


GRAPH = """
name: chaos-graph
inputs: {number: {type: integer}}
steps:
  list: {skill: chaos.list, with: {number: "${inputs.number}"}}
  entry: {skill: chaos.entry, foreach: "${steps.list}", max_parallel: 3, with: {number: "${inputs.number}", index: "${item}"}}
  never: {skill: chaos.entry, when: "${size(steps.entry) == 0}", with: {number: 0, index: 0}}
  rest: {sleep: 0.2, needs: entry}
  sum: {skill: chaos.sum, needs: [never, rest], with: {values: "${steps.entry}"}}
outputs: {entries: "${steps.entry}", sum: "${steps.sum}", never: "${state(steps.never)}"}
"""


@skill("chaos.list", retries=20, retry_base=0.1, retry_cap=1, breaker="")
def listed(number: int) -> list[int]:
    """Say how many entries a graph has."""
    return list(range(3 + number % 6))


@skill("chaos.entry", retries=20, retry_base=0.1, retry_cap=1, breaker="")
def entry(ctx: Any, number: int, index: int) -> int:
    """Be an entry of a graph's list."""
    ctx.once("work", produce, f"graph-{number}/{index}")
    return number + index


@skill("chaos.sum", retries=20, retry_base=0.1, retry_cap=1, breaker="")
def summed(values: list[int]) -> int:
    """Add up what the entries returned."""
    return sum(values)


ITEMS = 120


@skill("chaos.item", retries=20, retry_base=0.1, retry_cap=1, breaker="")
def item(ctx: Any, number: int) -> int:
    """Be an item of a job; some fail at their first try."""
    deed("item", str(number), ctx.idempotency_key)
    ctx.spend("work", cost=PRICE)
    if number % 7 == 0 and random.random() < 0.3:
        raise ConnectionError("the line is dead")
    time.sleep(0.002)
    return number
