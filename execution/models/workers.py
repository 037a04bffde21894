"""Workers, as their keepers report them."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from execution import ids


class Worker(models.Model):
    """One Celery worker: its keeper holds the lock whose number stands here."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    hostname = models.CharField(max_length=255)
    pid = models.IntegerField()
    pool = models.CharField(max_length=100, db_default="")
    queues = ArrayField(models.CharField(max_length=200), db_default=[])
    slot_count = models.IntegerField(db_default=1)
    free_count = models.IntegerField(db_default=0)
    lock_number = models.IntegerField(help_text="The second number of its session advisory lock.")
    holds_lock = models.BooleanField(db_default=True, help_text="False behind a pooler: leases alone decide.")
    is_draining = models.BooleanField(db_default=False)
    missing_since = models.DateTimeField(null=True)
    missing_count = models.IntegerField(db_default=0, help_text="Sweeps in a row that did not see its lock.")
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())
    gone_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["hostname"], condition=models.Q(gone_at=None), name="workers_alive")]

    def __str__(self) -> str:
        return self.hostname
