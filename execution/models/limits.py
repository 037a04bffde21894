"""What may hold a step back: breakers and concurrency keys."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class BreakerState(models.TextChoices):
    """The life of a breaker."""

    CLOSED = "closed"  # steps pass
    OPEN = "open"  # steps wait; left when the cool-down is over
    PROBING = "probing"  # one step is let through; its ending decides


class Breaker(models.Model):
    """Holds back the steps of a skill that keeps failing."""

    name = models.CharField(primary_key=True, max_length=200)
    state = models.CharField(max_length=8, choices=BreakerState.choices, db_default=BreakerState.CLOSED)
    failure_count = models.IntegerField(db_default=0, help_text="Failures in a row.")
    threshold = models.IntegerField(db_default=5)
    cooldown_seconds = models.IntegerField(db_default=30)
    opened_count = models.IntegerField(db_default=0, help_text="Openings in a row; each doubles the cool-down.")
    opened_at = models.DateTimeField(null=True, blank=True)
    probe_at = models.DateTimeField(null=True, blank=True)
    probe_step_id = models.UUIDField(null=True, blank=True, editable=False)

    def __str__(self) -> str:
        return self.name


class ConcurrencyKey(models.Model):
    """How many steps with this key may run at once, and how many may start in a time."""

    name = models.CharField(primary_key=True, max_length=200)
    limit_count = models.IntegerField(null=True, blank=True, help_text="Steps at once; empty: no limit.")
    rate_count = models.IntegerField(null=True, blank=True, help_text="Starts per rate_seconds; empty: no limit.")
    rate_seconds = models.FloatField(db_default=1.0)
    token_count = models.FloatField(db_default=0.0, editable=False)
    refilled_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return self.name
