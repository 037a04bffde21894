"""Needs: the edges between a run's steps."""

from __future__ import annotations

from django.contrib import admin

from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.models import Need


@admin.register(Need)
class NeedAdmin(PlainAdmin):
    list_display = ["id", "shown_step", "shown_needed"]
    list_select_related = ["step", "needed"]
    by_id = ["step_id", "needed_id"]
    search_help_text = "The id of one of the two steps."
    fields = ["shown_step", "shown_needed"]

    @admin.display(description="step")
    def shown_step(self, need: Need) -> str:
        return shown.link("step", need.step_id, need.step.name)

    @admin.display(description="needs")
    def shown_needed(self, need: Need) -> str:
        return shown.link("step", need.needed_id, need.needed.name)
