"""What agents remember, the rules by which runs' endings change it, and what became of each change."""

from __future__ import annotations

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector, SearchVectorField
from django.db import models
from django.db.models.functions import Now

from execution import ids
from execution.models.agents import Agent
from execution.models.values import ValueField

LANGUAGE = "english"


class Memory(models.Model):
    """One thing that an agent remembers, found by its words."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    agent = models.ForeignKey(
        Agent, on_delete=models.CASCADE, related_name="memories", db_constraint=False, db_index=False
    )
    kind = models.CharField(max_length=50)
    key = models.CharField(max_length=255)
    value = ValueField()
    text = models.TextField(help_text="The words of the value.")
    search = models.GeneratedField(
        expression=SearchVector("key", weight="A", config=LANGUAGE) + SearchVector("text", weight="B", config=LANGUAGE),
        output_field=SearchVectorField(),
        db_persist=True,
    )
    is_pinned = models.BooleanField(db_default=False, help_text="It neither expires nor is evicted, nor grows old.")
    run_id = models.UUIDField(null=True, help_text="The run that it comes from.")
    expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    recalled_at = models.DateTimeField(null=True)
    recall_count = models.IntegerField(db_default=0)

    class Meta:
        verbose_name_plural = "memories"
        constraints = [models.UniqueConstraint(fields=["agent", "kind", "key"], name="one_memory_per_key")]
        indexes = [
            GinIndex(fields=["search"], name="memories_by_word"),
            models.Index(
                fields=["expires_at"],
                condition=models.Q(expires_at__isnull=False, is_pinned=False),
                name="memories_by_expiry",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class Operation(models.TextChoices):
    """What a rule does with the value that it takes from a run."""

    SET = "set"
    APPEND = "append"
    INCREMENT = "increment"
    EXPIRE = "expire"


class MemoryRule(models.Model):
    """When a run ends so, take this part of its result and change that memory with it."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    name = models.CharField(max_length=200, unique=True)
    is_enabled = models.BooleanField(db_default=True)
    agent = models.ForeignKey(Agent, null=True, on_delete=models.CASCADE, related_name="memory_rules")
    workflow = models.CharField(max_length=200, db_default="", help_text="The skill or workflow; empty: all.")
    ending = models.CharField(max_length=16, help_text="completed, failed or cancelled; empty: any.", db_default="")
    condition = models.TextField(db_default="", help_text="An expression that must be true; empty: always.")
    path = models.CharField(max_length=255, db_default="", help_text="Which part of the result; empty: the whole.")
    kind = models.CharField(max_length=50, db_default="note")
    key = models.CharField(max_length=255, help_text="The memory's key; may hold ${...}.")
    operation = models.CharField(max_length=9, choices=Operation.choices, db_default=Operation.SET)
    ttl = models.DurationField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class UpdateOutcome(models.TextChoices):
    """What became of a rule for one run."""

    APPLIED = "applied"
    SKIPPED = "skipped"  # its condition was false
    FAILED = "failed"  # the result did not fit; the run knows nothing of it


class MemoryUpdate(models.Model):
    """What one rule did when one run ended."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    rule = models.ForeignKey(MemoryRule, on_delete=models.CASCADE, related_name="updates")
    run_id = models.UUIDField()
    outcome = models.CharField(max_length=8, choices=UpdateOutcome.choices)
    key = models.CharField(max_length=255, db_default="")
    error = models.TextField(db_default="")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run_id", "rule"], name="one_update_per_rule_and_run")]

    def __str__(self) -> str:
        return f"{self.outcome} for {self.run_id}"
