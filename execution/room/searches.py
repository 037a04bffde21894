"""What the ledger lets one find: runs by id, key, correlation id, workflow and tag; the rest by id or name."""

from __future__ import annotations

import uuid
from typing import Any

from execution import ids
from execution.doctor.database import rows
from execution.models import Level, Run
from execution.room.finding import MOST, Kind, search

NAMES_MOST = 500

_BY_KEY = """
WITH RECURSIVE known AS (
    (SELECT min(workflow) AS workflow FROM execution_run WHERE key IS NOT NULL)
    UNION ALL
    SELECT (SELECT min(r.workflow) FROM execution_run r WHERE r.key IS NOT NULL AND r.workflow > known.workflow)
    FROM known WHERE known.workflow IS NOT NULL
)
SELECT r.id FROM (SELECT workflow FROM known WHERE workflow IS NOT NULL LIMIT %s) known
JOIN execution_run r ON r.workflow = known.workflow AND r.key = %s LIMIT %s
"""


def by_key(key: str) -> list[uuid.UUID]:
    """Return the runs of an idempotency key: the index begins with the workflow, and is asked once for each."""
    return [row[0] for row in rows(_BY_KEY, [NAMES_MOST, key, MOST])]


def by_celery_id(term: str) -> list[uuid.UUID]:
    """Return the step's id that a task id of Celery's stands for."""
    return [ids.from_celery(term)]


def _of_run(run: Run) -> str:
    return ", ".join([run.state, *([f"key {run.key}"] if run.key else []), *run.tags[:3], str(run.id)])


def _state_and_id(row: Any) -> str:
    return f"{row.state}, {row.pk}"


KINDS = (
    Kind(
        model="execution.run",
        noun="run",
        icon="play_circle",
        title=lambda run: run.workflow,
        tell=_of_run,
        has_end=True,
        names=["correlation_id"],
        words=["workflow__iexact", "tags__contains"],
        also=by_key,
        unread=["input", "error", "key_digest"],
    ),
    Kind(
        model="execution.step",
        noun="step",
        icon="account_tree",
        title=lambda step: step.name,
        tell=_state_and_id,
        has_end=True,
        also=by_celery_id,
        unread=["input", "output", "error", "canvas", "options"],
    ),
    Kind(
        model="execution.attempt",
        noun="attempt",
        icon="replay",
        tell=lambda attempt: attempt.ending or "running",
        unread=["error"],
    ),
    Kind(
        model="execution.agent",
        noun="agent",
        icon="smart_toy",
        names=["name__icontains"],
        tell=lambda agent: Level(agent.level).label.replace("_", " "),
    ),
    Kind(
        model="execution.workflow",
        noun="workflow",
        icon="schema",
        names=["name__icontains"],
        unread=["definition", "source"],
    ),
    Kind(model="execution.job", noun="job", icon="stacks", words=["skill__icontains"]),
    Kind(
        model="execution.session",
        noun="session",
        icon="forum",
        names=["tags__contains"],
        words=["name__icontains"],
        tell=lambda session: session.status,
        unread=["state"],
    ),
    Kind(model="execution.service", noun="service", icon="hub", ids=(), names=["name__icontains"]),
    Kind(
        model="execution.breaker",
        noun="breaker",
        icon="electrical_services",
        ids=(),
        names=["name__icontains"],
        tell=lambda breaker: breaker.state,
    ),
    Kind(model="execution.worker", noun="worker", icon="memory", words=["hostname__icontains"]),
    Kind(model="execution.effect", noun="effect", icon="bolt", tell=lambda effect: effect.state),
    Kind(model="execution.assessment", noun="assessment", icon="analytics"),
    Kind(model="execution.verdict", noun="verdict", icon="gavel"),
)
SEARCHES = [search(kind) for kind in KINDS]
