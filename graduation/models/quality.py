"""Quality: which outputs of agents are scored, what evaluators thought of them, and how far these are trusted."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from execution import ids
from execution.models import Agent


class Sampling(models.Model):
    """The share of one agent's outputs that are scored, where it is not everybody's."""

    agent = models.OneToOneField(Agent, primary_key=True, on_delete=models.CASCADE, related_name="sampling")
    share = models.FloatField(help_text="From 0 to 1.")
    changed_at = models.DateTimeField(db_default=Now())
    changed_by = models.CharField(max_length=150, db_default="", blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(share__gte=0, share__lte=1), name="a_sampling_is_a_share"),
        ]

    def __str__(self) -> str:
        return f"{self.share:g} of {self.agent}"


class Sample(models.Model):
    """A step that was drawn: its output is scored by every evaluator that fits."""

    step_id = models.UUIDField(primary_key=True)
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="samples")
    skill = models.CharField(max_length=200)
    drawn_at = models.DateTimeField(db_default=Now())
    held_until = models.DateTimeField(null=True, help_text="While this lies ahead somebody is scoring it.")
    scored_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["drawn_at"], condition=Q(scored_at__isnull=True), name="samples_to_score"),
        ]

    def __str__(self) -> str:
        return f"{self.skill} {self.step_id}"


class Score(models.Model):
    """What an evaluator thought of one output of an agent."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    step_id = models.UUIDField()
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="scores")
    evaluator = models.CharField(max_length=200)
    score = models.FloatField(help_text="From 0 to 1.")
    dimensions = models.JSONField(db_default={})
    reasoning = models.TextField(db_default="", blank=True)
    confidence = models.FloatField(null=True)
    cost = models.DecimalField(max_digits=20, decimal_places=6, db_default=0)
    verdict_id = models.UUIDField(null=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["step_id", "evaluator"], name="one_score_per_evaluator")]
        indexes = [models.Index(fields=["evaluator", "-id"], name="scores_by_an_evaluator")]

    def __str__(self) -> str:
        return f"{self.score:.2f} by {self.evaluator}"


class Evaluator(models.Model):
    """Who scores, and how far the others agree with it."""

    name = models.CharField(primary_key=True, max_length=200)
    compared_count = models.IntegerField(db_default=0, help_text="Items that others have scored as well.")
    disagreement = models.FloatField(null=True, help_text="Its mean distance from the median on those.")
    is_degraded = models.BooleanField(db_default=False, help_text="It disagrees: its scores tell no outcome.")
    day = models.DateField(null=True, help_text="The day that `spent` is of.")
    spent = models.DecimalField(
        max_digits=20, decimal_places=6, db_default=0, help_text="What it has cost that day; unanswered: the most."
    )
    failure_count = models.BigIntegerField(db_default=0, help_text="How often it could not score.")
    last_error = models.TextField(db_default="", blank=True)
    changed_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name
