"""The kill switch: engaged in one step, released by who may."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from execution.admin.lists import PlainAdmin
from execution.admin.reasons import action
from graduation import envelopes
from graduation.models import KillSwitch


def _engage(_: KillSwitch, *, by: str, reason: str) -> Any:
    return envelopes.engage(by=by, reason=reason)


def _release(_: KillSwitch, *, by: str, reason: str) -> Any:
    return envelopes.release(by=by, reason=reason)


@admin.register(KillSwitch)
class KillSwitchAdmin(PlainAdmin):
    list_display = ["__str__", "engaged_at", "engaged_by", "reason", "released_at", "released_by"]
    actions = [
        action("engage", _engage, done="engaged", permission="engage", noun="kill switch", is_grave=True),
        action("release", _release, done="released", permission="release", noun="kill switch"),
    ]

    def get_queryset(self, request: HttpRequest) -> Any:
        envelopes.switch()
        return super().get_queryset(request)

    def has_engage_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("graduation.operate_envelope")

    def has_release_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("graduation.release_killswitch")
