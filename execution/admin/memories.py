"""Memories: what agents remember."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from execution.admin import shown
from execution.admin.lists import AgentFilter, PlainAdmin
from execution.models import Memory


@admin.register(Memory)
class MemoryAdmin(PlainAdmin):
    list_display = ["shown_id", "kind", "key", "agent", "pinned", "updated", "expires", "recall_count", "run"]
    list_select_related = ["agent"]
    list_filter = [AgentFilter]
    by_id = ["id", "agent_id"]
    by_word = ["key", "kind"]
    unlisted = ["value", "text", "search"]
    search_help_text = "A memory's or agent's id; or, among the newest 100,000, a key or kind."
    fields = [
        "agent", "kind", "key", "pinned", "run", "created_at", "updated_at", "expires_at", "recalled_at",
        "recall_count", "shown_value",
    ]  # fmt: skip

    @admin.display(description="memory")
    def shown_id(self, memory: Memory) -> str:
        return shown.short(memory.id)

    @admin.display(description="pinned")
    def pinned(self, memory: Memory) -> str:
        return shown.yes(memory.is_pinned)

    @admin.display(description="changed")
    def updated(self, memory: Memory) -> str:
        return shown.age(memory.updated_at)

    @admin.display(description="expires")
    def expires(self, memory: Memory) -> str:
        return shown.age(memory.expires_at)

    @admin.display(description="from run")
    def run(self, memory: Memory) -> str:
        return shown.link("run", memory.run_id)

    @admin.display(description="value")
    def shown_value(self, memory: Memory) -> SafeString:
        return shown.value(memory.value)
