"""Observed calls: who was seen calling whom, folded from the log."""

from __future__ import annotations

from django.contrib import admin

from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.models import ObservedCall


@admin.register(ObservedCall)
class ObservedCallAdmin(PlainAdmin):
    list_display = ["caller", "callee", "call_count", "seen"]
    by_name = ["caller__icontains", "callee__icontains"]
    search_help_text = "A part of a node's name, as in skill:research.report."
    fields = ["caller", "callee", "call_count", "first_seen_at", "last_seen_at"]

    @admin.display(description="last seen")
    def seen(self, call: ObservedCall) -> str:
        return shown.age(call.last_seen_at)
