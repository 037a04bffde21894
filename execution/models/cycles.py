"""What periodic work remembers."""

from __future__ import annotations

from django.db import models


class CycleState(models.Model):
    """One cycle: when it last ran, what it keeps, how it fared."""

    name = models.CharField(primary_key=True, max_length=200)
    state = models.JSONField(db_default={})
    ticked_at = models.DateTimeField(null=True)
    resumed_at = models.DateTimeField(null=True, help_text="When ticks went on after an interruption.")
    tick_count = models.BigIntegerField(db_default=0)
    error_count = models.BigIntegerField(db_default=0)
    last_error = models.TextField(db_default="", blank=True)
    touched_count = models.BigIntegerField(db_default=0)

    def __str__(self) -> str:
        return self.name
