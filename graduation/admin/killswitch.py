"""The kill switch: engaged in two steps on a page of its own, released by who may."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from execution.admin.lists import PlainAdmin
from graduation.models import KillSwitch


@admin.register(KillSwitch)
class KillSwitchAdmin(PlainAdmin):
    """There is one: its list and its row lead to its page."""

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if request.method != "GET":
            raise PermissionDenied
        return HttpResponseRedirect(reverse("admin:kill_switch"))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:kill_switch"))
