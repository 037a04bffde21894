"""Retrospectives: which incidents and snapshots were looked back on, and where that is written."""

from __future__ import annotations

from django.contrib import admin

from execution.admin import shown
from execution.admin.lists import PlainAdmin
from graduation.models import Retrospective


@admin.register(Retrospective)
class RetrospectiveAdmin(PlainAdmin):
    list_display = ["source", "shown_assessment", "age"]
    ordering = ("-created_at",)
    by_id = ["assessment_id"]
    by_name = ["source"]
    search_help_text = "A source such as incident:ID, or the id of the assessment."
    fields = ["source", "shown_assessment", "created_at"]

    @admin.display(description="assessment")
    def shown_assessment(self, row: Retrospective) -> str:
        return shown.link("assessment", row.assessment_id)

    @admin.display(description="age")
    def age(self, row: Retrospective) -> str:
        return shown.age(row.created_at)
