"""Signals: what came from outside, and which step took it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from execution.admin import shown
from execution.admin.lists import NewestFilter, PlainAdmin, Rows, newest
from execution.models import Signal


class TakenFilter(NewestFilter):
    """Whether a step has taken it."""

    title = "taken"
    parameter_name = "taken"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "kept for later"), ("yes", "taken")]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        chosen = self.value()
        return newest(queryset).filter(consumed_at__isnull=chosen == "no") if chosen else queryset


@admin.register(Signal)
class SignalAdmin(PlainAdmin):
    list_display = ["shown_id", "name", "sender", "came", "taken", "run", "taken_by"]
    list_filter = [TakenFilter]
    by_id = ["id"]
    by_word = ["name", "sender"]
    unlisted = ["data"]
    search_help_text = "A signal's id; or, among the newest 100,000, its name or sender."
    fields = ["name", "sender", "run", "created_at", "consumed_at", "taken_by", "shown_data"]

    @admin.display(description="signal")
    def shown_id(self, signal: Signal) -> str:
        return shown.short(signal.id)

    @admin.display(description="came")
    def came(self, signal: Signal) -> str:
        return shown.age(signal.created_at)

    @admin.display(description="taken")
    def taken(self, signal: Signal) -> str:
        return shown.age(signal.consumed_at)

    @admin.display(description="run")
    def run(self, signal: Signal) -> str:
        return shown.link("run", signal.run_id)

    @admin.display(description="taken by step")
    def taken_by(self, signal: Signal) -> str:
        return shown.link("step", signal.consumed_by)

    @admin.display(description="data")
    def shown_data(self, signal: Signal) -> SafeString:
        return shown.value(signal.data)
