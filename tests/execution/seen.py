"""Skills for the tests of what can be seen: logs, metrics, traces, Flower."""

from __future__ import annotations

import logging

import structlog

from execution.skills import skill

log = structlog.get_logger("tests.seen")
plain = logging.getLogger("tests.seen.plain")


@skill("seen.talk")
def talk(ctx) -> str:
    """Write one line by each of the ways there are."""
    log.info("structured", password="hunter2", tokens=7)
    plain.warning("plain %s", "words", extra={"api_key": "sk-123456"})
    ctx.log.info("by context")
    return "done"


@skill("seen.spend")
def spend(ctx, cost: str = "0.25", tokens: int = 100) -> str:
    """Charge something."""
    ctx.spend("call", cost=cost, tokens=tokens)
    return cost


@skill("seen.fail", retries=0, breaker="")
def fail(ctx) -> None:
    """Fail for good."""
    raise ValueError("it cannot be done")


@skill("seen.wait")
def wait(ctx, name: str = "answer") -> object:
    """Wait for a signal."""
    return ctx.wait_for(name)


@skill("seen.twice")
def twice(ctx) -> str:
    """Suspend once, so that the run takes two attempts."""
    ctx.sleep("pause", seconds=0.01)
    return "woken"


@skill("seen.quick")
def quick(ctx, number: int = 0) -> int:
    """Do next to nothing."""
    return number


@skill("seen.pay")
def pay(ctx, amount: int = 5) -> object:
    """Do something to the outside that a person decides about when nobody knows its outcome."""
    return ctx.effect("pay", dict, paid=amount)
