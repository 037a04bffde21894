"""Workflows: the versions of each definition."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from execution import ids


class Workflow(models.Model):
    """One version of a workflow's definition; it is never changed, a changed definition gets the next version."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    name = models.CharField(max_length=200)
    version = models.IntegerField(help_text="1 for the first definition of this name.")
    digest = models.CharField(max_length=64, help_text="A hash of the definition's content.")
    definition = models.JSONField(help_text="The definition; its order of steps is kept in `source`.")
    source = models.TextField(db_default="", help_text="The text that it was read from, with its comments.")
    file = models.CharField(max_length=500, db_default="", help_text="Where it was read.")
    registered_at = models.DateTimeField(db_default=Now())
    registered_by = models.CharField(max_length=200, db_default="")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "version"], name="one_definition_per_version")]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"
