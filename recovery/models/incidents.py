"""Correlation windows over what happened together, and the incidents that were opened about it."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from execution import ids


class Severity(models.TextChoices):
    """How bad it is, by its weight."""

    LOW = "low"
    HIGH = "high"
    CRITICAL = "critical"


class Window(models.Model):
    """What happened together in one part of the topology, by the events' own time."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    services = ArrayField(
        models.CharField(max_length=255), help_text="What it is about; grows with what belongs to it."
    )
    started_at = models.DateTimeField(help_text="The time of its first event.")
    last_at = models.DateTimeField(help_text="The time of its latest event.")
    breach_at = models.DateTimeField(null=True, help_text="When a quality breach came: it closes a gap after.")
    counts = models.JSONField(db_default={}, help_text="Events by kind.")
    severity = models.CharField(max_length=8, choices=Severity.choices, db_default=Severity.LOW)
    verdicts = ArrayField(models.UUIDField(), db_default=[], help_text="The verdicts that belong to it.")
    details = models.JSONField(db_default={}, help_text="What is needed to tell the story: first seen, by service.")
    closed_at = models.DateTimeField(null=True)
    snapshot_id = models.UUIDField(null=True, help_text="The assessment that was made of it.")

    class Meta:
        indexes = [
            models.Index(fields=["last_at"], condition=Q(closed_at__isnull=True), name="windows_open"),
            models.Index(fields=["-started_at"], name="windows_by_age"),
        ]

    def __str__(self) -> str:
        return f"{', '.join(self.services[:3])} at {self.started_at}"


class IncidentState(models.TextChoices):
    """The life of an incident."""

    OPEN = "open"
    RESOLVED = "resolved"
    FAILED = "failed"  # its investigation or its remediation failed: a person goes on
    CLOSED = "closed"  # by an operator


class Incident(models.Model):
    """Something that needs an answer: carried out by a run of a shipped workflow."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    title = models.CharField(max_length=300)
    state = models.CharField(max_length=16, choices=IncidentState.choices, db_default=IncidentState.OPEN)
    severity = models.CharField(max_length=8, choices=Severity.choices, db_default=Severity.LOW)
    services = ArrayField(models.CharField(max_length=255), db_default=[])
    window = models.OneToOneField(Window, null=True, on_delete=models.SET_NULL, related_name="incident")
    snapshot_id = models.UUIDField(null=True)
    breach_id = models.UUIDField(null=True, unique=True, help_text="The verdict that opened it without a snapshot.")
    run_id = models.UUIDField(null=True)
    cause = models.TextField(db_default="", blank=True)
    summary = models.TextField(db_default="", blank=True)
    opened_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=150, db_default="", blank=True)

    class Meta:
        permissions = [("answer_incident", "Can approve, close and comment on incidents")]
        indexes = [
            models.Index(fields=["-opened_at"], name="incidents_by_age"),
            models.Index(fields=["opened_at"], condition=Q(state="open"), name="incidents_open"),
            models.Index(fields=["run_id"], name="incidents_by_run"),
        ]

    def __str__(self) -> str:
        return self.title


class IncidentEntry(models.Model):
    """One line of an incident's timeline."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="entries")
    key = models.CharField(max_length=200, help_text="What makes it this line: written once.")
    kind = models.CharField(max_length=32)
    text = models.TextField()
    by = models.CharField(max_length=200, db_default="", blank=True)
    verdict_id = models.UUIDField(null=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "incident entries"
        constraints = [models.UniqueConstraint(fields=["incident", "key"], name="one_entry_per_key")]

    def __str__(self) -> str:
        return self.text
