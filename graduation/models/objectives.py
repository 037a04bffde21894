"""Objectives: what is measured, minute by minute, as counts; where they stand; and what drifts."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from execution import ids


class Origin(models.TextChoices):
    """Where an objective's counts come from."""

    LEDGER = "ledger"  # attempts or runs of a skill, an agent, a service or a workflow
    VERDICTS = "verdicts"  # what became of an agent's judgments
    PROMETHEUS = "prometheus"  # queries
    OTHER = "other"  # something that nobody here can ask


class Standing(models.TextChoices):
    """Where an objective stands; the first four by the budget that is consumed."""

    HEALTHY = "healthy"
    WARNING = "warning"  # half of the budget is consumed
    CRITICAL = "critical"  # four fifths
    EXHAUSTED = "exhausted"  # all of it
    NO_DATA = "no_data"
    ERROR = "error"  # it could not be collected


class Objective(models.Model):
    """A target for an agent, a skill or a service."""

    name = models.CharField(primary_key=True, max_length=200)
    subject = models.CharField(max_length=255, help_text="As service:payments, skill:pay.charge or agent:scout.")
    service = models.CharField(
        max_length=200, db_default="", blank=True, help_text="The service whose gate it decides."
    )
    origin = models.CharField(max_length=16, choices=Origin.choices, db_default=Origin.LEDGER)
    indicator = models.JSONField(db_default={}, help_text="What is good and what is counted.")
    target = models.FloatField(help_text="The share that must be good, from 0 to 1.")
    period_days = models.FloatField(db_default=30.0)
    calendar = models.JSONField(
        db_default={}, blank=True, help_text="From when and in what steps its period begins anew; empty: it rolls."
    )
    slices = models.JSONField(
        db_default={}, blank=True, help_text="How long a slice of time is that counts as one; empty: each event counts."
    )
    description = models.TextField(db_default="", blank=True)
    document = models.TextField(db_default="", blank=True, help_text="The OpenSLO document that it came from.")
    is_enabled = models.BooleanField(db_default=True)
    created_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(db_default=Now())
    changed_by = models.CharField(max_length=150, db_default="", blank=True)

    class Meta:
        permissions = [("govern_objective", "Can change objectives")]

    def __str__(self) -> str:
        return self.name


class Bucket(models.Model):
    """The counts of one minute."""

    objective = models.ForeignKey(Objective, on_delete=models.CASCADE, related_name="buckets", db_index=False)
    minute = models.DateTimeField()
    good = models.BigIntegerField(db_default=0)
    total = models.BigIntegerField(db_default=0)
    value = models.FloatField(null=True, help_text="The mean of what is measured, such as seconds, where it has one.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["objective", "minute"], name="one_bucket_per_minute")]

    def __str__(self) -> str:
        return f"{self.objective_id} at {self.minute}: {self.good} of {self.total}"


class ObjectiveState(models.Model):
    """Where an objective stands now."""

    objective = models.OneToOneField(Objective, primary_key=True, on_delete=models.CASCADE, related_name="state")
    standing = models.CharField(max_length=16, choices=Standing.choices, db_default=Standing.NO_DATA)
    consumed = models.FloatField(null=True, help_text="The share of the period's budget that is consumed.")
    good = models.BigIntegerField(db_default=0)
    total = models.BigIntegerField(db_default=0)
    burning = models.JSONField(db_default=[], help_text="The pairs of windows that burn too fast.")
    is_breached = models.BooleanField(db_default=False, help_text="A breach was told and has not ended.")
    data_at = models.DateTimeField(null=True, help_text="Up to when it is known what happened.")
    collected_at = models.DateTimeField(null=True)
    assessment_id = models.UUIDField(null=True, help_text="The latest status that was recorded.")
    breach_id = models.UUIDField(null=True, help_text="The verdict that told the breach.")
    error = models.TextField(db_default="", blank=True)

    def __str__(self) -> str:
        return f"{self.objective_id} is {self.standing}"


class DriftState(models.Model):
    """What the detection of drift remembers of one objective and window."""

    objective = models.ForeignKey(Objective, on_delete=models.CASCADE, related_name="drifts")
    window = models.CharField(max_length=16)
    seen_until = models.DateTimeField(null=True)
    state = models.JSONField(db_default={})
    severity = models.CharField(max_length=8, db_default="", blank=True)
    assessment_id = models.UUIDField(null=True)
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["objective", "window"], name="one_drift_per_window")]

    def __str__(self) -> str:
        return f"{self.objective_id} over {self.window}"


class Freeze(models.Model):
    """While it lasts, nothing is deployed: to one service, or to any."""

    service = models.CharField(max_length=200, db_default="", blank=True, help_text="Empty: every service.")
    reason = models.TextField()
    by = models.CharField(max_length=150)
    since = models.DateTimeField(db_default=Now())
    until = models.DateTimeField(null=True)
    lifted_at = models.DateTimeField(null=True)
    lifted_by = models.CharField(max_length=150, db_default="", blank=True)

    class Meta:
        permissions = [("govern_gate", "Can freeze deployments and override the gate")]

    def __str__(self) -> str:
        return f"freeze of {self.service or 'everything'}"


class Override(models.Model):
    """While it lasts, the gate lets a service through, or one commit of it."""

    service = models.CharField(max_length=200)
    commit = models.CharField(max_length=100, db_default="", blank=True, help_text="Empty: any commit.")
    reason = models.TextField()
    by = models.CharField(max_length=150)
    since = models.DateTimeField(db_default=Now())
    until = models.DateTimeField()

    def __str__(self) -> str:
        return f"override for {self.service}"


class GateCall(models.Model):
    """One answer of the gate; its assessment keeps the evidence."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    service = models.CharField(max_length=200)
    tier = models.CharField(max_length=16)
    commit = models.CharField(max_length=100, db_default="", blank=True)
    answer = models.CharField(max_length=16)
    assessment_id = models.UUIDField(null=True)
    by = models.CharField(max_length=150, db_default="", blank=True)
    at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.answer} for {self.service}"
