"""What was spent today, and the agents whose budgets are nearest to their end."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db.models import Q
from django.http import HttpRequest

from execution import conf, trends, words
from execution.models import Agent

LOOKED_AT_MOST = 2_000
SHOWN_MOST = 6


def read(request: HttpRequest) -> dict[str, Any]:  # noqa: ARG001 - a panel takes it
    """Return today's spending, and the budgets that are used most."""
    limited = Agent.objects.filter(Q(budget_cost__isnull=False) | Q(budget_tokens__isnull=False)).order_by("name")
    shares = sorted(((_share(agent), agent) for agent in limited[:LOOKED_AT_MOST]), key=lambda one: -one[0])
    since = trends.today()
    return {
        "today": since and {"since": since.since, "cost": words.money(since.cost), "tokens": f"{since.tokens:,}"},
        "currency": conf.current().currency,
        "budgets": [_budget(share, agent) for share, agent in shares[:SHOWN_MOST]],
    }


def _share(agent: Agent) -> float:
    """Return how much of its budget an agent has used or reserved, of money or tokens the larger share."""
    return max(
        _part(agent.spent_cost + agent.reserved_cost, agent.budget_cost),
        _part(agent.spent_tokens + agent.reserved_tokens, agent.budget_tokens),
    )


def _part(used: Decimal | int, budget: Decimal | int | None) -> float:
    if budget is None:
        return 0.0
    return float(used) / float(budget) if budget else float(used > 0)


def _budget(share: float, agent: Agent) -> dict[str, Any]:
    used = [
        *(
            [f"{words.money(agent.spent_cost)} of {words.money(agent.budget_cost)}"]
            if agent.budget_cost is not None
            else []
        ),
        *([f"{agent.spent_tokens:,} of {agent.budget_tokens:,} tokens"] if agent.budget_tokens is not None else []),
    ]
    return {"agent": agent, "percent": min(round(share * 100), 100), "is_over": share >= 0.9, "used": ", ".join(used)}
