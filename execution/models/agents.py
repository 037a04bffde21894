"""Agents, and what they may not do for now."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.functions import Now

from execution import ids


class Level(models.IntegerChoices):
    """What an agent may do without asking; falls by evidence, rises only by a person."""

    OBSERVER = 0, "observer"
    ADVISOR = 1, "advisor"
    LIMITED_AUTONOMOUS = 2, "limited_autonomous"
    AUTONOMOUS = 3, "autonomous"
    FULLY_AUTONOMOUS = 4, "fully_autonomous"


class Agent(models.Model):
    """On whose behalf work is done."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    name = models.CharField(max_length=200, unique=True)
    description = models.TextField(blank=True, db_default="")
    level = models.SmallIntegerField(
        choices=Level.choices, db_default=Level.FULLY_AUTONOMOUS, help_text="What it may do without asking."
    )
    budget_cost = models.DecimalField(
        max_digits=20, decimal_places=6, null=True, blank=True, help_text="Money it may spend in all; empty: no limit."
    )
    budget_tokens = models.BigIntegerField(null=True, blank=True, help_text="Tokens it may spend in all.")
    reserved_cost = models.DecimalField(max_digits=20, decimal_places=6, db_default=0, editable=False)
    reserved_tokens = models.BigIntegerField(db_default=0, editable=False)
    spent_cost = models.DecimalField(max_digits=20, decimal_places=6, db_default=0, editable=False)
    spent_tokens = models.BigIntegerField(db_default=0, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["name"]
        permissions = [("raise_agent", "Can raise an agent's autonomy level")]

    def __str__(self) -> str:
        return self.name


class CapabilityLockout(models.Model):
    """A capability that an agent (or, with no agent, every agent) may not use for now."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    agent = models.ForeignKey(Agent, null=True, blank=True, on_delete=models.CASCADE, related_name="lockouts")
    capability = models.CharField(max_length=200)
    reason = models.TextField(db_default="", blank=True)
    by = models.CharField(max_length=150, db_default="", blank=True, editable=False, help_text="Who locked it.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    until = models.DateTimeField(null=True, blank=True)
    lifted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["capability"], condition=models.Q(lifted_at=None), name="lockouts_in_force"),
        ]

    def __str__(self) -> str:
        return f"{self.capability} of {self.agent or 'every agent'}"


def agent_name(row: Any) -> str:
    """Return the name of a row's agent; a row outlives its agent where that was removed beside the ledger's verbs."""
    try:
        return str(row.agent.name)
    except Agent.DoesNotExist:
        return f"(agent {row.agent_id} is gone)"
