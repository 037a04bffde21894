"""Envelopes: bounded, time-limited changes of tunables; the decisions about them; and the kill switch."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from execution import ids


class Importance(models.IntegerChoices):
    """The class of an envelope: a higher one preempts a lower one."""

    PERFORMANCE = 0, "performance"
    COST = 1, "cost"
    RELIABILITY = 2, "reliability"
    SAFETY = 3, "safety"


class EnvelopeState(models.TextChoices):
    """The life of an envelope; it never lives a second time."""

    DECLARED = "declared"
    VALIDATED = "validated"
    ACTIVE = "active"  # in force; left by its timebox, by reverting, preemption or the kill switch
    REJECTED = "rejected"
    EXPIRED = "expired"
    REVERTED = "reverted"


class Envelope(models.Model):
    """One bounded change of one tunable for a time."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    tunable = models.CharField(max_length=100)
    subject = models.CharField(max_length=200, db_default="", blank=True)
    importance = models.SmallIntegerField(choices=Importance.choices)
    value = models.FloatField()
    most_percent = models.FloatField(null=True, help_text="How far from the baseline it may be, in percent.")
    least = models.FloatField(null=True)
    most = models.FloatField(null=True)
    seconds = models.IntegerField(help_text="Its timebox.")
    baseline = models.FloatField(null=True, help_text="What held before; empty: nothing was set.")
    was_set = models.BooleanField(db_default=False)
    state = models.CharField(max_length=16, choices=EnvelopeState.choices, db_default=EnvelopeState.DECLARED)
    reason = models.TextField(db_default="", blank=True)
    by = models.CharField(max_length=200)
    verdict_id = models.UUIDField(null=True, help_text="The judgment that asked for it.")
    created_at = models.DateTimeField(db_default=Now())
    applied_at = models.DateTimeField(null=True)
    until = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=200, db_default="", blank=True)
    ended_reason = models.TextField(db_default="", blank=True)

    class Meta:
        permissions = [("operate_envelope", "Can apply and revert envelopes")]
        constraints = [
            models.UniqueConstraint(
                fields=["tunable", "subject"], condition=Q(state="active"), name="one_active_envelope_per_tunable"
            ),
        ]
        indexes = [models.Index(fields=["until"], condition=Q(state="active"), name="envelopes_by_timebox")]

    def __str__(self) -> str:
        return f"{self.tunable} to {self.value:g}"


class EnvelopeDecision(models.Model):
    """One decision of the coordinator; never changed."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    envelope = models.ForeignKey(Envelope, on_delete=models.CASCADE, related_name="decisions")
    decision = models.CharField(max_length=16)
    reason = models.TextField()
    by = models.CharField(max_length=200)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.decision}: {self.reason}"


class KillSwitch(models.Model):
    """The one switch that reverts every envelope and keeps new ones out."""

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)
    is_engaged = models.BooleanField(db_default=False)
    engaged_at = models.DateTimeField(null=True)
    engaged_by = models.CharField(max_length=150, db_default="", blank=True)
    reason = models.TextField(db_default="", blank=True)
    released_at = models.DateTimeField(null=True)
    released_by = models.CharField(max_length=150, db_default="", blank=True)

    class Meta:
        permissions = [("release_killswitch", "Can release the kill switch")]
        constraints = [models.CheckConstraint(condition=Q(id=1), name="there_is_one_kill_switch")]

    def __str__(self) -> str:
        return "engaged" if self.is_engaged else "released"
