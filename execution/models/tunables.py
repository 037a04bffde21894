"""What has been tuned while the system runs: a value for all, or for one subject of a tunable."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Tunable(models.Model):
    """A tunable that is not at its default; its name, bounds and unit stand in execution/tunables.py."""

    name = models.CharField(max_length=100)
    subject = models.CharField(
        max_length=200, db_default="", blank=True, help_text="The skill or key that it is set for; empty: all."
    )
    value = models.FloatField()
    baseline = models.FloatField(
        null=True, blank=True, editable=False, help_text="What a reset goes back to, where no setting says it."
    )
    set_by = models.CharField(max_length=255, db_default="", blank=True, editable=False)
    reason = models.TextField(db_default="", blank=True)
    set_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "subject"], name="one_value_per_tunable_and_subject")]

    def __str__(self) -> str:
        return f"{self.name} of {self.subject}" if self.subject else self.name
