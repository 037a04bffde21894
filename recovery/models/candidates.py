"""Candidates: one proposed recovery each, with its actions, evidence and audit; and letters that nobody could read."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from execution import ids
from recovery.models.failures import FailureMatch, FailurePattern


class Risk(models.TextChoices):
    """What may go wrong with an action."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class SuggestionAction(models.Model):
    """A template of what may be done about a failure; its version rises with each change."""

    name = models.CharField(primary_key=True, max_length=100)
    verb = models.CharField(max_length=100, help_text="The action in code that it calls: see recovery/actions.py.")
    parameters = models.JSONField(db_default={}, blank=True)
    version = models.IntegerField(db_default=1, editable=False)
    proven_since = models.IntegerField(
        db_default=1,
        editable=False,
        help_text="The version at which what it does was last changed: evidence counts on.",
    )
    description = models.TextField(db_default="", blank=True)
    error_kinds = ArrayField(
        models.CharField(max_length=16), db_default=[], blank=True, help_text="Empty: of any kind."
    )
    categories = ArrayField(models.CharField(max_length=16), db_default=[], blank=True)
    skills = ArrayField(models.CharField(max_length=200), db_default=[], blank=True)
    weight = models.FloatField(db_default=0.5, help_text="How fitting it is before there is evidence, from 0 to 1.")
    risk = models.CharField(max_length=8, choices=Risk.choices, db_default=Risk.LOW)
    level = models.SmallIntegerField(db_default=2, help_text="The autonomy level that its agent needs for it.")
    is_automated = models.BooleanField(db_default=True, help_text="A program can do it.")
    needs_approval = models.BooleanField(db_default=False, help_text="A person decides, whatever the evidence.")
    cooldown_seconds = models.IntegerField(db_default=0, help_text="How long until it may be done again to the same.")
    is_enabled = models.BooleanField(db_default=True)
    changed_at = models.DateTimeField(db_default=Now())
    changed_by = models.CharField(max_length=150, db_default="", blank=True)

    class Meta:
        verbose_name = "action"

    def __str__(self) -> str:
        return self.name


class CandidateState(models.TextChoices):
    """The life of a candidate; the diagram stands in docs/candidates.md."""

    OPEN = "open"  # waits for an evaluator; one holds it while `lease_until` has not passed
    WAITING = "waiting"  # evaluated: waits for an operator
    APPROVED = "approved"  # by an operator or by rule; its action is due
    APPLIED = "applied"  # its action was done; the run's end will tell
    REJECTED = "rejected"  # by an operator
    RECOVERED = "recovered"  # the run ended well
    INEFFECTIVE = "ineffective"  # the run failed again, or its failure came back
    SETTLED = "settled"  # its action was done and lets no run go on: there is nothing to measure
    OVERTAKEN = "overtaken"  # the run went on or ended without it


ENDED = (
    CandidateState.REJECTED,
    CandidateState.RECOVERED,
    CandidateState.INEFFECTIVE,
    CandidateState.SETTLED,
    CandidateState.OVERTAKEN,
)


class Source(models.TextChoices):
    """By which way a candidate came to its evaluator."""

    STREAM = "stream"
    CLAIM = "claim"
    EXPRESS = "express"


