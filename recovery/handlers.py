"""The handlers that make the loop event-driven: each sends a cycle's task now, that beat would send a little later.

They coalesce, so that a thousand failures are one nudge, and a cycle that has just run does not run again. Nothing
rests on them: a nudge that is lost, or a handler that is switched off, delays the loop until beat's next tick.
"""

from __future__ import annotations

from celery import current_app

from execution.schedule import QUEUE
from recovery.dispatcher import Happened, on

EXPIRES_SECONDS = 10


@on("step.failed", "run.failed", "step.parked", name="recovery.nudge_intake", coalesce=True)
def nudge_intake(_: Happened) -> None:
    """Something failed: take it in."""
    nudge("recovery.take_in_failures")


@on("candidate.opened", name="recovery.nudge_stream", coalesce=True)
def nudge_stream(_: Happened) -> None:
    """A candidate waits: evaluate it."""
    nudge("recovery.work_stream")


@on("run.completed", "run.failed", "run.cancelled", name="recovery.nudge_measuring", coalesce=True)
def nudge_measuring(_: Happened) -> None:
    """A run ended: see whether a recovery has worked."""
    nudge("recovery.measure_outcomes")


def nudge(task: str) -> None:
    """Send a cycle's task now; one that nobody takes soon is no use any more."""
    current_app.send_task(task, queue=QUEUE, expires=EXPIRES_SECONDS, ignore_result=True, retry=False)
