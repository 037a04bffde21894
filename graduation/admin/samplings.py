"""Samplings: of which agents another share of outputs is scored than of the others; an operator changes that."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from execution.admin.lists import PlainAdmin
from graduation import quality
from graduation.models import Sample, Sampling


@admin.register(Sampling)
class SamplingAdmin(PlainAdmin):
    list_display = ["agent", "share", "changed_by", "changed_at"]
    list_select_related = ["agent"]
    fields = ["agent", "share"]
    by_name = ["agent__name"]
    search_help_text = "The name of an agent."

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("graduation.add_sampling")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("graduation.change_sampling")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["agent"] if obj else []

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        quality.sample(obj.agent, obj.share, by=request.user.get_username())


@admin.register(Sample)
class SampleAdmin(PlainAdmin):
    list_display = ["step_id", "agent", "skill", "drawn_at", "scored_at"]
    list_select_related = ["agent"]
    ordering = ("-drawn_at",)
    by_id = ["step_id"]
    search_help_text = "The id of a step."
