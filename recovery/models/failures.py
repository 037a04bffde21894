"""Failures as they were recognised, the patterns that they form, and what was exported of them."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from execution import ids


class Category(models.TextChoices):
    """What kind of trouble a pattern is."""

    TRANSIENT = "transient"
    PERMISSION = "permission"
    RESOURCE = "resource"
    VALIDATION = "validation"
    INFRASTRUCTURE = "infrastructure"
    PLANNER = "planner"
    PERMANENT = "permanent"


class Mode(models.TextChoices):
    """How failures of a pattern are answered."""

    AUTOMATIC = "automatic"  # what the evaluator finds may be applied, where its bound allows it
    ASK = "ask"  # an operator decides each
    IGNORE = "ignore"  # no candidate is opened


class PatternState(models.TextChoices):
    """The life of a pattern."""

    PROPOSED = "proposed"  # by the nightly aggregation; left by confirm or reject
    CONFIRMED = "confirmed"  # by an operator
    REJECTED = "rejected"  # it is matched no more, and not proposed again


class How(models.TextChoices):
    """By what a failure was matched."""

    NONE = "none"
    FINGERPRINT = "fingerprint"
    TEMPLATE = "template"
    SIMILARITY = "similarity"


class FailureTemplate(models.Model):
    """A message with its variable parts masked: what the miner has learnt, by its version."""

    version = models.SmallIntegerField()
    text = models.TextField()
    digest = models.CharField(max_length=40, help_text="Of its text when it was first seen: stays when it is merged.")
    into = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="merged")
    revision = models.BigIntegerField(db_default=0, help_text="Rises with each change: what processes read anew.")
    count = models.BigIntegerField(db_default=0)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "digest"], name="one_template_per_text")]
        indexes = [models.Index(fields=["version", "-revision"], name="templates_by_revision")]

    def __str__(self) -> str:
        return self.text


class FailurePattern(models.Model):
    """A known kind of failure, and how it is answered."""

    name = models.CharField(max_length=200, unique=True)
    state = models.CharField(max_length=16, choices=PatternState.choices, db_default=PatternState.PROPOSED)
    category = models.CharField(max_length=16, choices=Category.choices)
    mode = models.CharField(max_length=16, choices=Mode.choices, db_default=Mode.ASK)
    suggested_mode = models.CharField(
        max_length=16, choices=Mode.choices, db_default=Mode.ASK, help_text="In force once the pattern is confirmed."
    )
    fingerprint = models.CharField(max_length=40, help_text="What its failures have in common.")
    fingerprint_version = models.SmallIntegerField()
    is_by_message = models.BooleanField(db_default=False, help_text="Its failures have no stack, only a message.")
    template = models.TextField(db_default="", blank=True, help_text="The message, its variable parts masked.")
    mined = models.ForeignKey(FailureTemplate, null=True, on_delete=models.SET_NULL, related_name="patterns")
    error_type = models.CharField(max_length=200, db_default="", blank=True)
    skill = models.CharField(max_length=200, db_default="", blank=True, help_text="Empty: of any skill.")
    versions = ArrayField(
        models.CharField(max_length=100), db_default=[], help_text="The skill's, in which it was seen."
    )
    count = models.BigIntegerField(db_default=0)
    cost = models.DecimalField(max_digits=20, decimal_places=6, db_default=0, help_text="What its attempts burnt.")
    confirmed_count = models.IntegerField(db_default=0, help_text="How often a match was said to be right.")
    confirmed_at = models.DateTimeField(null=True)
    examples = models.JSONField(db_default=[])
    first_seen_at = models.DateTimeField(null=True)
    last_seen_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    changed_by = models.CharField(max_length=150, db_default="", blank=True)
    reason = models.TextField(db_default="", blank=True)

    class Meta:
        permissions = [("judge_pattern", "Can confirm, reject and change patterns")]
        constraints = [
            models.UniqueConstraint(fields=["fingerprint_version", "fingerprint"], name="one_pattern_per_fingerprint"),
        ]
        indexes = [
            models.Index(fields=["state", "-cost"], name="patterns_by_cost"),
            GinIndex(fields=["template"], opclasses=["gin_trgm_ops"], name="patterns_by_words"),
        ]

    def __str__(self) -> str:
        return self.name


class FailureMatch(models.Model):
    """One failed attempt, with its fingerprint and the pattern that it matched, or none."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    attempt_id = models.UUIDField(
        unique=True, help_text="The attempt; of a step that was parked at its claim, the event."
    )
    step_id = models.UUIDField()
    run_id = models.UUIDField()
    agent_id = models.UUIDField()
    skill = models.CharField(max_length=200)
    version = models.CharField(max_length=100, db_default="", blank=True)
    ending = models.CharField(max_length=16, help_text="How the attempt ended: failed, lost, crashed, or parked.")
    error_kind = models.CharField(max_length=16)
    error_type = models.CharField(max_length=200, db_default="", blank=True)
    message = models.TextField(db_default="", blank=True)
    fingerprint = models.CharField(max_length=40)
    fingerprint_version = models.SmallIntegerField()
    is_by_message = models.BooleanField(db_default=False, help_text="It has no stack of the app's, only a message.")
    template = models.ForeignKey(FailureTemplate, null=True, on_delete=models.SET_NULL, related_name="failures")
    pattern = models.ForeignKey(FailurePattern, null=True, on_delete=models.SET_NULL, related_name="failures")
    how = models.CharField(max_length=16, choices=How.choices, db_default=How.NONE)
    confidence = models.FloatField(db_default=0.0)
    is_final = models.BooleanField(db_default=False, help_text="It left its run failed or parked.")
    cost = models.DecimalField(max_digits=20, decimal_places=6, db_default=0)
    tokens = models.BigIntegerField(db_default=0)
    failed_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = "failure"
        indexes = [
            models.Index(fields=["run_id", "fingerprint"], name="failures_of_a_run"),
            models.Index(fields=["pattern", "-failed_at"], name="failures_of_a_pattern"),
            models.Index(fields=["fingerprint_version", "fingerprint", "-failed_at"], name="failures_alike"),
            models.Index(fields=["failed_at"], name="failures_by_age"),
            models.Index(fields=["created_at"], condition=Q(pattern__isnull=True), name="failures_unmatched"),
        ]

    def __str__(self) -> str:
        return f"{self.error_type or self.error_kind} in {self.skill}"


