"""Scores: what evaluators thought of what agents put out."""

from __future__ import annotations

from django.contrib import admin

from execution.admin import shown
from execution.admin.lists import AgentFilter, PlainAdmin
from graduation.models import Score


@admin.register(Score)
class ScoreAdmin(PlainAdmin):
    list_display = ["evaluator", "score", "agent", "shown_step", "confidence", "cost", "age"]
    list_select_related = ["agent"]
    list_filter = [AgentFilter]
    by_id = ["pk", "step_id"]
    by_name = ["evaluator"]
    search_help_text = "The id of a step or of a score, or the name of an evaluator."
    unlisted = ["dimensions", "reasoning"]
    fields = [
        "evaluator", "score", "dimensions", "reasoning", "confidence", "cost", "agent", "shown_step", "shown_verdict",
        "at",
    ]  # fmt: skip

    @admin.display(description="step")
    def shown_step(self, row: Score) -> str:
        return shown.link("step", row.step_id)

    @admin.display(description="verdict")
    def shown_verdict(self, row: Score) -> str:
        return shown.link("verdict", row.verdict_id)

    @admin.display(description="age")
    def age(self, row: Score) -> str:
        return shown.age(row.at)
