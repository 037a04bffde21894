"""Breakers: closed or opened by hand, with a reason; their threshold and cool-down may be changed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from execution import breakers
from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.admin.reasons import action
from execution.models import Breaker


def reset(breaker: Breaker, *, by: str, reason: str) -> None:
    """Close a breaker."""
    breakers.reset(breaker.name, by=by, reason=reason)


def trip(breaker: Breaker, *, by: str, reason: str) -> None:
    """Open a breaker."""
    breakers.trip(breaker.name, by=by, reason=reason)


@admin.register(Breaker)
class BreakerAdmin(PlainAdmin):
    list_display = ["name", "shown_state", "failure_count", "threshold", "opened", "probe", "opened_count"]
    list_filter = ["state"]
    ordering = ("name",)
    by_name = ["name__icontains"]
    search_help_text = "A part of a breaker's name: its skill's, unless that says otherwise."
    fields = [
        "name", "shown_state", "failure_count", "threshold", "cooldown_seconds", "opened_count", "opened_at",
        "probe_at", "probe_step",
    ]  # fmt: skip
    readonly_fields = ["name", "shown_state", "failure_count", "opened_count", "opened_at", "probe_at", "probe_step"]
    actions = [
        action("close", reset, done="closed", permission="change", noun="breaker"),
        action("open", trip, done="opened", permission="change", noun="breaker", is_grave=True),
    ]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_change_permission(self, request, obj)

    def save_model(self, request: HttpRequest, obj: Breaker, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        """Change what a person may change, and leave the counting to the claims."""
        if form.changed_data:
            obj.save(update_fields=form.changed_data)

    @admin.display(description="state")
    def shown_state(self, breaker: Breaker) -> SafeString:
        return shown.state(breaker.state)

    @admin.display(description="opened")
    def opened(self, breaker: Breaker) -> str:
        return shown.age(breaker.opened_at)

    @admin.display(description="next probe")
    def probe(self, breaker: Breaker) -> str:
        is_for_ever = breaker.probe_at is not None and breaker.probe_at >= breakers.FOR_EVER
        return "when it is closed" if is_for_ever else shown.age(breaker.probe_at)

    @admin.display(description="probing step")
    def probe_step(self, breaker: Breaker) -> str:
        return shown.link("step", breaker.probe_step_id)
