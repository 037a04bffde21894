"""Sessions: groups of runs that share state and a time to live."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models.functions import Now

from execution import ids
from execution.models.values import ValueField


class SessionStatus(models.TextChoices):
    """What is stored of a session's life; whether an open one is active or idle follows from its runs."""

    OPEN = "open"  # runs may start in it; left by time-out or by close
    EXPIRED = "expired"  # its time to live has passed unused; left by reopen or close
    CLOSED = "closed"  # by a person or a program; left by reopen


class SessionQuerySet(models.QuerySet["Session"]):
    """Sessions by what may be done with them."""

    def living(self) -> SessionQuerySet:
        return self.exclude(status=SessionStatus.CLOSED)

    def due(self) -> SessionQuerySet:
        return self.filter(status=SessionStatus.OPEN, expires_at__lte=Now())


class Session(models.Model):
    """A group of runs that share state and a time to live."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    name = models.CharField(max_length=200, db_default="", blank=True, help_text="One living session has it.")
    status = models.CharField(max_length=8, choices=SessionStatus.choices, db_default=SessionStatus.OPEN)
    tags = ArrayField(models.CharField(max_length=100), db_default=[])
    state = ValueField(help_text="The state that its runs share: an object of JSON.")
    version = models.IntegerField(db_default=0, help_text="How often the state was changed: the fence of each change.")
    ttl = models.DurationField(help_text="How long it stays open unused.")
    touched_at = models.DateTimeField(db_default=Now(), help_text="When it was last used, as far as it was noticed.")
    expires_at = models.DateTimeField(help_text="When it is looked at again, and times out if it was not used.")
    opened_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    created: bool = True
    """Whether `sessions.open` made it; false when its name led to one that was there."""

    objects = SessionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["name"], condition=~models.Q(name="") & ~models.Q(status="closed"), name="one_living_session"
            ),
        ]
        indexes = [
            models.Index(fields=["expires_at"], condition=models.Q(status="open"), name="sessions_by_expiry"),
            GinIndex(fields=["tags"], name="sessions_by_tag"),
        ]

    def __str__(self) -> str:
        return self.name or str(self.id)


class SessionCheckpoint(models.Model):
    """The state of a session as it was when the session ended."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="checkpoints", db_constraint=False)
    status = models.CharField(max_length=8, choices=SessionStatus.choices, help_text="What the session became.")
    version = models.IntegerField()
    state = ValueField()
    saved_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"version {self.version} of {self.session_id}"
