"""Candidates: the evidence and the alternatives side by side, decided or changed with a reason; the audit of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from execution import words
from execution.admin import shown
from execution.admin.lists import PlainAdmin, among
from execution.admin.reasons import ReasonForm, action
from execution.exceptions import NotAllowed
from recovery import candidates, decisions
from recovery.models import (
    CandidateState,
    RecoveryCandidate,
    Source,
    Stage,
    SuggestionAction,
    SuggestionProvenance,
)

if TYPE_CHECKING:
    _Inline = admin.TabularInline[SuggestionProvenance, RecoveryCandidate]
else:
    _Inline = admin.TabularInline


class ChangeForm(ReasonForm):
    """What is done instead of what is suggested, and why."""

    other = forms.ModelChoiceField(
        SuggestionAction.objects.filter(is_enabled=True).order_by("name"),
        label="Action",
        required=False,
        empty_label="what is suggested",
    )
    parameters = forms.JSONField(
        required=False, help_text='What it is told, as a JSON object: {"seconds": 60}. What is left out stays as it is.'
    )
    field_order = ("other", "parameters", "reason")

    def clean_parameters(self) -> dict[str, Any]:
        """Refuse what gives no names."""
        given = self.cleaned_data["parameters"] or {}
        if not isinstance(given, dict):
            raise forms.ValidationError('Write a JSON object: {"seconds": 60}.')
        return given


def approve(candidate: RecoveryCandidate, *, by: str, reason: str) -> None:
    """Approve what is suggested, and do it."""
    _be_done(decisions.approve_and_apply(candidate, by=by, reason=reason))


def change(
    candidate: RecoveryCandidate,
    *,
    by: str,
    reason: str,
    other: SuggestionAction | None,
    parameters: dict[str, Any],
) -> None:
    """Approve another action or other parameters, and do it."""
    name = other.name if other else None
    changed = decisions.change_and_approve(candidate, action=name, parameters=parameters, by=by, reason=reason)
    _be_done(decisions.apply(changed, by=by))


def _be_done(candidate: RecoveryCandidate) -> None:
    if candidate.state == CandidateState.WAITING:
        raise NotAllowed(f"candidate {candidate.id} {decisions.said(candidate)}")


_AUDIT = ("created_at", "stage", "actor", "rule", "action", "action_version", "confidence_after", "reason")


class AuditInline(_Inline):
    model = SuggestionProvenance
    fields = _AUDIT
    readonly_fields = _AUDIT
    extra = 0
    can_delete = False
    verbose_name_plural = "audit"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(RecoveryCandidate)
class RecoveryCandidateAdmin(PlainAdmin):
    list_display = [
        "shown_id", "shown_state", "skill", "error", "shown_pattern", "shown_action", "sure", "opened", "shown_needs",
    ]  # fmt: skip
    list_filter = ["state", among("source", "source", Source.choices)]
    list_select_related = ["pattern", "failure"]
    by_id = ["id", "run_id", "recovery_run_id"]
    by_word = ["skill", "fingerprint", "action", "pattern__name"]
    search_help_text = "An id of a candidate or a run; or, among the newest 100,000, a skill, action, kind or pattern."
    fields = [
        "shown_state", "run", "step", "skill", "error", "message", "shown_pattern", "fingerprint", "joined_count",
        "choices", "shown_needs", "decision", "decided_by", "decided_at", "reason", "applied_at", "recovery_run",
        "outcome", "ended_at", "shown_cost", "source", "claimed_by", "claim_count", "last_error", "created_at",
    ]  # fmt: skip
    inlines = [AuditInline]
    unlisted = ["alternatives", "evidence", "parameters"]
    actions = [
        action("approve", approve, done="approved and applied", permission="decide", noun="candidate"),
        action(
            "change", change, done="changed and applied", permission="decide", noun="candidate", form_class=ChangeForm
        ),
        action("reject", decisions.reject, done="rejected", permission="decide", noun="candidate"),
        action("hurry", candidates.hurry, done="hurried", permission="decide", noun="candidate"),
    ]

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recovery.decide_candidate")

    @admin.display(description="candidate")
    def shown_id(self, candidate: RecoveryCandidate) -> str:
        return shown.short(candidate.id)

    @admin.display(description="state")
    def shown_state(self, candidate: RecoveryCandidate) -> SafeString:
        return shown.state(candidate.state)

    @admin.display(description="error")
    def error(self, candidate: RecoveryCandidate) -> str:
        return candidate.failure.error_type or candidate.error_kind

    @admin.display(description="message")
    def message(self, candidate: RecoveryCandidate) -> SafeString:
        return shown.pre(candidate.failure.message)

    @admin.display(description="pattern")
    def shown_pattern(self, candidate: RecoveryCandidate) -> str:
        return candidate.pattern.name if candidate.pattern else shown.EMPTY

    @admin.display(description="action")
    def shown_action(self, candidate: RecoveryCandidate) -> str:
        return candidate.action or shown.EMPTY

    @admin.display(description="sure")
    def sure(self, candidate: RecoveryCandidate) -> str:
        return _share(candidate.confidence)

    @admin.display(description="opened")
    def opened(self, candidate: RecoveryCandidate) -> str:
        return shown.age(candidate.created_at)

    @admin.display(description="needs a person because")
    def shown_needs(self, candidate: RecoveryCandidate) -> str:
        return words.one_line(candidate.needs, 300) or shown.EMPTY

    @admin.display(description="run")
    def run(self, candidate: RecoveryCandidate) -> str:
        return shown.link("run", candidate.run_id)

    @admin.display(description="step")
    def step(self, candidate: RecoveryCandidate) -> str:
        return shown.link("step", candidate.step_id)

    @admin.display(description="carried on by")
    def recovery_run(self, candidate: RecoveryCandidate) -> str:
        return shown.link("run", candidate.recovery_run_id)

    @admin.display(description="cost")
    def shown_cost(self, candidate: RecoveryCandidate) -> str:
        return words.money(candidate.cost) if candidate.cost else shown.EMPTY

    @admin.display(description="what may be done")
    def choices(self, candidate: RecoveryCandidate) -> SafeString:
        """Show what is suggested and what else fits, side by side."""
        head = SafeString("<tr><th>action</th><th>sure</th><th>for sure</th><th>recovered</th><th>with</th></tr>")
        rows = format_html_join(
            "", "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", _cells(candidate)
        )  # fmt: skip
        return format_html("<table>{}{}</table>", head, rows)


def _cells(candidate: RecoveryCandidate) -> list[tuple[Any, ...]]:
    evidence = candidate.evidence
    first = (
        format_html("<strong>{} v{}</strong>", candidate.action, candidate.action_version),
        _share(candidate.confidence),
        _share(candidate.bound),
        f"{evidence.get('recovered', 0)} of {evidence.get('tried', 0)}",
        _told(candidate.parameters),
    )
    others = [
        (
            f"{one['action']} v{one['version']}",
            _share(one["confidence"]),
            _share(one["bound"]),
            f"{one['recovered']} of {one['tried']}",
            _told(one["parameters"]) + "; ".join(one.get("notes", [])),
        )
        for one in candidate.alternatives
    ]
    return [first, *others] if candidate.action else others


def _told(parameters: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters.items())


def _share(value: float | None) -> str:
    return shown.EMPTY if value is None else f"{value:.2f}"


@admin.register(SuggestionProvenance)
class SuggestionProvenanceAdmin(PlainAdmin):
    list_display = ["shown_candidate", "stage", "actor", "rule", "action", "action_version", "made", "shown_reason"]
    list_filter = [among("stage", "stage", Stage.choices)]
    by_id = ["id", "candidate_id"]
    by_word = ["actor", "action"]
    search_help_text = "A candidate's id; or, among the newest 100,000, an actor or an action."
    fields = [
        "shown_candidate", "stage", "actor", "rule", "rule_version", "action", "action_version", "shown_inputs",
        "confidence_before", "confidence_after", "duration_ms", "reason", "created_at",
    ]  # fmt: skip
    unlisted = ["inputs"]

    @admin.display(description="candidate")
    def shown_candidate(self, line: SuggestionProvenance) -> str:
        return shown.short(line.candidate_id)

    @admin.display(description="when")
    def made(self, line: SuggestionProvenance) -> str:
        return shown.age(line.created_at)

    @admin.display(description="reason")
    def shown_reason(self, line: SuggestionProvenance) -> str:
        return words.one_line(line.reason, 160) or shown.EMPTY

    @admin.display(description="inputs")
    def shown_inputs(self, line: SuggestionProvenance) -> SafeString:
        return shown.data(line.inputs)
