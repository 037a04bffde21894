"""Steps, what they need, and the attempts to perform them."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from execution import ids
from execution.models.agents import Agent
from execution.models.runs import Run
from execution.models.values import ValueField


class StepState(models.TextChoices):
    """The life of a step; the diagram stands in docs/runs.md."""

    BLOCKED = "blocked"  # needs other steps; left when the last of them has ended
    READY = "ready"  # may be claimed
    RUNNING = "running"  # one worker holds its lease
    WAITING = "waiting"  # something will wake it: see `waiting`
    PARKED = "parked"  # a person must decide
    COMPLETED = "completed"
    FAILED = "failed"  # left by retry
    SKIPPED = "skipped"  # its condition was not true
    CANCELLED = "cancelled"


class Waiting(models.TextChoices):
    """Why a step is not running."""

    NEEDS = "needs"
    TIMER = "timer"
    SIGNAL = "signal"
    CHILDREN = "children"
    RETRY = "retry"
    BUDGET = "budget"
    KEY = "key"
    BREAKER = "breaker"
    LOCKOUT = "lockout"
    AUTONOMY = "autonomy"
    EFFECT = "effect"
    VERSION = "version"
    PAUSED = "paused"
    CAPACITY = "capacity"


UNFINISHED = (StepState.BLOCKED, StepState.READY, StepState.RUNNING, StepState.WAITING, StepState.PARKED)


class Step(models.Model):
    """One node of a run: the unit that is claimed, performed and retried."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="steps", db_constraint=False, db_index=False)
    agent = models.ForeignKey(
        Agent, on_delete=models.PROTECT, related_name="steps", db_constraint=False, db_index=False
    )
    name = models.CharField(max_length=200)
    skill = models.CharField(max_length=200)
    version = models.CharField(max_length=100, db_default="", help_text="The skill's version at its latest attempt.")
    state = models.CharField(max_length=16, choices=StepState.choices, db_default=StepState.READY)
    waiting = models.CharField(max_length=16, choices=Waiting.choices, db_default=Waiting.CAPACITY, blank=True)
    control = models.CharField(
        max_length=8, db_default="", help_text="What the performing worker is asked to do: cancel or pause."
    )
    position = models.IntegerField(db_default=0)
    pending_count = models.IntegerField(db_default=0, help_text="Steps it still needs.")
    released_count = models.IntegerField(null=True, help_text="Entries of its list that may have begun.")
    phase_id = models.UUIDField(null=True, help_text="The phase that it belongs to.")
    queue = models.CharField(max_length=200, db_default="default")
    priority = models.SmallIntegerField(db_default=0, help_text="Higher goes first.")
    key = models.CharField(max_length=200, null=True, help_text="Its concurrency key.")
    breaker = models.CharField(max_length=200, db_default="")
    capability = models.CharField(max_length=200, db_default="")
    level = models.SmallIntegerField(db_default=0, help_text="The autonomy level that it needs.")
    is_approved = models.BooleanField(db_default=False, help_text="A person let it run above its agent's level.")
    epoch = models.IntegerField(db_default=0)
    attempt_id = models.UUIDField(null=True)
    worker_id = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    lease_seconds = models.IntegerField(db_default=30)
    retry_count = models.IntegerField(db_default=0)
    crash_count = models.IntegerField(db_default=0, help_text="Deaths in a row of the process that performed it.")
    is_suspect = models.BooleanField(db_default=False, help_text="It was in a worker that died: retried alone.")
    awaits = ArrayField(models.CharField(max_length=255), null=True)
    wake_at = models.DateTimeField(null=True)
    rung_at = models.DateTimeField(null=True)
    ring_count = models.SmallIntegerField(db_default=0)
    reserve_cost = models.DecimalField(max_digits=20, decimal_places=6, db_default=0)
    reserve_tokens = models.BigIntegerField(db_default=0)
    reserved_cost = models.DecimalField(max_digits=20, decimal_places=6, db_default=0)
    reserved_tokens = models.BigIntegerField(db_default=0)
    unsettled_cost = models.DecimalField(max_digits=20, decimal_places=6, db_default=0)
    unsettled_tokens = models.BigIntegerField(db_default=0)
    options = models.JSONField(db_default={}, help_text="Policies taken from the skill when the run was opened.")
    canvas = models.JSONField(null=True, help_text="What follows by Celery's canvas.")
    input = ValueField(help_text="Empty: the run's input.")
    output = ValueField()
    error = models.JSONField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(db_default=Now(), help_text="Since when it is in this state.")
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(state="running") | models.Q(lease_until__isnull=False, worker_id__isnull=False),
                name="a_running_step_has_an_owner",
            ),
        ]
        indexes = [
            models.Index(fields=["run", "position"], name="steps_of_a_run"),
            models.Index(
                fields=["run"],
                condition=models.Q(state__in=["blocked", "ready", "running", "waiting", "parked"])
                & ~models.Q(id=models.F("run_id")),
                name="steps_unfinished",
            ),
            models.Index(
                fields=["queue", "-priority", "agent", "id"],
                condition=models.Q(state="ready", rung_at__isnull=True),
                name="steps_to_ring",
            ),
            models.Index(
                fields=["queue", "rung_at"],
                condition=models.Q(state="ready", rung_at__isnull=False),
                name="steps_rung",
            ),
            models.Index(fields=["lease_until"], condition=models.Q(state="running"), name="steps_by_lease"),
            models.Index(
                fields=["worker_id"],
                condition=models.Q(state="running") & ~models.Q(control=""),
                name="steps_asked_to_stop",
            ),
            models.Index(
                fields=["key", "state"],
                condition=models.Q(key__isnull=False, state__in=["ready", "running"]),
                name="steps_holding_a_key",
            ),
            models.Index(
                fields=["waiting", "key", "-priority", "id"],
                condition=models.Q(state="waiting", waiting="key"),
                name="steps_waiting_for_a_key",
            ),
            models.Index(
                fields=["breaker"],
                condition=models.Q(state="waiting", waiting="breaker"),
                name="steps_waiting_for_a_breaker",
            ),
            models.Index(
                fields=["waiting", "changed_at", "id"],
                condition=models.Q(state="parked") | models.Q(state="waiting", waiting="signal"),
                name="steps_for_a_person",
            ),
            models.Index(fields=["phase_id"], condition=models.Q(phase_id__isnull=False), name="steps_of_a_phase"),
            models.Index(
                fields=["capability"],
                condition=models.Q(state="waiting", waiting="lockout"),
                name="steps_locked_out",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.id}"


class Need(models.Model):
    """An edge of the graph: `step` cannot start before `needed` has ended."""

    id = models.BigAutoField(primary_key=True)
    step = models.ForeignKey(Step, on_delete=models.CASCADE, related_name="needs", db_constraint=False)
    needed = models.ForeignKey(Step, on_delete=models.CASCADE, related_name="needed_by", db_constraint=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["needed", "step"], name="one_need_per_pair")]

    def __str__(self) -> str:
        return f"{self.step_id} needs {self.needed_id}"


