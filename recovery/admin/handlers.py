"""Handlers: who handles which events, switched off and on one by one."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.admin.reasons import action
from recovery import dispatcher
from recovery.models import HandlerSwitch


def _enable(row: HandlerSwitch, **who: Any) -> None:
    dispatcher.switch(row.pk, is_enabled=True, **who)


def _disable(row: HandlerSwitch, **who: Any) -> None:
    dispatcher.switch(row.pk, is_enabled=False, **who)


@admin.register(HandlerSwitch)
class HandlerSwitchAdmin(PlainAdmin):
    list_display = ["handler", "shown_kinds", "enabled", "known_at", "changed_by", "changed_at", "reason"]
    list_filter = ["is_enabled"]
    ordering = ("handler",)
    fields = ["handler", "shown_kinds", "enabled", "known_at", "changed_by", "changed_at", "reason"]
    actions = [
        action("disable", _disable, done="disabled", permission="switch", noun="handler", is_grave=True),
        action("enable", _enable, done="enabled", permission="switch", noun="handler"),
    ]

    def has_switch_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recovery.switch_handler")

    @admin.display(description="kinds")
    def shown_kinds(self, row: HandlerSwitch) -> str:
        return ", ".join(row.kinds)

    @admin.display(description="on")
    def enabled(self, row: HandlerSwitch) -> str:
        return shown.yes(row.is_enabled)
