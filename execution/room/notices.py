"""Notices: what every reader must know on every page, such as a kill switch that is engaged."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from execution.room.parts import Notice, gathered


def show(request: HttpRequest) -> HttpResponse:
    """Answer with the notices in force; mostly there is none."""
    found: list[Notice] = [notice for tell in gathered("NOTICES") if (notice := tell()) is not None]
    return render(request, "admin/room/notices.html", {"notices": found})
