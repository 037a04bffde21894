"""Skills that fail in the ways that recovery must recognise."""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery.exceptions import Retry

from execution.skills import skill


class ParserError(Exception):
    """An error of the app's own."""


def parse(text: str) -> None:
    """Fail in a frame of the app's, below the skill's."""
    raise ParserError(f"cannot parse {text!r} at {id(text):#x}")


@skill("failing.parse", retries=0, breaker="")
def failing_parse(ctx, text: str = "a") -> None:
    """Fail for good."""
    ctx.spend("look", cost="0.25", tokens=10)
    parse(text)


@skill("failing.transient", retries=2, breaker="")
def failing_transient(ctx) -> None:
    """Fail in a way that is tried again."""
    raise ConnectionError(f"connection to 10.0.0.{os.getpid() % 200}:5432 refused")


@skill("failing.busy", retries=1, breaker="")
def failing_busy(ctx) -> None:
    """Ask to be tried again, as Celery's tasks do."""
    raise Retry("busy", when=3600)


@skill("failing.dies", retries=0, breaker="")
def failing_dies(ctx, gate: str) -> str:
    """Die with its process the first time."""
    mark = Path(gate)
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), 9)
    return "lived"


@skill("failing.hangs", retries=0, breaker="")
def failing_hangs(ctx, gate: str) -> str:
    """Wait until it is killed the first time."""
    mark = Path(gate)
    if not mark.exists():
        mark.touch()
        while True:
            time.sleep(0.05)
    return "lived"


@skill("failing.spends", retries=0, breaker="", reserve={"cost": "0.10"})
def failing_spends(ctx) -> None:
    """Want more than the budget holds."""
    ctx.spend("first", cost="0.10")
    with ctx.reserving(cost="5.00"):
        ctx.spend("second", cost="5.00")


@skill("failing.dear", retries=1, breaker="", reserve={"cost": "0.60"})
def failing_dear(ctx) -> None:
    """Spend more than half of the budget, so that it is never begun a second time."""
    ctx.spend("all", cost="0.60")
    raise ConnectionError("not now")


class Silent(Exception):
    """An error that cannot even be told."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


POISONS = {
    "ten megabytes": lambda: ParserError("x y " * 2_500_000),
    "ten megabytes of lines": lambda: ParserError("\n" * 10_000_000),
    "digits without end": lambda: ParserError("at ::" + "0a" * 50_000 + "_"),
    "NUL": lambda: ParserError("nul \0 and half a character \ud800"),
    "a stack in its words": lambda: ParserError(
        'Traceback (most recent call last):\n  File "/x/y.py", line 1, in z\n' * 5000
    ),
    "a group of thousands": lambda: ExceptionGroup("many", [ValueError(f"no {n}") for n in range(5000)]),
    "a long name": lambda: type("E" * 100_000, (Exception,), {})("named"),
    "a name of NUL": lambda: type("E\0\ud800", (Exception,), {})("named"),
    "no words": Silent,
}


@skill("failing.poisons", retries=0, breaker="")
def failing_poisons(ctx, which: str) -> None:
    """Fail with what nobody should ever say."""
    error = POISONS[which]()
    raise error
