"""Jobs: many small items of one skill, the lanes that perform them, and the items themselves."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from execution.models.runs import Run
from execution.models.steps import Step
from execution.models.values import ValueField


class Job(models.Model):
    """A batch of items; the run that carries it out has the same id, and a step for each lane."""

    run = models.OneToOneField(
        Run, primary_key=True, on_delete=models.CASCADE, related_name="job", db_constraint=False, editable=False
    )
    skill = models.CharField(max_length=200, help_text="What is done with each item.")
    chunk = models.IntegerField(help_text="Items that a lane takes at once, at most.")
    lane_count = models.IntegerField()
    item_count = models.IntegerField()
    next_position = models.IntegerField(db_default=1, help_text="The first item that no lane has taken yet.")
    reopened_count = models.IntegerField(db_default=0, help_text="Failed items that `retry` has opened again.")
    reserve_cost = models.DecimalField(max_digits=20, decimal_places=6, db_default=0, help_text="For each item.")
    reserve_tokens = models.BigIntegerField(db_default=0, help_text="For each item.")
    options = models.JSONField(db_default={}, help_text="Policies taken from the skill when the job was spawned.")
    created_at = models.DateTimeField(db_default=Now())

    created: bool = True
    """Whether `jobs.spawn` made this job; false when its key led to an earlier one."""

    def __str__(self) -> str:
        return f"{self.skill} {self.run_id}"


class JobLane(models.Model):
    """What one lane of a job holds and has done; its step is claimed, fenced and given back like any other."""

    step = models.OneToOneField(
        Step, primary_key=True, on_delete=models.CASCADE, related_name="lane", db_constraint=False, editable=False
    )
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="lanes", db_constraint=False)
    open = ArrayField(models.IntegerField(), db_default=[], help_text="The items that it has taken and not recorded.")
    at = models.IntegerField(null=True, help_text="The item that it began when it was last heard of.")
    completed_count = models.IntegerField(db_default=0)
    failed_count = models.IntegerField(db_default=0)
    cost = models.DecimalField(max_digits=20, decimal_places=6, db_default=0)
    tokens = models.BigIntegerField(db_default=0)
    rate = models.FloatField(db_default=0.0, help_text="Items a second, lately.")
    heard_at = models.DateTimeField(db_default=Now(), help_text="When it last recorded or took items.")

    def __str__(self) -> str:
        return f"lane {self.step_id}"


class ItemState(models.TextChoices):
    """The life of an item."""

    PENDING = "pending"  # not performed yet, in some lane's hands, or due again
    COMPLETED = "completed"
    FAILED = "failed"  # for good; left by `jobs.retry`


class JobItem(models.Model):
    """One item of a job. Its row is written when it is spawned and when it is recorded, and never in between."""

    pk = models.CompositePrimaryKey("job_id", "position")
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="items", db_constraint=False, db_index=False)
    position = models.IntegerField()
    attempt_count = models.SmallIntegerField(db_default=0)
    state = models.CharField(max_length=16, choices=ItemState.choices, db_default=ItemState.PENDING)
    due_at = models.DateTimeField(null=True, help_text="When it is tried again.")
    tokens = models.BigIntegerField(null=True)
    cost = models.DecimalField(max_digits=20, decimal_places=6, null=True)
    input = ValueField()
    output = ValueField()
    error = models.JSONField(null=True)

    class Meta:
        # The only column of an index that changes is that of the few items which are tried again: to record an item
        # touches no index.
        indexes = [
            models.Index(fields=["job", "due_at"], condition=models.Q(due_at__isnull=False), name="items_due_again"),
        ]

    def __str__(self) -> str:
        return f"item {self.position} of {self.job_id}"
