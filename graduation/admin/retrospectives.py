"""Retrospectives: what an incident or a snapshot looked like afterwards, and what should change."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.dateparse import parse_datetime

from execution import words
from execution.admin import shown
from execution.admin.pages import ToldAdmin
from execution.models import Assessment
from graduation.models import Recommendation, Retrospective

_LINES_MOST = 200


@admin.register(Retrospective)
class RetrospectiveAdmin(ToldAdmin):
    list_display = ["source", "shown_assessment", "age"]
    ordering = ("-created_at",)
    by_id = ["assessment_id"]
    by_name = ["source"]
    search_help_text = "A source such as incident:ID, or the id of the assessment."
    change_form_template = "admin/graduation/retrospective.html"
    stored = ["source", "shown_assessment", "created_at"]
    readonly_fields = ["shown_assessment"]

    def parts(self, request: HttpRequest, row: Retrospective) -> dict[str, Any]:
        made = Assessment.objects.filter(pk=row.assessment_id).first()
        data = made.data if made else {}
        advised = Recommendation.objects.filter(retrospective_id=row.assessment_id).order_by("id")[:50]
        return {
            "found": data,
            "severity": shown.state(data.get("severity", "")),
            "source_url": _source(row.source),
            "lines": [_line(one) for one in data.get("timeline", [])[:_LINES_MOST]],
            "advised": [_advice(one) for one in advised],
            "assessment": shown.link("assessment", row.assessment_id, "The assessment, with all that it rests on"),
        }

    @admin.display(description="assessment")
    def shown_assessment(self, row: Retrospective) -> str:
        return shown.link("assessment", row.assessment_id)

    @admin.display(description="age")
    def age(self, row: Retrospective) -> str:
        return shown.age(row.created_at)


def _source(source: str) -> str:
    kind, _, key = source.partition(":")
    if kind == "incident":
        return reverse("admin:recovery_incident_change", args=[key])
    return reverse("admin:execution_assessment_change", args=[key])


def _line(one: Any) -> dict[str, Any]:
    if not isinstance(one, dict):
        return {"at": "", "text": words.one_line(one, 300)}
    at = parse_datetime(str(one.get("at", ""))) if one.get("at") else None
    text = one.get("text") or shown.facts(one, but=frozenset({"at"}))
    return {"at": shown.age(at) if at else "", "kind": one.get("kind", ""), "text": text}


def _advice(one: Recommendation) -> dict[str, Any]:
    url = reverse("admin:graduation_recommendation_change", args=[one.pk])
    return {"url": url, "text": one.text, "state": shown.state(one.state)}
