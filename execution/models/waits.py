"""What steps wait for, and what is owed to the outside: timers, signals, effects, errands."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from execution import ids
from execution.models.steps import Step
from execution.models.values import ValueField


class TimerKind(models.TextChoices):
    """What a timer does when it fires."""

    START = "start"  # a run was opened with a later start
    RETRY = "retry"
    SLEEP = "sleep"
    TIMEOUT = "timeout"  # a signal did not come
    BREAKER = "breaker"  # the breaker lets a probe through
    RATE = "rate"  # a concurrency key has a token again
    DEADLINE = "deadline"
    PHASE = "phase"  # a phase's timebox has passed
    CUSTOM = "custom"  # opens a run of its own


class Timer(models.Model):
    """A stored wake-up, by the database's clock."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    kind = models.CharField(max_length=8, choices=TimerKind.choices)
    due_at = models.DateTimeField()
    step_id = models.UUIDField(null=True)
    run_id = models.UUIDField(null=True)
    epoch = models.IntegerField(null=True, help_text="The epoch at which the step began to wait.")
    name = models.CharField(max_length=255, null=True, blank=True)
    opening = models.JSONField(null=True, help_text="The run that a custom timer opens.")
    fired_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["name"],
                condition=models.Q(name__isnull=False, fired_at=None, cancelled_at=None),
                name="one_pending_timer_per_name",
            ),
        ]
        indexes = [
            models.Index(
                fields=["due_at", "id"], condition=models.Q(fired_at=None, cancelled_at=None), name="timers_pending"
            ),
            models.Index(fields=["fired_at"], condition=models.Q(fired_at__isnull=False), name="timers_fired"),
            models.Index(
                fields=["step_id"], condition=models.Q(fired_at=None, cancelled_at=None), name="timers_of_step"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} at {self.due_at}"


class Signal(models.Model):
    """Something from outside that a step waits for; kept when it comes early."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    run_id = models.UUIDField()
    name = models.CharField(max_length=255)
    data = ValueField()
    sender = models.CharField(max_length=255, db_default="", blank=True)
    created_at = models.DateTimeField(db_default=Now())
    consumed_by = models.UUIDField(null=True, help_text="The step that took it.")
    consumed_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["run_id", "name", "id"], name="signals_of_a_run"),
        ]

    def __str__(self) -> str:
        return f"{self.name} for {self.run_id}"


class EffectState(models.TextChoices):
    """The life of an effect."""

    INTENDED = "intended"  # stored before the call; still so after a crash: unknown
    DONE = "done"  # the receipt is stored
    FAILED = "failed"  # the call raised before anything was done, or a person said so


class Effect(models.Model):
    """Something done to the outside world: intent, then receipt."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    step = models.ForeignKey(Step, on_delete=models.CASCADE, related_name="effects", db_constraint=False)
    token = models.CharField(max_length=500)
    key = models.CharField(max_length=255, help_text="The idempotency key that the other side is given.")
    state = models.CharField(max_length=8, choices=EffectState.choices, db_default=EffectState.INTENDED)
    policy = models.CharField(max_length=8, help_text="What happens when the outcome is unknown: retry, ask or fail.")
    epoch = models.IntegerField()
    intent = ValueField()
    receipt = ValueField()
    decided_by = models.CharField(max_length=255, db_default="", blank=True)
    intended_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["step", "token"], name="one_effect_per_token")]

    def __str__(self) -> str:
        return f"{self.token} of {self.step_id}"


class ErrandKind(models.TextChoices):
    """What is owed."""

    PUBLISH = "publish"  # send a Celery signature of a task that is not durable
    CHILD = "child"  # tell a parent's step that its child run has ended


class Errand(models.Model):
    """Something owed after a commit, done at least once by its worker or by upkeep."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    kind = models.CharField(max_length=8, choices=ErrandKind.choices)
    payload = models.JSONField()
    try_count = models.IntegerField(db_default=0)
    due_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(db_default=Now())
    error = models.TextField(db_default="", blank=True)

    class Meta:
        indexes = [models.Index(fields=["due_at"], name="errands_due")]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class Chord(models.Model):
    """A Celery chord whose parts are counted in the ledger."""

    group_id = models.CharField(primary_key=True, max_length=255)
    size = models.IntegerField(null=True, help_text="How many parts; empty until the header has been sent.")
    body = models.JSONField(null=True)
    fired_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.group_id


class ChordPart(models.Model):
    """The ending of one part of a chord."""

    id = models.BigAutoField(primary_key=True)
    group_id = models.CharField(max_length=255)
    task_id = models.CharField(max_length=255)
    index = models.IntegerField()
    is_success = models.BooleanField()
    result = ValueField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["group_id", "task_id", "index"], name="one_ending_per_chord_part")
        ]

    def __str__(self) -> str:
        return f"{self.index} of {self.group_id}"
