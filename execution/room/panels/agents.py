"""The agents and their levels: how many of each, and each by name while they are few."""

from __future__ import annotations

from typing import Any

from django.db.models import Count
from django.http import HttpRequest

from execution.models import Agent, CapabilityLockout, Level

NAMED_MOST = 8

MAY: dict[int, str] = {
    Level.OBSERVER: "watches, and asks before it does anything",
    Level.ADVISOR: "advises, and asks before it acts",
    Level.LIMITED_AUTONOMOUS: "does what is small alone",
    Level.AUTONOMOUS: "acts alone, and asks where much is at stake",
    Level.FULLY_AUTONOMOUS: "acts alone",
}


def read(request: HttpRequest) -> dict[str, Any]:  # noqa: ARG001 - a panel takes it
    """Return the levels from the highest, with how many agents have each, and their names while they are few."""
    counts = dict(Agent.objects.order_by().values_list("level").annotate(count=Count("*")))
    total = sum(counts.values())
    named = list(Agent.objects.order_by("name").only("name", "level")[:NAMED_MOST]) if total <= NAMED_MOST else []
    return {
        "levels": [_level(level, counts.get(level.value, 0), named) for level in reversed(Level)],
        "count": total,
        "locked": CapabilityLockout.objects.filter(lifted_at=None, agent__isnull=False)[:1000].count(),
    }


def _level(level: Level, count: int, named: list[Agent]) -> dict[str, Any]:
    return {
        "number": level.value,
        "name": level.label.replace("_", " "),
        "may": MAY[level],
        "count": count,
        "agents": [agent for agent in named if agent.level == level.value],
    }
