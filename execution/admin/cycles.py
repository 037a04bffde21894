"""Cycles: when each last ran, and how it fared."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from execution import words
from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.models import CycleState


@admin.register(CycleState)
class CycleStateAdmin(PlainAdmin):
    list_display = ["name", "ticked", "tick_count", "touched_count", "error_count", "shown_error"]
    ordering = ("name",)
    unlisted = ["state"]
    fields = [
        "name", "ticked_at", "resumed_at", "tick_count", "touched_count", "error_count", "last_error", "shown_state",
    ]  # fmt: skip

    @admin.display(description="last ran")
    def ticked(self, cycle: CycleState) -> str:
        return shown.age(cycle.ticked_at)

    @admin.display(description="last error")
    def shown_error(self, cycle: CycleState) -> str:
        return words.one_line(cycle.last_error.strip().rpartition("\n")[2], 120) or shown.EMPTY

    @admin.display(description="state")
    def shown_state(self, cycle: CycleState) -> SafeString:
        return shown.data(cycle.state or None)
