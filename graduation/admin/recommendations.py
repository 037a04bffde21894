"""Recommendations: what should change after something went wrong, with the evidence; a person accepts or declines."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from execution.admin import shown
from execution.admin.lists import PlainAdmin, among
from execution.admin.reasons import action
from graduation.learn import recommendations
from graduation.models import Recommendation, RecommendationState


@admin.register(Recommendation)
class RecommendationAdmin(PlainAdmin):
    list_display = ["text", "kind", "state", "age", "decided_by", "reason"]
    list_filter = [among("state", "state", RecommendationState.choices)]
    by_id = ["pk", "retrospective_id"]
    search_help_text = "The id of a recommendation, or of its retrospective."
    fields = [
        "text", "kind", "state", "shown_change", "shown_evidence", "shown_retrospective", "created_at", "decided_by",
        "reason", "decided_at",
    ]  # fmt: skip
    actions = [
        action(
            "accept", recommendations.accept, done="accepted", permission="decide", noun="recommendation", is_grave=True
        ),
        action("decline", recommendations.decline, done="declined", permission="decide", noun="recommendation"),
    ]

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(recommendations.DECIDE)

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
