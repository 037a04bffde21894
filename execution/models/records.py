"""Records: what was measured and what was judged, with what each rests on. They are written once and never changed."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models.functions import Now

from execution import ids


class AssessmentKind(models.TextChoices):
    """What is measured."""

    SLO_STATUS = "slo_status"
    BURN_RATE = "burn_rate"
    JUDGMENT_SLO = "judgment_slo"
    DRIFT_SIGNAL = "drift_signal"
    DEPENDENCY_GRAPH = "dependency_graph"
    DEPLOY_GATE = "deploy_gate"
    CALIBRATION_SIGNAL = "calibration_signal"
    RETROSPECTIVE = "retrospective"
    PORTFOLIO_STATUS = "portfolio_status"
    CORRELATION_SNAPSHOT = "correlation_snapshot"
    TOPOLOGY_DRIFT = "topology_drift"
    CONTRACT_DIVERGENCE = "contract_divergence"


class Action(models.TextChoices):
    """What a verdict says to do."""

    APPROVE = "approve"
    REJECT = "reject"
    FLAG = "flag"
    ESCALATE = "escalate"
    DEFER = "defer"


class Record(models.Model):
    """What assessments and verdicts have in common."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    subject = models.CharField(max_length=255, help_text="What it is about, as in service:payments or agent:scout.")
    producer = models.CharField(max_length=200, help_text="What measured or judged: a cycle, an evaluator, a person.")
    data = models.JSONField(default=dict, db_default={}, encoder=DjangoJSONEncoder)
    parents = ArrayField(
        models.UUIDField(), default=list, db_default=[], help_text="The records that it rests on, each older than it."
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        abstract = True
        ordering = ["-id"]


class Assessment(Record):
    """A measured fact about a subject, over a window of time."""

    kind = models.CharField(max_length=32, choices=AssessmentKind.choices)
    window_start_at = models.DateTimeField(null=True)
    window_end_at = models.DateTimeField(null=True)

    class Meta(Record.Meta):
        indexes = [models.Index(fields=["kind", "subject", "-id"], name="assessments_of_a_subject")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.subject}"


class Verdict(Record):
    """A judgment on a subject; what became of it is said by a later verdict."""

    kind = models.CharField(max_length=64)
    action = models.CharField(max_length=8, choices=Action.choices)
    confidence = models.FloatField(null=True, help_text="From 0 to 1; empty where the producer gives none.")
    reasoning = models.TextField(db_default="", blank=True)
    model = models.CharField(max_length=200, db_default="", blank=True, help_text="The model that judged, if one did.")
    prompt_version = models.CharField(max_length=100, db_default="", blank=True)
    cost = models.DecimalField(max_digits=20, decimal_places=6, db_default=0, default=0)
    run_id = models.UUIDField(null=True)
    step_id = models.UUIDField(null=True)
    agent_id = models.UUIDField(null=True)
    outcome_of = models.UUIDField(null=True, help_text="The earlier verdict of which this one says what became of it.")
    outcome = models.FloatField(null=True, help_text="1: it held, 0: it did not, 0.5: partly.")

    class Meta(Record.Meta):
        constraints = [
            models.CheckConstraint(
                condition=models.Q(confidence=None) | models.Q(confidence__gte=0, confidence__lte=1),
                name="a_confidence_is_a_share",
            ),
            models.CheckConstraint(
                condition=models.Q(outcome_of=None, outcome=None)
                | models.Q(outcome_of__isnull=False, outcome__gte=0, outcome__lte=1),
                name="an_outcome_is_a_share_and_of_a_verdict",
            ),
        ]
        indexes = [
            models.Index(fields=["kind", "subject", "-id"], name="verdicts_of_a_subject"),
            models.Index(
                fields=["agent_id", "-id"], condition=models.Q(agent_id__isnull=False), name="verdicts_of_agent"
            ),
            models.Index(fields=["run_id"], condition=models.Q(run_id__isnull=False), name="verdicts_of_a_run"),
            models.Index(
                fields=["outcome_of"], condition=models.Q(outcome_of__isnull=False), name="outcomes_of_verdict"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.action} {self.subject}"


class RecordParent(models.Model):
    """One edge of the lineage: written by the database with the record, from its parents."""

    record_id = models.UUIDField()
    parent_id = models.UUIDField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["record_id", "parent_id"], name="one_edge_per_parent"),
            models.CheckConstraint(condition=models.Q(parent_id__lt=models.F("record_id")), name="a_parent_is_older"),
        ]
        indexes = [models.Index(fields=["parent_id", "record_id"], name="children_of_a_record")]

    def __str__(self) -> str:
        return f"{self.record_id} rests on {self.parent_id}"


class RecordHold(models.Model):
    """A record that retention keeps, because a case that needs it is open."""

    record_id = models.UUIDField()
    name = models.CharField(max_length=255, help_text="Who holds it, as in incident:42.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["record_id", "name"], name="one_hold_per_record_and_name")]

    def __str__(self) -> str:
        return f"{self.name} holds {self.record_id}"
