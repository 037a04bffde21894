"""Evaluators: who scores, and how far the others agree with each."""

from __future__ import annotations

from django.contrib import admin

from execution.admin.lists import PlainAdmin
from graduation.models import Evaluator


@admin.register(Evaluator)
class EvaluatorAdmin(PlainAdmin):
    list_display = ["name", "is_degraded", "disagreement", "compared_count", "failure_count", "spent", "last_error"]
    ordering = ("name",)
    by_name = ["name"]
    search_help_text = "The name of an evaluator."
