"""What the runs that go on wait for: told by the newest of them, each looked at by an index."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from execution.doctor.database import rows
from execution.models import Waiting

LOOKED_AT_MOST = 2_000
STEPS_MOST = 100
"""Steps of one run that are looked at."""

IN_WORDS: dict[str, str] = {
    Waiting.NEEDS: "other steps of the same run",
    Waiting.TIMER: "a moment to come",
    Waiting.SIGNAL: "a signal or a person's answer",
    Waiting.CHILDREN: "runs that it has started",
    Waiting.RETRY: "the next try after an error",
    Waiting.BUDGET: "money or tokens",
    Waiting.KEY: "a turn at a concurrency key",
    Waiting.BREAKER: "a breaker to close",
    Waiting.LOCKOUT: "a capability that is locked",
    Waiting.AUTONOMY: "leave to act above its agent's level",
    Waiting.EFFECT: "word whether an effect was done",
    Waiting.VERSION: "a look at a changed skill",
    Waiting.PAUSED: "being resumed",
    Waiting.CAPACITY: "a free worker",
}

_STATES = ("running", "pending", "parked", "paused")
_GOING_ON = """
SELECT id FROM execution_run WHERE state = '{}' ORDER BY created_at DESC LIMIT {}
"""
_REASONS = """
SELECT waiting, count(DISTINCT run_id) AS count, (SELECT count(*) FROM going_on) AS looked_at
FROM going_on CROSS JOIN LATERAL (
    SELECT s.run_id, s.waiting FROM execution_step s
    WHERE s.id = going_on.id AND s.state IN ('ready', 'waiting', 'parked')
    UNION ALL (
        SELECT s.run_id, s.waiting FROM execution_step s
        WHERE s.run_id = going_on.id AND s.id <> s.run_id AND s.state IN ('ready', 'waiting', 'parked') LIMIT {most}
    )
) x GROUP BY waiting ORDER BY count DESC, waiting
"""


def read(request: HttpRequest) -> dict[str, Any]:  # noqa: ARG001 - a panel takes it
    """Return each reason with how many runs wait for it, and its share of the most frequent one."""
    found = reasons()
    most = max((count for _, count, _ in found), default=0)
    return {
        "reasons": [
            {"name": name, "text": IN_WORDS.get(name, name), "count": count, "percent": round(100 * count / most)}
            for name, count, _ in found
        ],
        "looked_at": max((looked_at for _, _, looked_at in found), default=0),
        "is_part": any(looked_at >= LOOKED_AT_MOST // len(_STATES) for _, _, looked_at in found),
    }


def reasons() -> list[tuple[str, int, int]]:
    """Return how many of the newest runs wait for what, of how many; one that waits for two things counts for both."""
    going_on = " UNION ALL ".join(f"({_GOING_ON.format(state, LOOKED_AT_MOST // len(_STATES))})" for state in _STATES)
    return rows(f"WITH going_on AS MATERIALIZED ({going_on}) {_REASONS.format(most=STEPS_MOST)}")
