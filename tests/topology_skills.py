"""Skills that call each other and services, for the tests of the topology."""

from __future__ import annotations

from execution.skills import skill


@skill("map.charge", calls=["payments"], retries=0, breaker="")
def charge(ctx, amount: int = 1) -> int:
    """Take money by an effect."""
    return ctx.effect("charge", lambda: amount)


@skill("map.notify", calls=["mail", "mail-archive"], retries=0, breaker="", fallback="map.log")
def notify(ctx) -> None:
    """Call two services by effects that are named after them, and nobody by a third."""
    ctx.effect("mail", lambda: None)
    ctx.effect("mail-archive:copy", lambda: None)
    ctx.effect("other", lambda: None)


@skill("map.log", retries=0, breaker="")
def log(ctx) -> None:
    """Do nothing."""


@skill("map.order", retries=0, breaker="")
def order(ctx) -> int:
    """Call another skill."""
    return ctx.call(charge, {"amount": 3})
