"""Tunables: numbers that running workers read again every second."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.models import Tunable


@admin.register(Tunable)
class TunableAdmin(PlainAdmin):
    list_display = ["name", "value", "changed"]
    ordering = ("name",)
    by_name = ["name__icontains"]
    fields = ["name", "value"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_add_permission(self, request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_change_permission(self, request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["name"] if obj else []

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's
        """Keep what was and what is in the history."""
        if add or "value" not in form.changed_data:
            return super().construct_change_message(request, form, formsets, add)
        return f"value: {form.initial.get('value')} → {form.cleaned_data.get('value')}"

    @admin.display(description="changed")
    def changed(self, tunable: Tunable) -> str:
        return shown.age(tunable.updated_at)
