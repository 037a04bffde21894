"""Runs: one execution of a skill, or of a graph of steps."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from execution import ids
from execution.durations import Duration
from execution.models.agents import Agent
from execution.models.sessions import Session
from execution.models.values import ValueField


class RunState(models.TextChoices):
    """The life of a run; the diagram stands in docs/runs.md."""

    PENDING = "pending"  # opened; left when its first step is claimed
    RUNNING = "running"  # a step has been claimed
    PAUSED = "paused"  # by an operator; left by resume or cancel
    PARKED = "parked"  # waits for a person: budget, unknown effect, autonomy, version
    COMPLETED = "completed"  # every step has ended well
    FAILED = "failed"  # a step failed, or the deadline passed; left by retry
    CANCELLED = "cancelled"  # by an operator or a program


ENDED = (RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED)


class RunQuerySet(models.QuerySet["Run"]):
    """Runs by what they are doing."""

    def ended(self) -> RunQuerySet:
        return self.filter(state__in=ENDED)

    def unended(self) -> RunQuerySet:
        return self.exclude(state__in=ENDED)

    def waiting_for_a_person(self) -> RunQuerySet:
        return self.filter(state=RunState.PARKED)


class Run(models.Model):
    """One execution of a workflow, or of a single skill (a workflow of one step, with the same id)."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    workflow = models.CharField(max_length=200, help_text="The workflow's name; for a single skill, the skill's.")
    version = models.CharField(max_length=100, db_default="")
    state = models.CharField(max_length=16, choices=RunState.choices, db_default=RunState.PENDING)
    waiting = models.CharField(max_length=16, db_default="", help_text="Why it is paused or parked.")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="runs", db_constraint=False, db_index=False)
    session = models.ForeignKey(
        Session, null=True, on_delete=models.PROTECT, related_name="runs", db_constraint=False, db_index=False
    )
    key = models.CharField(max_length=255, null=True, blank=True, help_text="The idempotency key.")
    key_digest = models.BinaryField(null=True, editable=False)
    correlation_id = models.CharField(max_length=255, db_default="")
    parent_step_id = models.UUIDField(null=True, editable=False)
    parent_run_id = models.UUIDField(null=True, editable=False)
    root_run_id = models.UUIDField(null=True, editable=False)
    forked_from_id = models.UUIDField(null=True, editable=False)
    priority = models.SmallIntegerField(db_default=0)
    tags = ArrayField(models.CharField(max_length=100), db_default=[])
    input = ValueField()
    step_count = models.IntegerField(db_default=1)
    budget_cost = models.DecimalField(max_digits=20, decimal_places=6, null=True)
    budget_tokens = models.BigIntegerField(null=True)
    reserved_cost = models.DecimalField(max_digits=20, decimal_places=6, db_default=0)
    reserved_tokens = models.BigIntegerField(db_default=0)
    spent_cost = models.DecimalField(max_digits=20, decimal_places=6, db_default=0)
    spent_tokens = models.BigIntegerField(db_default=0)
    carved_cost = models.DecimalField(
        max_digits=20, decimal_places=6, null=True, help_text="What its parent run set aside for it."
    )
    carved_tokens = models.BigIntegerField(null=True)
    start_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    cancel_reason = models.TextField(db_default="")
    error = models.JSONField(null=True)

    created: bool = True
    """Whether `runs.start` made this run; false when its key led to an earlier one."""

    objects = RunQuerySet.as_manager()

    class Meta:
        permissions = [("operate_run", "Can pause, resume, cancel, retry, fork and signal runs")]
        constraints = [
            models.UniqueConstraint(
                fields=["workflow", "key"], condition=models.Q(key__isnull=False), name="one_run_per_key"
            ),
        ]
        indexes = [
            models.Index(fields=["-created_at"], name="runs_by_age"),
            models.Index(
                fields=["state", "created_at"],
                condition=~models.Q(state__in=["completed", "cancelled"]),
                name="runs_not_done",
            ),
            models.Index(fields=["ended_at"], condition=models.Q(ended_at__isnull=False), name="runs_by_ending"),
            models.Index(
                fields=["parent_step_id"], condition=models.Q(parent_step_id__isnull=False), name="runs_of_a_step"
            ),
            models.Index(fields=["root_run_id"], condition=models.Q(root_run_id__isnull=False), name="runs_of_a_root"),
            models.Index(fields=["correlation_id"], condition=~models.Q(correlation_id=""), name="runs_by_correlation"),
            models.Index(
                fields=["session", "ended_at"], condition=models.Q(session__isnull=False), name="runs_of_a_session"
            ),
            models.Index(
                fields=["session"],
                condition=models.Q(session__isnull=False, state__in=["pending", "running", "parked"]),
                name="runs_going_on_in_a_session",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.workflow} {self.id}"

    @property
    def is_ended(self) -> bool:
        return self.state in ENDED

    def result(self) -> Any:
        """Return what the run's last step returned, or raise what it failed with."""
        from execution import runs

        return runs.result(self)

    def wait(self, timeout: Duration | None = None) -> Any:
        """Wait for the end, then return the result."""
        from execution import runs

        return runs.wait(self, timeout=timeout)
