"""Workers as people see them: how each is, and what it performs now."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime

from execution import why
from execution.models import Step, StepState, Worker


def performed(worker_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, list[Step]]:
    """Return the steps that these workers perform now, those that began first at the front."""
    found: dict[uuid.UUID, list[Step]] = {}
    rows = Step.objects.filter(worker_id__in=list(worker_ids), state=StepState.RUNNING)
    for step in rows.defer("input", "output", "canvas", "options").order_by("changed_at"):
        if step.worker_id is not None:
            found.setdefault(step.worker_id, []).append(step)
    return found


def state_of(worker: Worker, now: datetime) -> str:
    """Say how a worker is: alive, draining, silent (its keeper is late), unlocked (its lock was not seen), or gone."""
    if worker.gone_at is not None:
        return "gone"
    if worker.missing_count > 0:
        return "unlocked"
    if now - worker.seen_at > why.SILENT_AFTER:
        return "silent"
    return "draining" if worker.is_draining else "alive"
