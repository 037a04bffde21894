"""Where results come from: one record for each finished step, and its parents."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Provenance(models.Model):
    """How one finished step came about. It outlives what it was made of."""

    step_id = models.UUIDField(primary_key=True)
    run_id = models.UUIDField()
    agent_id = models.UUIDField()
    name = models.CharField(max_length=200)
    skill = models.CharField(max_length=200)
    version = models.CharField(max_length=100)
    state = models.CharField(max_length=16, help_text="How the step ended.")
    input_hash = models.BinaryField(null=True, help_text="SHA-256 of the input's JSON.")
    output_hash = models.BinaryField(null=True, help_text="SHA-256 of the output's JSON.")
    attempt_id = models.UUIDField(null=True, help_text="The attempt that ended it; empty: it was never performed.")
    attempt_count = models.IntegerField()
    worker_id = models.UUIDField(null=True)
    worker = models.CharField(max_length=255, help_text="The worker's host, where it was still known.")
    cost = models.DecimalField(max_digits=20, decimal_places=6)
    tokens = models.BigIntegerField()
    models_used = models.JSONField(help_text="What was spent on which model, where the spends say so.")
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "provenance"
        indexes = [
            models.Index(fields=["run_id"], name="provenance_of_a_run"),
            models.Index(fields=["output_hash"], name="provenance_by_output"),
            models.Index(fields=["input_hash"], name="provenance_by_input"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.step_id}"


class Relation(models.TextChoices):
    """How a step came after another."""

    NEEDS = "needs"  # the graph says so
    CALL = "call"  # a skill opened it as a child
    TASK = "task"  # Celery's parent: the task that sent it, or the one before it in a chain
    CHORD = "chord"  # a part of the header whose body it is
    FORK = "fork"  # the step that it was forked from


class Lineage(models.Model):
    """An edge: a step came from a parent."""

    id = models.BigAutoField(primary_key=True)
    step_id = models.UUIDField()
    parent_id = models.UUIDField()
    relation = models.CharField(max_length=8, choices=Relation.choices)

    class Meta:
        verbose_name_plural = "lineage"
        constraints = [
            models.UniqueConstraint(fields=["step_id", "parent_id", "relation"], name="one_edge_per_relation")
        ]
        indexes = [models.Index(fields=["parent_id", "step_id"], name="lineage_forwards")]

    def __str__(self) -> str:
        return f"{self.step_id} from {self.parent_id}"
