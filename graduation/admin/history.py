"""The history of an agent's level: each change is a verdict that rests on the breach or the decision behind it."""

from __future__ import annotations

from django.db.models import QuerySet

from execution import agents
from execution.models import Agent, Verdict

LAST = 20


def changes(agent: Agent) -> QuerySet[Verdict]:
    """Return the latest changes of an agent's level, the newest first."""
    return Verdict.objects.filter(kind=agents.LEVEL_CHANGED, subject=f"agent:{agent.name}").order_by("-id")[:LAST]