class RecoveryCandidate(models.Model):
    """One proposed recovery of one run."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    failure = models.OneToOneField(FailureMatch, on_delete=models.CASCADE, related_name="candidate")
    run_id = models.UUIDField()
    origin_run_id = models.UUIDField(
        null=True, help_text="The first run, where this one carries on what another began."
    )
    step_id = models.UUIDField()
    agent_id = models.UUIDField()
    skill = models.CharField(max_length=200)
    error_kind = models.CharField(max_length=16)
    fingerprint = models.CharField(max_length=40)
    fingerprint_version = models.SmallIntegerField()
    pattern = models.ForeignKey(FailurePattern, null=True, on_delete=models.SET_NULL, related_name="candidates")
    failed_at = models.DateTimeField(db_default=Now(), help_text="When that failure happened.")
    joined_count = models.IntegerField(db_default=0, help_text="Further failures of the same kind on the same run.")
    state = models.CharField(max_length=16, choices=CandidateState.choices, db_default=CandidateState.OPEN)
    is_urgent = models.BooleanField(db_default=False, help_text="An operator wants it now.")

    claimed_by = models.CharField(max_length=200, db_default="", blank=True)
    lease_until = models.DateTimeField(null=True)
    epoch = models.IntegerField(db_default=0, help_text="Rises with each claim; writes of an earlier one are refused.")
    claim_count = models.IntegerField(db_default=0)
    last_error = models.TextField(db_default="", blank=True, help_text="Why its last evaluation failed.")

    source = models.CharField(max_length=8, choices=Source.choices, db_default="", blank=True)
    action = models.CharField(max_length=100, db_default="", blank=True)
    action_version = models.IntegerField(null=True)
    proven_since = models.IntegerField(null=True, help_text="As its action says; empty where a person changed it.")
    verb = models.CharField(max_length=100, db_default="", blank=True)
    parameters = models.JSONField(db_default={})
    confidence = models.FloatField(null=True, help_text="How likely it recovers the run, as the evaluator sees it.")
    bound = models.FloatField(null=True, help_text="The lower bound of what the evidence says.")
    evidence = models.JSONField(db_default={}, help_text="Tried and recovered, and the rule that chose.")
    alternatives = models.JSONField(db_default=[], help_text="The other actions, each with its confidence and bound.")
    needs = models.TextField(db_default="", blank=True, help_text="Why a person must decide.")
    evaluated_at = models.DateTimeField(null=True)

    decision = models.CharField(
        max_length=16, db_default="", blank=True, help_text="automatic, approved, changed or rejected."
    )
    decided_by = models.CharField(max_length=150, db_default="", blank=True)
    decided_at = models.DateTimeField(null=True)
    reason = models.TextField(db_default="", blank=True)
    applied_at = models.DateTimeField(null=True)
    recovery_run_id = models.UUIDField(null=True, help_text="The run that carries on, where it is another.")
    spent_before = models.DecimalField(
        max_digits=20, decimal_places=6, db_default=0, help_text="What the run that carries on had spent by then."
    )
    ended_at = models.DateTimeField(null=True)
    outcome = models.TextField(db_default="", blank=True, help_text="What became of it, in words.")
    cost = models.DecimalField(max_digits=20, decimal_places=6, db_default=0, help_text="What the recovery has cost.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = "candidate"
        permissions = [("decide_candidate", "Can approve, reject, change and apply candidates")]
        constraints = [
            models.UniqueConstraint(
                fields=["run_id", "fingerprint_version", "fingerprint"],
                condition=~Q(state__in=["rejected", "recovered", "ineffective", "settled", "overtaken"]),
                name="one_open_candidate_per_run_and_kind",
            ),
        ]
        indexes = [
            models.Index(fields=["-is_urgent", "id"], condition=Q(state="open"), name="candidates_to_evaluate"),
            models.Index(fields=["id"], condition=Q(state="waiting"), name="candidates_to_decide"),
            models.Index(fields=["id"], condition=Q(state="approved"), name="candidates_to_apply"),
            models.Index(fields=["run_id", "-id"], name="candidates_of_a_run"),
            models.Index(fields=["origin_run_id", "-id"], name="candidates_of_an_origin"),
            models.Index(
                fields=["action", "-applied_at"], condition=Q(applied_at__isnull=False), name="candidates_by_action"
            ),
            models.Index(
                fields=["recovery_run_id"], condition=Q(recovery_run_id__isnull=False), name="candidates_by_recovery"
            ),
            models.Index(fields=["pattern", "-id"], name="candidates_of_a_pattern"),
            models.Index(
                fields=["fingerprint", "ended_at"], condition=Q(state="recovered"), name="candidates_recovered"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action or 'candidate'} for {self.run_id}"


class ActionRecord(models.Model):
    """How an action has done on a kind of failure: what the evaluator weighs."""

    fingerprint_version = models.SmallIntegerField()
    fingerprint = models.CharField(max_length=40)
    action = models.CharField(max_length=100)
    proven_since = models.IntegerField(help_text="The version of the action from which on it counts.")
    tried_count = models.IntegerField(db_default=0)
    recovered_count = models.IntegerField(db_default=0)
    ineffective_at = models.DateTimeField(null=True, help_text="When it was taken back to review.")
    cleared_at = models.DateTimeField(null=True, help_text="When a person let it be applied alone again.")
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["fingerprint_version", "fingerprint", "action", "proven_since"],
                name="one_record_per_action_and_kind",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action}: {self.recovered_count} of {self.tried_count}"


class Stage(models.TextChoices):
    """What a line of a candidate's audit tells of."""

    EVALUATED = "evaluated"
    DECIDED = "decided"
    APPLIED = "applied"
    MEASURED = "measured"


class SuggestionProvenance(models.Model):
    """One line of a candidate's audit, written in the transaction that it tells of."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    candidate = models.ForeignKey(RecoveryCandidate, on_delete=models.CASCADE, related_name="provenance")
    stage = models.CharField(max_length=16, choices=Stage.choices)
    actor = models.CharField(max_length=200, help_text="An evaluator, a rule, a model or a person.")
    rule = models.CharField(max_length=100, db_default="", blank=True)
    rule_version = models.IntegerField(null=True)
    action = models.CharField(max_length=100, db_default="", blank=True)
    action_version = models.IntegerField(null=True)
    inputs = models.JSONField(db_default={})
    confidence_before = models.FloatField(null=True)
    confidence_after = models.FloatField(null=True)
    duration_ms = models.FloatField(null=True)
    reason = models.TextField(db_default="", blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "provenance"
        indexes = [models.Index(fields=["candidate", "id"], name="provenance_of_a_candidate")]

    def __str__(self) -> str:
        return f"{self.stage} by {self.actor}"


class DeadLetter(models.Model):
    """A message that could not be worked off: kept with its reason, replayed once."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    queue = models.CharField(max_length=100, help_text="Where it was: a stream, or a handler.")
    original_id = models.CharField(max_length=100)
    body = models.JSONField()
    reason = models.TextField(db_default="")
    tries = models.IntegerField(db_default=0)
    died_at = models.DateTimeField(db_default=Now())
    replayed_at = models.DateTimeField(null=True)
    replayed_by = models.CharField(max_length=150, db_default="", blank=True)
    is_dismissed = models.BooleanField(db_default=False, help_text="Put aside instead of replayed.")

    class Meta:
        permissions = [("replay_deadletter", "Can replay and dismiss dead letters")]
        constraints = [models.UniqueConstraint(fields=["queue", "original_id"], name="one_dead_letter_per_original")]
        indexes = [models.Index(fields=["-id"], condition=Q(replayed_at__isnull=True), name="dead_letters_to_look_at")]

    def __str__(self) -> str:
        return f"{self.queue} {self.original_id}"
