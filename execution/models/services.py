"""Services as they are declared: how much hangs on each, what it promises, and what it depends on."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now


class Tier(models.TextChoices):
    """How much hangs on a service."""

    CRITICAL = "critical"  # its failure is an incident
    STANDARD = "standard"
    LOW = "low"  # nobody is woken for it


class Service(models.Model):
    """Something outside, or a part of the project, that skills and other services call."""

    name = models.CharField(primary_key=True, max_length=100)
    tier = models.CharField(max_length=8, choices=Tier.choices, db_default=Tier.STANDARD, default=Tier.STANDARD)
    owner = models.CharField(max_length=200, db_default="", blank=True, help_text="Who answers for it.")
    description = models.TextField(db_default="", blank=True)
    contract = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        help_text="What it promises in figures: availability, success_rate, latency_ms, schema.",
    )
    guarantees = ArrayField(
        models.CharField(max_length=100),
        default=list,
        db_default=[],
        blank=True,
        help_text="What it promises in words, such as idempotent or ordered.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    changed_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class ServiceDependency(models.Model):
    """One service needs another."""

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="dependencies")
    needed = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="dependants")
    wants = ArrayField(
        models.CharField(max_length=100),
        default=list,
        db_default=[],
        blank=True,
        help_text="The guarantees that it relies on.",
    )

    class Meta:
        verbose_name_plural = "service dependencies"
        constraints = [
            models.UniqueConstraint(fields=["service", "needed"], name="one_dependency_per_pair"),
            models.CheckConstraint(condition=~models.Q(service=models.F("needed")), name="no_service_needs_itself"),
        ]

    def __str__(self) -> str:
        return f"{self.service_id} needs {self.needed_id}"


class ObservedCall(models.Model):
    """Who was seen calling whom, and how often: folded from the log, by the names of the topology's nodes."""

    caller = models.CharField(max_length=255)
    callee = models.CharField(max_length=255)
    call_count = models.BigIntegerField()
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["caller", "callee"], name="one_row_per_observed_call")]

    def __str__(self) -> str:
        return f"{self.caller} calls {self.callee}"
