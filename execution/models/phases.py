"""Phases: named parts of a run, each with its own timebox and share of the budget."""

from __future__ import annotations

from django.db import models

from execution import ids
from execution.models.runs import Run


class Phase(models.Model):
    """A named part of one run. It begins with the first claim of one of its steps, and ends with the last of them."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="phases", db_constraint=False, db_index=False)
    name = models.CharField(max_length=200)
    position = models.IntegerField(db_default=0)
    timebox_seconds = models.FloatField(null=True)
    budget_cost = models.DecimalField(max_digits=20, decimal_places=6, null=True)
    budget_tokens = models.BigIntegerField(null=True)
    started_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True, help_text="When it was ended before its steps had.")
    closed_reason = models.TextField(db_default="")
    reached = models.JSONField(null=True, help_text="How far its steps had come when it was closed.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "name"], name="one_phase_per_name")]

    def __str__(self) -> str:
        return f"{self.name} of {self.run_id}"
