"""Timers: the stored wake-ups, pending, fired and cancelled."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from execution.admin import shown
from execution.admin.lists import NewestFilter, PlainAdmin, Rows, among, newest
from execution.models import Timer, TimerKind


class StateFilter(NewestFilter):
    """Pending ones by their index; the others among the newest."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("pending", "pending"), ("fired", "fired"), ("cancelled", "cancelled")]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        chosen = self.value()
        if chosen == "pending":
            return queryset.filter(fired_at=None, cancelled_at=None)
        if chosen == "fired":
            return newest(queryset).filter(fired_at__isnull=False)
        return newest(queryset).filter(cancelled_at__isnull=False) if chosen == "cancelled" else queryset


@admin.register(Timer)
class TimerAdmin(PlainAdmin):
    list_display = ["shown_id", "kind", "due", "shown_state", "name", "step", "run", "created"]
    list_filter = [StateFilter, among("kind", "kind", TimerKind.choices)]
    by_id = ["id"]
    by_word = ["name", "step_id__iexact", "run_id__iexact"]
    unlisted = ["opening"]
    search_help_text = "A timer's id; or, among the newest 100,000, its name."
    fields = [
        "kind", "due_at", "shown_state", "name", "step", "run", "epoch", "created_at", "fired_at", "cancelled_at",
        "shown_opening",
    ]  # fmt: skip

    @admin.display(description="timer")
    def shown_id(self, timer: Timer) -> str:
        return shown.short(timer.id)

    @admin.display(description="due")
    def due(self, timer: Timer) -> str:
        return shown.age(timer.due_at)

    @admin.display(description="state")
    def shown_state(self, timer: Timer) -> SafeString:
        return shown.state("cancelled" if timer.cancelled_at else "fired" if timer.fired_at else "pending")

    @admin.display(description="step")
    def step(self, timer: Timer) -> str:
        return shown.link("step", timer.step_id)

    @admin.display(description="run")
    def run(self, timer: Timer) -> str:
        return shown.link("run", timer.run_id)

    @admin.display(description="made")
    def created(self, timer: Timer) -> str:
        return shown.age(timer.created_at)

    @admin.display(description="what it opens")
    def shown_opening(self, timer: Timer) -> SafeString:
        return shown.data(timer.opening)
