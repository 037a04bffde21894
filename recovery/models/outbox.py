"""The outbox: where events are sent to, what is due, and how each delivery went; and locks with one holder."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from execution import ids
from recovery import event_kinds


class DistributedLock(models.Model):
    """A lock with one holder at a time; its token rises with each change of holder."""

    name = models.CharField(primary_key=True, max_length=200)
    holder = models.CharField(max_length=200, db_default="", blank=True)
    token = models.BigIntegerField(db_default=0)
    until = models.DateTimeField(null=True)
    acquired_count = models.BigIntegerField(db_default=0)
    lost_count = models.BigIntegerField(db_default=0, help_text="How often its time ran out before it was released.")

    def __str__(self) -> str:
        return self.name


class EndpointState(models.TextChoices):
    """The life of an endpoint."""

    ACTIVE = "active"
    DISABLED = "disabled"  # by an operator, by the receiver's 410, or because it failed for 120 hours


class WebhookEndpoint(models.Model):
    """Where events are sent to."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    name = models.CharField(max_length=100, unique=True)
    url = models.URLField(max_length=2000)
    kinds = ArrayField(models.CharField(max_length=64), db_default=[], blank=True, help_text="As in run.*; empty: all.")
    secrets = models.JSONField(
        db_default=[], editable=False, help_text="Signing secrets, the newest first; never shown."
    )
    is_ordered = models.BooleanField(db_default=False, help_text="Events of one run in their order, one at a time.")
    state = models.CharField(max_length=16, choices=EndpointState.choices, db_default=EndpointState.ACTIVE)
    disabled_reason = models.TextField(db_default="", blank=True)
    failing_since = models.DateTimeField(null=True, help_text="Since when every try has failed.")
    held_until = models.DateTimeField(null=True, help_text="The receiver asked to be left alone until then.")
    delivered_at = models.DateTimeField(null=True)
    last_error = models.TextField(db_default="", blank=True, help_text="Why the last try failed.")
    published_count = models.BigIntegerField(db_default=0, editable=False, help_text="Messages made for it.")
    delivered_count = models.BigIntegerField(db_default=0, editable=False)
    failed_count = models.BigIntegerField(db_default=0, editable=False, help_text="Tries that failed.")
    dead_count = models.BigIntegerField(db_default=0, editable=False, help_text="Messages given up.")
    created_at = models.DateTimeField(db_default=Now())
    changed_by = models.CharField(max_length=150, db_default="", blank=True)

    class Meta:
        verbose_name = "webhook"
        permissions = [("operate_webhook", "Can test, replay, rotate, disable and enable webhooks")]

    def __str__(self) -> str:
        return self.name

    def wants(self, kind: str) -> bool:
        """Tell whether events of a kind are sent to it."""
        return not self.kinds or any(event_kinds.fits(pattern, kind) for pattern in self.kinds)


class OutboxState(models.TextChoices):
    """The life of one event on its way to one endpoint."""

    PENDING = "pending"  # due at `due_at`; somebody holds it while `lease_until` has not passed
    DELIVERED = "delivered"
    DEAD = "dead"  # given up after the last try; left by replay


class OutboxEvent(models.Model):
    """One event for one endpoint."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="outbox", db_index=False)
    event_id = models.UUIDField()
    kind = models.CharField(max_length=64)
    aggregate = models.CharField(max_length=100, db_default="", help_text="What it is about: its run or agent.")
    body = models.JSONField(help_text="The event as CloudEvents 1.0.")
    state = models.CharField(max_length=16, choices=OutboxState.choices, db_default=OutboxState.PENDING)
    try_count = models.IntegerField(db_default=0)
    due_at = models.DateTimeField(db_default=Now())
    lease_token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    delivered_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["event_id", "endpoint"], name="one_message_per_endpoint")]
        indexes = [
            models.Index(fields=["endpoint", "due_at"], condition=Q(state="pending"), name="outbox_due"),
            models.Index(
                fields=["endpoint", "aggregate", "event_id"], condition=Q(state="pending"), name="outbox_in_order"
            ),
            models.Index(
                fields=["endpoint", "lease_until"],
                condition=Q(state="pending", lease_token__isnull=False),
                name="outbox_in_hand",
            ),
            models.Index(fields=["endpoint", "-id"], name="outbox_of_an_endpoint"),
            models.Index(fields=["endpoint", "-id"], condition=Q(state="dead"), name="outbox_dead"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} to {self.endpoint_id}"


class Delivery(models.Model):
    """One try to deliver."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    message = models.ForeignKey(OutboxEvent, on_delete=models.CASCADE, related_name="deliveries")
    status = models.SmallIntegerField(null=True, help_text="Empty: there was no answer.")
    error = models.TextField(db_default="", blank=True)
    response = models.TextField(db_default="", blank=True, help_text="The first 20 kB of the answer.")
    duration_ms = models.FloatField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "deliveries"

    def __str__(self) -> str:
        return f"{self.status or self.error} for {self.message_id}"


class HandlerSwitch(models.Model):
    """A handler of events: since when it is known, and whether it is switched on."""

    handler = models.CharField(primary_key=True, max_length=200)
    kinds = ArrayField(models.CharField(max_length=64), db_default=[], help_text="The events that it asks for.")
    known_at = models.DateTimeField(db_default=Now(), help_text="What happened long before is history to it.")
    is_enabled = models.BooleanField(db_default=True)
    changed_by = models.CharField(max_length=150, db_default="", blank=True)
    reason = models.TextField(db_default="", blank=True)
    changed_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "handler"
        permissions = [("switch_handler", "Can switch handlers of events off and on")]

    def __str__(self) -> str:
        return self.handler


class HandlingState(models.TextChoices):
    """The life of one event in one handler."""

    PENDING = "pending"
    WAITING = "waiting"  # at a checkpoint, for a person; left by resolve
    DONE = "done"
    DEAD = "dead"  # given up after the last try; a dead letter tells of it


class Handling(models.Model):
    """One event in one handler."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    handler = models.CharField(max_length=200)
    event_id = models.UUIDField()
    kind = models.CharField(max_length=64)
    event = models.JSONField()
    state = models.CharField(max_length=16, choices=HandlingState.choices, db_default=HandlingState.PENDING)
    try_count = models.IntegerField(db_default=0)
    due_at = models.DateTimeField(db_default=Now())
    lease_token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    question = models.TextField(db_default="", blank=True, help_text="What a person is asked.")
    answers = models.JSONField(db_default={}, help_text="What persons have answered, by question.")
    answered_by = models.CharField(max_length=150, db_default="", blank=True)
    last_error = models.TextField(db_default="", blank=True)
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        permissions = [("answer_handling", "Can answer the questions of handlers")]
        constraints = [models.UniqueConstraint(fields=["event_id", "handler"], name="one_handling_per_event")]
        indexes = [
            models.Index(fields=["handler", "due_at"], condition=Q(state="pending"), name="handlings_due"),
            models.Index(
                fields=["handler"], condition=Q(state="pending", lease_until__isnull=False), name="handlings_held"
            ),
            models.Index(fields=["ended_at"], condition=Q(state="done"), name="handlings_to_forget"),
            models.Index(fields=["-id"], condition=Q(state="waiting"), name="handlings_waiting"),
        ]

    def __str__(self) -> str:
        return f"{self.handler} of {self.kind}"
