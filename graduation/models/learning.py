"""Learning: verdicts whose outcome is awaited, and what is recommended after an incident."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from execution import ids


class CaseState(models.TextChoices):
    """The life of a verdict's case."""

    OPEN = "open"  # looked at again and again
    RESOLVED = "resolved"  # its outcome is known; better or later evidence resolves it anew
    EXPIRED = "expired"  # for seven days nothing was found; evidence reopens it


class Case(models.Model):
    """A verdict whose outcome is looked for."""

    verdict_id = models.UUIDField(primary_key=True)
    kind = models.CharField(max_length=64)
    subject = models.CharField(max_length=255)
    state = models.CharField(max_length=16, choices=CaseState.choices, db_default=CaseState.OPEN)
    confidence = models.FloatField(null=True)
    look_at = models.DateTimeField(
        null=True, db_default=Now(), help_text="When it is looked at next; a case that has ended is, when news come."
    )
    look_count = models.IntegerField(db_default=0)
    run_id = models.UUIDField(null=True, help_text="The run that it is about.")
    step_id = models.UUIDField(null=True, help_text="The step that it is about.")
    how = models.CharField(max_length=32, db_default="", blank=True, help_text="By what its outcome was found.")
    outcome = models.FloatField(null=True)
    outcome_id = models.UUIDField(null=True, help_text="The verdict that says it.")
    reopened_count = models.IntegerField(db_default=0)
    history = models.JSONField(db_default=[])
    judged_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        permissions = [("resolve_case", "Can say what became of a verdict")]
        constraints = [
            models.CheckConstraint(
                condition=~Q(state="open") | Q(look_at__isnull=False), name="an_open_case_is_looked_at_again"
            ),
            models.CheckConstraint(
                condition=~Q(state="resolved") | Q(outcome__isnull=False), name="a_resolved_case_has_an_outcome"
            ),
        ]
        indexes = [
            models.Index(fields=["look_at"], condition=Q(look_at__isnull=False), name="cases_to_look_at"),
            models.Index(fields=["run_id"], condition=Q(run_id__isnull=False), name="cases_of_a_run"),
            models.Index(fields=["step_id"], condition=Q(step_id__isnull=False), name="cases_of_a_step"),
            models.Index(fields=["subject"], name="cases_of_a_subject"),
            models.Index(fields=["judged_at"], name="cases_by_age"),
        ]

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
        permissions = [("decide_recommendation", "Can accept and decline recommendations")]
        constraints = [models.UniqueConstraint(fields=["retrospective_id", "key"], name="one_recommendation_per_key")]
        indexes = [models.Index(fields=["created_at", "id"], condition=Q(state="open"), name="recommendations_open")]

    def __str__(self) -> str:
        return self.text


class Retrospective(models.Model):
    """That an incident or a snapshot was looked back on."""

    source = models.CharField(primary_key=True, max_length=100, help_text="As incident:ID or snapshot:ID.")
    assessment_id = models.UUIDField()
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.source
