"""Memory rules, and what became of each for each run."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from execution.admin import shown
from execution.admin.lists import PlainAdmin, among
from execution.models import MemoryRule, MemoryUpdate, UpdateOutcome


@admin.register(MemoryRule)
class MemoryRuleAdmin(PlainAdmin):
    list_display = ["name", "enabled", "ending", "workflow", "agent", "operation", "path", "kind", "key"]
    list_select_related = ["agent"]
    ordering = ("name",)
    by_name = ["name__icontains"]
    search_help_text = "A part of a rule's name."
    fields = [
        "name", "enabled", "ending", "condition", "workflow", "agent", "operation", "path", "kind", "key", "ttl",
        "created_at",
    ]  # fmt: skip

    @admin.display(description="enabled")
    def enabled(self, rule: MemoryRule) -> str:
        return shown.yes(rule.is_enabled)


@admin.register(MemoryUpdate)
class MemoryUpdateAdmin(PlainAdmin):
    list_display = ["shown_id", "rule", "run", "shown_outcome", "key", "made", "shown_error"]
    list_select_related = ["rule"]
    list_filter = [among("outcome", "outcome", UpdateOutcome.choices)]
    by_id = ["id", "run_id"]
    by_word = ["key"]
    search_help_text = "A run's id; or, among the newest 100,000, a key."
    fields = ["rule", "run", "shown_outcome", "key", "at", "error"]

    @admin.display(description="update")
    def shown_id(self, update: MemoryUpdate) -> str:
        return shown.short(update.id)

    @admin.display(description="run")
    def run(self, update: MemoryUpdate) -> str:
        return shown.link("run", update.run_id)

    @admin.display(description="outcome")
    def shown_outcome(self, update: MemoryUpdate) -> SafeString:
        return shown.state(update.outcome)

    @admin.display(description="run ended")
    def made(self, update: MemoryUpdate) -> str:
        return shown.age(update.at)

    @admin.display(description="error")
    def shown_error(self, update: MemoryUpdate) -> str:
        return update.error[:120] or shown.EMPTY
