"""Objectives: what is to be reached and where it stands; files declare them, a person may disable and enable them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.admin.reasons import action
from graduation import objectives
from graduation.models import Bucket, DriftState, Objective, ObjectiveState, Standing


def _enable(row: Objective, *, by: str, reason: str) -> Any:
    return objectives.enable(row.pk, by=by, reason=reason)


def _disable(row: Objective, *, by: str, reason: str) -> Any:
    return objectives.disable(row.pk, by=by, reason=reason)


@admin.register(Objective)
class ObjectiveAdmin(PlainAdmin):
    list_display = ["name", "service", "subject", "target", "standing", "left", "known", "is_enabled"]
    list_filter = ["origin", "is_enabled"]
    list_select_related = ["state"]
    ordering = ("name",)
    by_name = ["name__icontains", "service__icontains", "subject__icontains"]
    search_help_text = "A part of an objective's name, its service's, or its subject's."
    unlisted = ["document"]
    actions = [
        action("enable", _enable, done="enabled", permission="govern", noun="objective"),
        action("disable", _disable, done="disabled", permission="govern", noun="objective"),
    ]

    def has_govern_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("graduation.govern_objective")

    @admin.display(description="standing")
    def standing(self, objective: Objective) -> Any:
        state = getattr(objective, "state", None)
        return shown.state(str(state.standing) if state else Standing.NO_DATA)

    @admin.display(description="budget left")
    def left(self, objective: Objective) -> str:
        state = getattr(objective, "state", None)
        return shown.EMPTY if state is None or state.consumed is None else f"{1 - state.consumed:.1%}"

    @admin.display(description="known until")
    def known(self, objective: Objective) -> Any:
        state = getattr(objective, "state", None)
        return shown.age(state.data_at) if state else shown.EMPTY


@admin.register(ObjectiveState)
class ObjectiveStateAdmin(PlainAdmin):
    list_display = ["objective_id", "standing", "consumed", "good", "total", "burning", "is_breached", "collected_at"]
    list_filter = ["standing", "is_breached"]
    ordering = ("objective_id",)
    by_name = ["objective__name__icontains"]


@admin.register(Bucket)
class BucketAdmin(PlainAdmin):
    list_display = ["objective_id", "minute", "good", "total", "value"]
    by_name = ["objective_id"]
    search_help_text = "The whole name of an objective."


@admin.register(DriftState)
class DriftStateAdmin(PlainAdmin):
    list_display = ["objective_id", "window", "severity", "seen_until", "changed_at"]
    list_filter = ["severity"]
    by_name = ["objective_id"]
    unlisted = ["state"]
    exclude = ["state"]
