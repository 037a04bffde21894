"""Errands: what is still owed after a commit."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from execution.admin import shown
from execution.admin.lists import PlainAdmin, among
from execution.models import Errand, ErrandKind


@admin.register(Errand)
class ErrandAdmin(PlainAdmin):
    list_display = ["shown_id", "kind", "due", "try_count", "created", "error"]
    list_filter = [among("kind", "kind", ErrandKind.choices)]
    by_id = ["id"]
    search_help_text = "An errand's id."
    fields = ["kind", "due_at", "try_count", "created_at", "error", "shown_payload"]

    @admin.display(description="errand")
    def shown_id(self, errand: Errand) -> str:
        return shown.short(errand.id)

    @admin.display(description="due")
    def due(self, errand: Errand) -> str:
        return shown.age(errand.due_at)

    @admin.display(description="made")
    def created(self, errand: Errand) -> str:
        return shown.age(errand.created_at)

    @admin.display(description="payload")
    def shown_payload(self, errand: Errand) -> SafeString:
        return shown.data(errand.payload)
