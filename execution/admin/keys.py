"""Concurrency keys: their limits may be changed; who holds them and who waits is shown."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import IntegerField
from django.db.models.expressions import RawSQL
from django.http import HttpRequest

from execution.admin.lists import PlainAdmin
from execution.models import ConcurrencyKey

COUNTED_MOST = 1000
_STEPS = (
    "(SELECT count(*) FROM (SELECT 1 FROM execution_step s "
    "WHERE s.key = execution_concurrencykey.name AND {} LIMIT %s) x)"
)


@admin.register(ConcurrencyKey)
class ConcurrencyKeyAdmin(PlainAdmin):
    list_display = ["name", "limit_count", "holding", "waiting", "rate"]
    ordering = ("name",)
    by_name = ["name__icontains"]
    search_help_text = "A part of a key's name."
    fields = ["name", "limit_count", "rate_count", "rate_seconds", "holding", "waiting"]
    shown_once_made = ["holding", "waiting"]
    readonly_fields = ["holding", "waiting"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_add_permission(self, request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_change_permission(self, request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*self.readonly_fields, *(["name"] if obj else [])]

    def get_queryset(self, request: HttpRequest) -> Any:
        return (
            super()
            .get_queryset(request)
            .annotate(
                running_count=_counted("s.state = 'running'"),
                waiting_count=_counted("s.state = 'waiting' AND s.waiting = 'key'"),
            )
        )

    def save_model(self, request: HttpRequest, obj: ConcurrencyKey, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        """Change the limits alone: the tokens of its rate are the claims' business."""
        if not change:
            obj.save()
        elif form.changed_data:
            obj.save(update_fields=form.changed_data)

    @admin.display(description="running")
    def holding(self, key: Any) -> str:
        return _most(getattr(key, "running_count", 0))

    @admin.display(description="waiting")
    def waiting(self, key: Any) -> str:
        return _most(getattr(key, "waiting_count", 0))

    @admin.display(description="rate")
    def rate(self, key: ConcurrencyKey) -> str:
        return f"{key.rate_count} in {key.rate_seconds:g} s" if key.rate_count is not None else "no limit"


def _counted(condition: str) -> RawSQL:
    return RawSQL(_STEPS.format(condition), [COUNTED_MOST], output_field=IntegerField())  # noqa: S611 - ours alone


def _most(count: int) -> str:
    return f"{count:,}" if count < COUNTED_MOST else f"{COUNTED_MOST:,} or more"