class FailureNight(models.Model):
    """What one night's aggregation found, kept so that its export is the same however often it is made."""

    night = models.DateField(primary_key=True)
    lines = models.JSONField(db_default=[])
    proposed_count = models.IntegerField(db_default=0)
    adopted_count = models.IntegerField(db_default=0, help_text="Failures that a pattern was found for afterwards.")
    created_at = models.DateTimeField(db_default=Now())
    exported_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "night"
        indexes = [
            models.Index(fields=["night"], condition=Q(exported_at__isnull=True), name="nights_to_export"),
        ]

    def __str__(self) -> str:
        return str(self.night)


class ExportState(models.TextChoices):
    """The life of an export."""

    PENDING_UPLOAD = "pending_upload"  # kept on a host's disk; goes up when the storage answers
    UPLOADED = "uploaded"  # verified by its hash


class FailurePatternExport(models.Model):
    """What was exported of one night, or waits to be."""

    night = models.DateField(help_text="The night that it tells of.")
    name = models.CharField(max_length=500, unique=True, help_text="The object's name in the storage.")
    digest = models.CharField(max_length=64, help_text="The SHA-256 of its bytes.")
    size = models.BigIntegerField()
    line_count = models.IntegerField(db_default=0)
    state = models.CharField(max_length=16, choices=ExportState.choices, db_default=ExportState.PENDING_UPLOAD)
    kept_on = models.CharField(max_length=255, db_default="", blank=True, help_text="The host that keeps its bytes.")
    lease_until = models.DateTimeField(null=True, help_text="Until then one uploader has it for itself.")
    epoch = models.IntegerField(db_default=0, help_text="Rises with each claim; a late uploader's word is refused.")
    attempt_count = models.IntegerField(db_default=0, help_text="How often it was tried to upload it.")
    failure_count = models.IntegerField(db_default=0, help_text="How many of these tries failed.")
    last_error = models.TextField(db_default="", blank=True)
    created_at = models.DateTimeField(db_default=Now())
    uploaded_at = models.DateTimeField(null=True)
    verified_at = models.DateTimeField(null=True, help_text="When its hash was last compared with the object's.")

    class Meta:
        verbose_name = "export"
        permissions = [("operate_export", "Can upload and verify exports")]
        constraints = [models.UniqueConstraint(fields=["night"], name="one_export_per_night")]
        indexes = [
            models.Index(fields=["attempt_count", "id"], condition=Q(state="pending_upload"), name="exports_pending"),
        ]

    def __str__(self) -> str:
        return self.name
