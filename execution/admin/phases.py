"""Phases: the named parts of runs."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.models import Phase


@admin.register(Phase)
class PhaseAdmin(PlainAdmin):
    list_display = ["name", "shown_run", "shown_age", "budget_cost", "closed_reason"]
    by_id = ["run_id"]
    search_help_text = "The id of a run."
    fields = [
        "name", "shown_run", "position", "timebox_seconds", "budget_cost", "budget_tokens",
        "started_at", "closed_at", "closed_reason", "reached",
    ]  # fmt: skip

    @admin.display(description="run")
    def shown_run(self, phase: Phase) -> str:
        return shown.link("run", phase.run_id, str(phase.run_id))

    @admin.display(description="began")
    def shown_age(self, phase: Phase) -> str | SafeString:
        return shown.age(phase.started_at)
