"""What steps have saved."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from execution.models.steps import Step
from execution.models.values import ValueField


class Kind(models.TextChoices):
    """Which verb of the context recorded it."""

    SAVE = "save"
    ONCE = "once"
    APPEND = "append"
    EACH = "each"
    SPEND = "spend"
    SLEEP = "sleep"
    WAIT = "wait"
    CALL = "call"
    EFFECT = "effect"
    SESSION = "session"
    RECALL = "recall"
    REMEMBER = "remember"
    LATE = "late"  # money that a fenced worker had already spent


class Checkpoint(models.Model):
    """One thing a step has saved under a token, never computed again."""

    pk = models.CompositePrimaryKey("step_id", "token")
    step = models.ForeignKey(
        Step, on_delete=models.CASCADE, related_name="checkpoints", db_constraint=False, db_index=False
    )
    token = models.CharField(max_length=500)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    position = models.BigIntegerField(help_text="The order of recording: the epoch, then a count within it.")
    name = models.CharField(max_length=200, null=True, help_text="The list of an appended value; the model of a spend.")
    is_scoped = models.BooleanField(db_default=False, help_text="It belongs to one iteration of a loop.")
    epoch = models.IntegerField()
    data = ValueField()
    size = models.IntegerField(db_default=0, help_text="Bytes before packing.")
    cost = models.DecimalField(max_digits=20, decimal_places=6, null=True)
    tokens = models.BigIntegerField(null=True)
    saved_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            models.Index(
                fields=["step", "position"],
                condition=models.Q(is_scoped=False) & ~models.Q(kind="append"),
                name="checkpoints_in_order",
            ),
            models.Index(
                fields=["step", "name", "position"], condition=models.Q(kind="append"), name="checkpoints_appended"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.token} of {self.step_id}"


class Blob(models.Model):
    """A large value, stored once by the hash of its content."""

    hash = models.BinaryField(primary_key=True)
    data = models.BinaryField()
    size = models.IntegerField(help_text="Bytes before packing.")
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return bytes(self.hash).hex()
