"""Learning: verdicts whose outcome is awaited, and what is recommended after an incident."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from execution import ids


class CaseState(models.TextChoices):
    """The life of a verdict's case."""

    OPEN = "open"  # looked at again and again
    RESOLVED = "resolved"
    EXPIRED = "expired"  # for seven days nothing was found; evidence reopens it


class Case(models.Model):
    """A verdict whose outcome is looked for."""

    verdict_id = models.UUIDField(primary_key=True)
    kind = models.CharField(max_length=64)
    subject = models.CharField(max_length=255)
    state = models.CharField(max_length=16, choices=CaseState.choices, db_default=CaseState.OPEN)
    confidence = models.FloatField(null=True)
    look_at = models.DateTimeField(db_default=Now(), help_text="When it is looked at next.")
    look_count = models.IntegerField(db_default=0)
    how = models.CharField(max_length=32, db_default="", blank=True, help_text="By what its outcome was found.")
    outcome = models.FloatField(null=True)
    outcome_id = models.UUIDField(null=True, help_text="The verdict that says it.")
    reopened_count = models.IntegerField(db_default=0)
    history = models.JSONField(db_default=[])
    judged_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["look_at"], condition=Q(state="open"), name="cases_to_look_at")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.subject}: {self.state}"


class RecommendationState(models.TextChoices):
    """The life of a recommendation."""

    OPEN = "open"
    ACCEPTED = "accepted"
    DECLINED = "declined"


class Recommendation(models.Model):
    """What should change after an incident; a person decides."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    retrospective_id = models.UUIDField(help_text="The assessment that it stands in.")
    key = models.CharField(max_length=200)
    kind = models.CharField(max_length=32)
    text = models.TextField()
    change = models.JSONField(db_default={}, help_text="What accepting it does.")
    evidence = models.JSONField(db_default={})
    state = models.CharField(max_length=16, choices=RecommendationState.choices, db_default=RecommendationState.OPEN)
    decided_by = models.CharField(max_length=150, db_default="", blank=True)
    reason = models.TextField(db_default="", blank=True)
    decided_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["retrospective_id", "key"], name="one_recommendation_per_key")]

    def __str__(self) -> str:
        return self.text


class Retrospective(models.Model):
    """That an incident or a snapshot was looked back on."""

    source = models.CharField(primary_key=True, max_length=100, help_text="As incident:ID or snapshot:ID.")
    assessment_id = models.UUIDField()
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.source
