"""Correlation windows over what happened together, and the incidents that were opened about it."""

from __future__ import annotations

from datetime import timedelta

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


class Occurrence(models.Model):
    """What one event of the log says of a part of the topology; kept until its window is known.

    Changes are kept for longer: what fails later may have them as its cause.
    """

    id = models.UUIDField(primary_key=True, editable=False, help_text="The event's own id.")
    at = models.DateTimeField()
    kind = models.CharField(max_length=100)
    nodes = ArrayField(models.CharField(max_length=255), help_text="The topology's nodes that it is about.")
    severity = models.CharField(max_length=8, choices=Severity.choices, db_default=Severity.LOW)
    record_id = models.UUIDField(null=True, help_text="The verdict or assessment that it tells of.")
    run_id = models.UUIDField(null=True)
    is_change = models.BooleanField(db_default=False, help_text="Something was changed; nothing went wrong by itself.")
    is_folded = models.BooleanField(db_default=False, help_text="It is part of a window.")
    data = models.JSONField(db_default={})

    class Meta:
        indexes = [
            models.Index(fields=["at", "id"], condition=Q(is_folded=False), name="occurrences_to_fold"),
            models.Index(fields=["at"], condition=Q(is_change=True), name="occurrences_of_changes"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} at {self.at}"


TAKEN_IN = "incident"
"""Names, in a window's details, the incident that was open already and has taken it in."""


class WindowQuerySet(models.QuerySet["Window"]):
    """Windows by whether an incident is about them."""

    def answered(self) -> WindowQuerySet:
        """Return those that an incident was opened about, or that an open one has taken in."""
        return self.filter(Q(incident__isnull=False) | Q(details__has_key=TAKEN_IN))

    def taken_in_by(self, incident: Incident) -> WindowQuerySet:
        return self.filter(**{f"details__{TAKEN_IN}": str(incident.pk)})

    def unanswered(self) -> WindowQuerySet:
        return self.filter(incident=None).exclude(details__has_key=TAKEN_IN)


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
    details = models.JSONField(db_default={}, help_text="When each node was first seen, errors, failed runs, suspects.")
    closed_at = models.DateTimeField(null=True)
    snapshot_id = models.UUIDField(null=True, help_text="The assessment that was made of it.")

    objects = WindowQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["last_at"], condition=Q(closed_at__isnull=True), name="windows_open"),
            models.Index(
                fields=["closed_at"],
                condition=Q(closed_at__isnull=False, snapshot_id__isnull=True),
                name="windows_to_snapshot",
            ),
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


class IncidentQuerySet(models.QuerySet["Incident"]):
    """Incidents by what is to be done about them."""

    def open(self) -> IncidentQuerySet:
        return self.filter(state=IncidentState.OPEN)

    def current(self) -> IncidentQuerySet:
        """Return the working set: what is open, or has ended within a day."""
        return self.filter(Q(state=IncidentState.OPEN) | Q(ended_at__gt=Now() - timedelta(hours=24)))


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

    objects = IncidentQuerySet.as_manager()

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
    data = models.JSONField(db_default={}, help_text="What the step that wrote it has found or done.")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "incident entries"
        constraints = [models.UniqueConstraint(fields=["incident", "key"], name="one_entry_per_key")]

    def __str__(self) -> str:
        return self.text
