"""Trust: the evidence about agents, offers of a rise, and the status that unlocks what may be applied alone."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from execution import ids
from execution.models import Agent


class Evidence(models.Model):
    """What speaks for and against an agent at its present level; restarted when its level or its making changes."""

    agent = models.OneToOneField(Agent, primary_key=True, on_delete=models.CASCADE, related_name="evidence")
    level = models.SmallIntegerField(help_text="The level at which it was gathered.")
    making = models.JSONField(
        db_default={}, help_text="Model and prompt for each kind of decision, and the version of each skill."
    )
    target = models.FloatField(db_default=0.05, help_text="The error rate that is allowed.")
    falling = models.JSONField(db_default={}, help_text="The process that speaks for a lower level.")
    rising = models.JSONField(db_default={}, help_text="The process that speaks for a higher level.")
    outcome_count = models.BigIntegerField(db_default=0)
    error_count = models.FloatField(db_default=0.0, help_text="One that is half bad counts as half.")
    told_until = models.UUIDField(
        null=True, help_text="The last decision whose outcome was told, or is wanted no more."
    )
    began_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "evidence"

    def __str__(self) -> str:
        return f"{self.error_count:g} errors of {self.outcome_count} outcomes"


class OfferState(models.TextChoices):
    """The life of an offer."""

    OPEN = "open"
    SECONDED = "seconded"  # one of two people has agreed
    ACCEPTED = "accepted"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"  # the agent fell, or its evidence began anew


class Offer(models.Model):
    """A rise that the evidence supports, or that a person wants; persons decide."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="offers")
    level_before = models.SmallIntegerField()
    level_after = models.SmallIntegerField()
    evidence = models.JSONField(db_default={})
    state = models.CharField(max_length=16, choices=OfferState.choices, db_default=OfferState.OPEN)
    first_by = models.CharField(max_length=150, db_default="", blank=True)
    second_by = models.CharField(max_length=150, db_default="", blank=True)
    reason = models.TextField(db_default="", blank=True)
    verdict_id = models.UUIDField(null=True, help_text="The latest decision about it.")
    offered_by = models.CharField(max_length=150, db_default="", blank=True, help_text="The ladder, or a person.")
    offered_at = models.DateTimeField(db_default=Now())
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["agent"], condition=Q(state__in=["open", "seconded"]), name="one_open_offer_per_agent"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.agent} from {self.level_before} to {self.level_after}"


class Status(models.TextChoices):
    """How far recovery has graduated; each unlocks more."""

    ALPHA = "alpha"  # nothing is shown yet
    BETA = "beta"  # what was recovered held
    CANDIDATE = "candidate"  # and little was regretted
    COMPLETE = "complete"  # and a person has looked
    DEGRADED = "degraded"  # a gate was lost


class GraduationStatus(models.Model):
    """Where an agent, or the whole system, stands."""

    subject = models.CharField(primary_key=True, max_length=255, help_text="As agent:scout, or system.")
    agent = models.OneToOneField(Agent, null=True, on_delete=models.CASCADE, related_name="graduation")
    status = models.CharField(max_length=16, choices=Status.choices, db_default=Status.ALPHA)
    former_status = models.CharField(max_length=16, choices=Status.choices, db_default=Status.ALPHA)
    gates = models.JSONField(db_default={})
    epoch = models.IntegerField(db_default=0, help_text="Rises with each evaluation that was written.")
    reviewed_at = models.DateTimeField(null=True, help_text="When a person last opened its timeline.")
    reviewed_by = models.CharField(max_length=150, db_default="", blank=True)
    evidence_at = models.DateTimeField(null=True, help_text="When the latest evidence came.")
    evaluated_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField(db_default=Now(), help_text="Since when it has this status.")

    class Meta:
        verbose_name_plural = "graduation status"

    def __str__(self) -> str:
        return f"{self.subject} is {self.status}"


class GraduationHistory(models.Model):
    """One evaluation, with its gates and its evidence."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    subject = models.CharField(max_length=255)
    before = models.CharField(max_length=16, choices=Status.choices)
    after = models.CharField(max_length=16, choices=Status.choices)
    gates = models.JSONField()
    evidence = models.JSONField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "graduation history"
        indexes = [models.Index(fields=["subject", "-id"], name="history_of_a_subject")]

    def __str__(self) -> str:
        return f"{self.subject}: {self.before} to {self.after}"
