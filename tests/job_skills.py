"""Skills for the items of jobs; what they do to the world they note in files, outside the ledger."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from celery import shared_task

from execution import jobs, ledger
from execution.models import Step
from execution.skills import SkillTask, skill
from tests.flows.skills import note


@skill("jobs.double", retries=0)
def double(number: int) -> int:
    """Double a number."""
    return number * 2


@skill("jobs.mark", retries=0)
def mark(ctx, folder: str, number: int, pause: float = 0.0) -> int:
    """Note in the world that an item was performed."""
    time.sleep(pause)
    note(folder, str(number))
    return number


class BusyError(ConnectionError):
    """A server that says when to come back."""

    retry_after = 60


@skill("jobs.flaky", retries=3)
def flaky(ctx, number: int) -> int:
    """Fail at the first try of every third item, and for good where the number is below nothing."""
    if number < 0:
        raise ValueError(f"{number} is below nothing")
    if number % 3 == 0 and ctx.retries == 0:
        raise BusyError("come back in a minute")
    return number


@skill("jobs.paid", retries=0, reserve={"cost": "0.10"})
def paid(ctx, number: int) -> int:
    """Spend what is reserved."""
    ctx.spend("call", cost="0.10", tokens=7)
    return number


@skill("jobs.wait", retries=0)
def wait(folder: str, number: int) -> int:
    """Be held up at number 1 until the world says go."""
    if number == 1:
        deadline = time.monotonic() + 30
        while not (Path(folder) / "go").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    return number


@skill("jobs.deadly", retries=0)
def deadly(folder: str, number: int) -> int:
    """Kill this process at number 7."""
    note(folder, str(number))
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@skill("jobs.sleepy")
def sleepy(ctx, number: int) -> int:
    """Ask for what an item has not."""
    ctx.sleep("nap", seconds=number)
    return number


@skill("jobs.limited", rate="10/s", key="jobs.limited")
def limited(number: int) -> int:
    """Have a rate."""
    return number


@shared_task(name="jobs.plain", base=SkillTask, bind=True)
def plain(self, number: int) -> int:
    """Be a Celery task."""
    return number


@skill("jobs.echo", retries=0)
def echo(text: str) -> str:
    """Give back what was given."""
    return text


@skill("jobs.falls", retries=0, fallback="jobs.double")
def falls(number: int) -> int:
    """Leave it to the fallback."""
    raise ValueError(number)


@skill("jobs.pauses", retries=0)
def pauses(number: int, job: str = "") -> int:
    """Pause a job from within, where it is named."""
    if job:
        jobs.pause(job)
        time.sleep(0.3)
    return number


@skill("jobs.reserves", retries=0)
def reserves(ctx, number: int) -> int:
    """Reserve before it spends."""
    with ctx.reserving(cost="0.30"):
        ctx.spend("call", cost="0.30")
    return number


@skill("jobs.loses", retries=0)
def loses(ctx, number: int) -> int:
    """Spend, and lose its lane's claim to the sweep at number 3."""
    ctx.spend("call", cost="0.10")
    if number == 3:
        step = Step.objects.get(pk=ctx.step_id)
        ledger.give_back(step.id, step.epoch, ending="lost", reason="its lease ran out")
    return number
