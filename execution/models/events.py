"""The ledger's log. The table is made by SQL, because it is partitioned by ranges of its id."""

from __future__ import annotations

from django.db import models


class Event(models.Model):
    """One line of the log: what happened, written in the transaction in which it happened."""

    id = models.UUIDField(primary_key=True)
    xid = models.BigIntegerField(help_text="The transaction that wrote it.")
    at = models.DateTimeField()
    kind = models.CharField(max_length=64)
    run_id = models.UUIDField(null=True)
    step_id = models.UUIDField(null=True)
    agent_id = models.UUIDField(null=True)
    epoch = models.IntegerField(null=True)
    data = models.JSONField()

    class Meta:
        managed = False
        db_table = "execution_event"
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.kind} at {self.at}"


class EventReader(models.Model):
    """Where a reader of the log has got to; retention never passes the slowest."""

    name = models.CharField(primary_key=True, max_length=200)
    cursor = models.JSONField(db_default={})
    is_overrun = models.BooleanField(db_default=False, help_text="Events were dropped that it had not read.")
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.name
