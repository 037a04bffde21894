"""Cases: what became of verdicts, when each is looked at next; a person may say what became of one."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from execution.admin import shown
from execution.admin.lists import PlainAdmin, among
from execution.admin.reasons import ReasonForm, action
from graduation.learn import outcomes
from graduation.models import Case, CaseState


class OutcomeForm(ReasonForm):
    outcome = forms.TypedChoiceField(
        coerce=float, choices=[("1", "It held"), ("0.5", "Partly"), ("0", "It did not hold")], label="What became of it"
    )
    is_critical = forms.BooleanField(
        required=False, label="It broke something", help_text="The agent that decided falls to observer at once."
    )


def _override(case: Case, *, by: str, reason: str, outcome: float, is_critical: bool) -> Any:
    return outcomes.override(case.pk, outcome, by=by, reason=reason, is_critical=is_critical)


@admin.register(Case)
class CaseAdmin(PlainAdmin):
    list_display = ["kind", "subject", "state", "confidence", "outcome", "how", "look_count", "next_look", "age"]
    list_filter = [among("state", "state", CaseState.choices)]
    ordering = ("-pk",)
    by_id = ["pk", "run_id", "step_id"]
    by_name = ["subject"]
    search_help_text = "The id of a verdict, a run or a step; or a subject such as agent:scout."
    unlisted = ["history"]
    fields = [
        "shown_verdict", "kind", "subject", "state", "confidence", "outcome", "how", "shown_outcome", "look_count",
        "look_at", "reopened_count", "judged_at", "ended_at", "shown_history",
    ]  # fmt: skip
    actions = [
        action("override", _override, done="resolved", permission="resolve", noun="case", form_class=OutcomeForm)
    ]

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(outcomes.RESOLVE)

    @admin.display(description="next look")
    def next_look(self, case: Case) -> str:
        return shown.age(case.look_at) if case.look_at else shown.EMPTY

    @admin.display(description="age")
    def age(self, case: Case) -> str:
        return shown.age(case.judged_at)

    @admin.display(description="verdict")
    def shown_verdict(self, case: Case) -> str:
        return shown.link("verdict", case.pk)

    @admin.display(description="said by")
    def shown_outcome(self, case: Case) -> str:
        return shown.link("verdict", case.outcome_id)

    @admin.display(description="before")
    def shown_history(self, case: Case) -> str:
        return shown.data(case.history)
