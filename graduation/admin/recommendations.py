"""Recommendations: what should change after something went wrong, with the evidence; a person accepts or declines."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from execution.admin import shown
from execution.admin.lists import among
from execution.admin.pages import ToldAdmin
from execution.admin.reasons import action
from graduation.learn import recommendations
from graduation.models import Recommendation, RecommendationState


def _said(found: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return JSON as lines that a person reads; what is nested stays as it is."""
    return [
        (name.replace("_", " "), shown.data(value) if isinstance(value, (dict, list)) else value)
        for name, value in found.items()
        if value not in (None, "", [], {})
    ]


@admin.register(Recommendation)
class RecommendationAdmin(ToldAdmin):
    list_display = ["text", "kind", "shown_state", "age", "decided_by", "reason"]
    list_filter = [among("state", "state", RecommendationState.choices)]
    by_id = ["pk", "retrospective_id"]
    search_help_text = "The id of a recommendation, or of its retrospective."
    change_form_template = "admin/graduation/recommendation.html"
    main = ["accept"]
    stored = [
        "text", "kind", "state", "shown_change", "shown_evidence", "shown_retrospective", "created_at", "decided_by",
        "reason", "decided_at",
    ]  # fmt: skip
    readonly_fields = ["shown_change", "shown_evidence", "shown_retrospective"]
    actions = [
        action(
            "accept", recommendations.accept, done="accepted", permission="decide", noun="recommendation",
            tells="What it recommends is done at once, in your name; what no program can do is recorded as agreed.",
        ),
        action(
            "decline", recommendations.decline, done="declined", permission="decide", noun="recommendation",
            tells="Nothing is changed.",
        ),
    ]  # fmt: skip

    def possible(self, row: Recommendation) -> list[str]:
        return ["accept", "decline"] if row.state == RecommendationState.OPEN else []

    def parts(self, request: HttpRequest, row: Recommendation) -> dict[str, Any]:
        return {
            "shown_state": self.shown_state(row),
            "would_change": _said(row.change),
            "evidence": _said(row.evidence),
            "retrospective": shown.link("assessment", row.retrospective_id, "The retrospective that it stands in"),
        }

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(recommendations.DECIDE)

    @admin.display(description="state")
    def shown_state(self, row: Recommendation) -> str:
        return shown.state("waiting" if row.state == RecommendationState.OPEN else row.state)

    @admin.display(description="age")
    def age(self, row: Recommendation) -> str:
        return shown.age(row.created_at)

    @admin.display(description="what accepting does")
    def shown_change(self, row: Recommendation) -> str:
        return shown.data(row.change)

    @admin.display(description="evidence")
    def shown_evidence(self, row: Recommendation) -> str:
        return shown.data(row.evidence)

    @admin.display(description="retrospective")
    def shown_retrospective(self, row: Recommendation) -> str:
        return shown.link("assessment", row.retrospective_id)