class Ending(models.TextChoices):
    """How an attempt ended."""

    COMPLETED = "completed"
    SKIPPED = "skipped"
    SUSPENDED = "suspended"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"  # its worker died or fell silent; the step was given back
    CRASHED = "crashed"  # the process that performed it died


class AttemptQuerySet(models.QuerySet["Attempt"]):
    """Attempts, as people count them."""

    def numbers(self) -> dict[uuid.UUID, int]:
        """Return the number of each among the attempts of its step; an epoch rises also when a step is given back."""
        first = Attempt.objects.filter(step_id=models.OuterRef("step_id"), epoch__lte=models.OuterRef("epoch"))
        count = models.Subquery(first.order_by().values("step_id").annotate(n=models.Count("*")).values("n"))
        return dict(self.order_by().annotate(number=count).values_list("id", "number"))


class Attempt(models.Model):
    """One claim of a step by one worker."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    step = models.ForeignKey(Step, on_delete=models.CASCADE, related_name="attempts", db_constraint=False)
    run_id = models.UUIDField()
    epoch = models.IntegerField()
    worker_id = models.UUIDField()
    pid = models.IntegerField(db_default=0)
    version = models.CharField(max_length=100, db_default="")
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)
    ending = models.CharField(max_length=16, choices=Ending.choices, db_default="", blank=True)
    touched_at = models.DateTimeField(null=True, help_text="When its context was last used, as its keeper saw it.")
    is_alone = models.BooleanField(db_default=False)
    cost = models.DecimalField(max_digits=20, decimal_places=6, db_default=0)
    tokens = models.BigIntegerField(db_default=0)
    error = models.JSONField(null=True)

    objects = AttemptQuerySet.as_manager()

    class Meta:
        ordering = ["step", "epoch"]

    def __str__(self) -> str:
        return f"attempt {self.epoch} of {self.step_id}"
