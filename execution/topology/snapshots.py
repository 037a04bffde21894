"""Snapshots: the topology of a moment with its digest, kept as an assessment wherever the shape has changed.

One cycle keeps it up to date: each minute it folds what was seen, and once a day, or when a definition has changed,
it takes a snapshot. Two snapshots of the same shape are one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from execution import records
from execution.cycles import Cycle
from execution.models import Assessment, AssessmentKind
from execution.topology import observed
from execution.topology.graph import build, known_definitions
from execution.workflows.spec import Definition

SUBJECT = "topology:all"
_EVERY = timedelta(hours=24)


def take(definitions: Iterable[Definition] | None = None) -> Assessment:
    """Return the snapshot of the topology as it is; a new one only where its shape has changed."""
    document = build(definitions).document()
    last = latest()
    if last is not None and last.data["digest"] == document["digest"]:
        return last
    return records.assess(
        AssessmentKind.DEPENDENCY_GRAPH, subject=SUBJECT, producer="execution.topology", data=document
    )


def latest() -> Assessment | None:
    """Return the newest snapshot."""
    kind = AssessmentKind.DEPENDENCY_GRAPH
    return Assessment.objects.filter(kind=kind, subject=SUBJECT).order_by("-id").first()


def refresh(state: dict[str, Any]) -> int:
    """Fold what was seen, and take a snapshot once a day or when a definition has changed."""
    count = observed.fold()
    definitions = known_definitions()
    versions = hashlib.sha256("".join(one.digest for one in definitions).encode()).hexdigest()
    taken_at = datetime.fromisoformat(state["taken_at"]) if "taken_at" in state else None
    if taken_at is None or state["versions"] != versions or timezone.now() - taken_at >= _EVERY:
        take(definitions)
        state["versions"], state["taken_at"] = versions, timezone.now().isoformat()
        count += 1
    return count


REFRESH = Cycle(name="execution.refresh_topology", period=timedelta(minutes=1), step=refresh, is_atomic=False)
