"""Candidates: the evidence and the alternatives side by side, decided with a reason; and the audit of each."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from execution import words
from execution.admin import drawn, shown
from execution.admin.lists import PlainAdmin, among
from execution.admin.pages import ToldAdmin
from execution.admin.reasons import ReasonForm, action
from execution.exceptions import NotAllowed
from recovery import actions, candidates, decisions
from recovery.models import (
    CandidateState,
    RecoveryCandidate,
    Risk,
    Source,
    Stage,
    SuggestionAction,
    SuggestionProvenance,
)

SURE = "How likely it recovers the run: the action's own weight, moved towards the evidence by each recorded outcome."
BOUND = "What past outcomes say for sure, at 95 %: one success of one says little, eleven of eleven say 0.8."
STATES = {
    CandidateState.OPEN: "It waits for an evaluator, which weighs what may be done.",
    CandidateState.WAITING: "It waits for a person to decide.",
    CandidateState.APPROVED: "It is approved; its action is due.",
    CandidateState.APPLIED: "Its action was done; the end of the run will tell whether it helped.",
    CandidateState.REJECTED: "It was rejected: the run stays as it is.",
    CandidateState.RECOVERED: "It helped: the run ended well.",
    CandidateState.INEFFECTIVE: "It did not help: the run failed again, or its failure came back.",
    CandidateState.SETTLED: "Its action was done; it lets no run go on, so there is nothing to measure.",
    CandidateState.OVERTAKEN: "The run went on or ended without it.",
}
RISKS: dict[str, str] = {Risk.LOW: "low risk", Risk.MEDIUM: "medium risk", Risk.HIGH: "high risk"}
_MARKS = {
    Stage.EVALUATED: "",
    Stage.DECIDED: "is-wait",
    Stage.APPLIED: "is-good",
    Stage.MEASURED: "is-good",
}


class ChangeForm(ReasonForm):
    """Another action, or other parameters, and why."""

    alternative = forms.ChoiceField(label="What is done", required=False)
    parameters = forms.JSONField(
        required=False,
        help_text='What the action is told, as JSON such as {"seconds": 60}; empty: what it is told usually.',
    )
    field_order = ("alternative", "parameters", "reason")

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        rows = SuggestionAction.objects.filter(is_enabled=True).order_by("name")
        known = [(one.name, f"{one.name}: {one.description}") for one in rows]
        self.fields["alternative"].choices = [("", "what is suggested"), *known]  # type: ignore[attr-defined]

    def clean_parameters(self) -> Any:
        """Take names with their values."""
        given = self.cleaned_data["parameters"]
        if given is not None and not isinstance(given, dict):
            raise forms.ValidationError('Parameters are a JSON object such as {"seconds": 60}.')
        return given


def approve(candidate: RecoveryCandidate, *, by: str, reason: str) -> None:
    """Approve what is suggested, and do it."""
    _check_done(decisions.approve_and_apply(candidate, by=by, reason=reason))


def change(
    candidate: RecoveryCandidate, *, by: str, reason: str, alternative: str = "", parameters: dict[str, Any] | None
) -> None:
    """Approve another action or other parameters, and do it."""
    if not alternative and not parameters:
        raise NotAllowed("nothing is changed: choose another action or other parameters, or approve it as it is")
    done = decisions.change_and_apply(
        candidate, action=alternative or None, parameters=parameters, by=by, reason=reason
    )  # fmt: skip
    _check_done(done)


def apply(candidate: RecoveryCandidate, *, by: str, reason: str) -> None:
    """Do what was approved before."""
    del reason
    _check_done(decisions.apply(candidate, by=by))


def _check_done(done: RecoveryCandidate) -> None:
    if done.state == CandidateState.WAITING:
        raise NotAllowed(f"candidate {done.id} {decisions.said(done)}")


def what_it_does(chosen: list[RecoveryCandidate]) -> str:
    """Say what approving does to each of these."""
    if len(chosen) != 1:
        return "What is suggested for each is done to its run at once."
    return f"{_does(chosen[0])} It is done at once, in your name."


@admin.register(RecoveryCandidate)
class RecoveryCandidateAdmin(ToldAdmin):
    list_display = [
        "shown_id", "shown_state", "skill", "error", "shown_pattern", "shown_action", "sure", "opened", "shown_needs",
    ]  # fmt: skip
    list_filter = ["state", among("source", "source", Source.choices)]
    list_select_related = ["pattern", "failure"]
    by_id = ["id", "run_id", "recovery_run_id"]
    by_word = ["skill", "fingerprint", "action", "pattern__name"]
    search_help_text = "An id of a candidate or a run; or, among the newest 100,000, a skill, action, kind or pattern."
    change_form_template = "admin/recovery/candidate.html"
    stored = [
        "shown_state", "run", "step", "skill", "error", "message", "shown_pattern", "fingerprint", "joined_count",
        "shown_needs", "decision", "decided_by", "decided_at", "reason", "applied_at", "recovery_run", "outcome",
        "ended_at", "shown_cost", "source", "claimed_by", "claim_count", "last_error", "created_at",
    ]  # fmt: skip
    readonly_fields = [
        "shown_state", "run", "step", "error", "message", "shown_pattern", "shown_needs", "recovery_run", "shown_cost",
    ]  # fmt: skip
    unlisted = ["alternatives", "evidence", "parameters"]
    main = ["approve", "apply"]
    actions = [
        action(
            "approve", approve, done="approved and applied", permission="decide", noun="candidate",
            label="Approve and apply", tells=what_it_does,
        ),
        action(
            "change", change, done="changed and applied", permission="decide", noun="candidate",
            label="Do something else", form_class=ChangeForm,
            tells="Another action, or other parameters. What a person changed is no evidence for the action.",
        ),
        action(
            "reject", decisions.reject, done="rejected", permission="decide", noun="candidate",
            tells="Nothing is done: the run stays as it is.",
        ),
        action(
            "apply", apply, done="applied", permission="decide", noun="candidate", label="Apply now",
            tells="It was approved, and is done by the next pass anyway: this does it now.",
        ),
        action(
            "hurry", candidates.hurry, done="hurried", permission="decide", noun="candidate",
            label="Evaluate first", tells="It is evaluated before all others.",
        ),
    ]  # fmt: skip

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recovery.decide_candidate")

    def possible(self, row: RecoveryCandidate) -> list[str]:
        if row.state == CandidateState.WAITING:
            return ["approve", "change", "reject"] if row.action else ["change", "reject"]
        return {CandidateState.OPEN.value: ["hurry"], CandidateState.APPROVED.value: ["apply"]}.get(row.state, [])

    def parts(self, request: HttpRequest, row: RecoveryCandidate) -> dict[str, Any]:
        return {
            "state": _state(row.state),
            "state_said": STATES[CandidateState(row.state)],
            "does": _does(row) if row.action else "",
            "cost": words.money(row.cost) if row.cost else "",
            "choices": _choices(row),
            "may_change": row.state == CandidateState.WAITING and self.has_decide_permission(request),
            "audit": [_line(one) for one in row.provenance.all()[:100]],
            "facts": _facts(row),
        }

    @admin.display(description="candidate")
    def shown_id(self, candidate: RecoveryCandidate) -> str:
        return shown.short(candidate.id)

    @admin.display(description="state")
    def shown_state(self, candidate: RecoveryCandidate) -> SafeString:
        return _state(candidate.state)

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
        return drawn.share(candidate.confidence, SURE)

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


def _state(state: str) -> SafeString:
    """Show a state; one that is open is no trouble: an evaluator comes by."""
    return shown.state("evaluating" if state == CandidateState.OPEN else state)


def _does(candidate: RecoveryCandidate) -> str:
    """Say what the suggested action does, in words, with what it is told."""
    known = SuggestionAction.objects.filter(pk=candidate.action).values_list("description", flat=True).first()
    told = _told(candidate.parameters)
    return f"{candidate.action}: {known or candidate.verb}" + (f" With {told}." if told else "")


def _choices(candidate: RecoveryCandidate) -> list[dict[str, Any]]:
    """Return what is suggested and what else fits, side by side."""
    evidence = candidate.evidence
    suggested = {
        "action": candidate.action,
        "verb": candidate.verb,
        "version": candidate.action_version,
        "parameters": candidate.parameters,
        "confidence": candidate.confidence,
        "bound": candidate.bound,
        "tried": evidence.get("tried", 0),
        "recovered": evidence.get("recovered", 0),
        "risk": evidence.get("risk", ""),
    }
    found = [suggested, *candidate.alternatives] if candidate.action else candidate.alternatives
    known = SuggestionAction.objects.in_bulk([one["action"] for one in found])
    return [_choice(one, known.get(one["action"]), is_first=one is suggested) for one in found]


def _choice(one: dict[str, Any], known: SuggestionAction | None, *, is_first: bool) -> dict[str, Any]:
    risk = one.get("risk") or (known.risk if known else "")
    return {
        "name": one["action"],
        "version": one["version"],
        "is_chosen": is_first,
        "does": known.description if known else "",
        "sure": drawn.share(one["confidence"], SURE),
        "bound": drawn.share(one["bound"], BOUND),
        "did": f"{one['recovered']} of {one['tried']}" if one["tried"] else "not tried on this kind yet",
        "told": _told(one["parameters"]) or "nothing more",
        "risk": RISKS.get(risk, risk),
        "alone": _alone(known),
        "notes": "; ".join(one.get("notes", [])),
        "can_be_chosen": bool(known and known.is_enabled and not _missing(known)),
    }


def _missing(known: SuggestionAction) -> list[str]:
    """Return what a person would have to tell the action first."""
    verb = actions.KNOWN.get(known.verb)
    return [name for name in verb.wanted if name not in known.parameters] if verb else []


def _alone(known: SuggestionAction | None) -> str:
    """Say whether an action may be applied without a person."""
    if known is None or not known.is_enabled:
        return "no: it is disabled"
    if not known.is_automated:
        return "no: a program cannot do it whole"
    if known.needs_approval:
        return "no: a person decides, whatever the evidence"
    return f"yes, from level {known.level} on and with enough evidence"


def _facts(candidate: RecoveryCandidate) -> list[tuple[str, Any]]:
    failure = candidate.failure
    found = [
        ("run", shown.link("run", candidate.run_id)),
        ("failed step", shown.link("step", candidate.step_id)),
        ("skill", candidate.skill),
        ("agent", shown.link("agent", candidate.agent_id)),
        ("failed", shown.age(candidate.failed_at)),
        ("again since", words.counted(candidate.joined_count, "time") if candidate.joined_count else ""),
        (
            "kind of error",
            f"{candidate.error_kind}: {failure.error_type}" if failure.error_type else failure.error_kind,
        ),
        ("carried on by", shown.link("run", candidate.recovery_run_id) if candidate.recovery_run_id else ""),
        ("last evaluation failed", candidate.last_error),
    ]
    return [(name, value) for name, value in found if value]


def _line(one: SuggestionProvenance) -> dict[str, Any]:
    return {
        "mark": _MARKS[Stage(one.stage)],
        "at": shown.age(one.created_at),
        "text": f"{one.get_stage_display()} by {one.actor}",
        "action": f"{one.action} v{one.action_version}" if one.action and one.action_version else one.action,
        "rule": one.rule,
        "reason": one.reason,
        "url": f"../../../suggestionprovenance/{one.pk}/change/",
    }


def _told(parameters: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in parameters.items())


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
