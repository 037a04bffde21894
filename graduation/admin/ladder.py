"""The ladder: what speaks for and against each agent at its present level."""

from __future__ import annotations

from django.contrib import admin

from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.models import Level
from graduation import trials
from graduation.models import Evidence


@admin.register(Evidence)
class EvidenceAdmin(PlainAdmin):
    list_display = ["agent", "level_now", "__str__", "allowed", "against", "in_favour", "since"]
    list_select_related = ["agent"]
    ordering = ("agent__name",)
    by_id = ["agent_id"]
    by_name = ["agent__name__icontains"]
    search_help_text = "A part of an agent's name."
    fields = [
        "agent",
        "level_now",
        "allowed",
        "outcome_count",
        "error_count",
        "against",
        "in_favour",
        "making",
        "since",
    ]
    readonly_fields = ["level_now", "allowed", "against", "in_favour", "since"]

    @admin.display(description="level")
    def level_now(self, row: Evidence) -> str:
        return Level(row.agent.level).label.replace("_", " ")

    @admin.display(description="allowed")
    def allowed(self, row: Evidence) -> str:
        return f"{row.target:.1%}"

    @admin.display(description="e-value against")
    def against(self, row: Evidence) -> str:
        return f"{trials.read(row).against.e:,.3g}"

    @admin.display(description="e-value in favour")
    def in_favour(self, row: Evidence) -> str:
        return f"{trials.read(row).in_favour.e:,.3g}"

    @admin.display(description="since")
    def since(self, row: Evidence) -> str:
        return shown.age(row.began_at)
