"""What the demo sees: the ledger's rows, and the skill's own note of each beginning."""

import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from config.demo import skills
from execution import ledger
from execution.models import Checkpoint, Run, Step, Worker

PATIENCE_SECONDS = 60.0

Found = TypeVar("Found")


def until(condition: Callable[[], Found], what: str) -> Found:
    """Look until the condition holds; raises RuntimeError where it does not in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"Waited {PATIENCE_SECONDS:.0f} s in vain until {what}.")
        time.sleep(0.03)
    return found


def is_database_older_than(seconds: float) -> bool:
    """Tell whether the database was started longer ago than this."""
    sql = "SELECT pg_postmaster_start_time() < clock_timestamp() - make_interval(secs => %s) AS v"
    return bool(ledger.ask(sql, [seconds])[0].v)


def beginnings() -> Counter[int]:
    """Return how often each chapter was begun."""
    return Counter(int(line) for line in skills.begun().read_text().split())


def chapter() -> int:
    """Return the chapter that was begun last."""
    return max(beginnings(), default=0)


def recorded_count(run_id: uuid.UUID) -> int:
    """Return how many chapters are recorded."""
    return Checkpoint.objects.filter(step__run_id=run_id, kind="once").count()


def last_checkpoint(run_id: uuid.UUID) -> str:
    """Return the token of the newest record."""
    return Checkpoint.objects.filter(step__run_id=run_id, kind="once").latest("position").token


def is_completed(run_id: uuid.UUID) -> bool:
    """Tell whether the run has completed."""
    return Run.objects.filter(pk=run_id, state="completed").exists()


def epoch(run_id: uuid.UUID) -> int:
    """Return the epoch of the run's step."""
    return Step.objects.values_list("epoch", flat=True).get(run_id=run_id)


def performer(run_id: uuid.UUID) -> str:
    """Return the name of the worker that holds the step; empty while nobody does."""
    worker_id = Step.objects.values_list("worker_id", flat=True).get(run_id=run_id)
    return name_of(worker_id) if worker_id else ""


def name_of(worker_id: uuid.UUID) -> str:
    """Return a worker's name without its host."""
    hostname = Worker.objects.filter(pk=worker_id).values_list("hostname", flat=True).first() or ""
    return hostname.partition("@")[0]
