"""The home page: panels that the apps bring, each bounded, each shown only to who may see it.

Panels that are read anew at the same pace stand in one part of the page, which refreshes by itself and reads no other.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from django.http import HttpRequest

from execution.room.parts import Panel, gathered

PART = "part"


def context(request: HttpRequest) -> dict[str, Any]:
    """Return the parts of the page with what their panels read; of one part alone where the address names it."""
    panels = [panel for panel in gathered("PANELS") if not panel.permission or request.user.has_perm(panel.permission)]
    parts = [
        (f"live-{number}", seconds, list(same))
        for number, (seconds, same) in enumerate(
            groupby(sorted(panels, key=lambda panel: panel.place), key=lambda panel: panel.refresh_seconds)
        )
    ]
    wanted = request.GET.get(PART)
    chosen = [part for part in parts if part[0] == wanted] or parts
    return {
        "parts": [{"id": name, "seconds": seconds, "panels": _read(same, request)} for name, seconds, same in chosen]
    }


def _read(panels: list[Panel], request: HttpRequest) -> list[dict[str, Any]]:
    """Return what the panels read, without those that have nothing to show."""
    found = ((panel, panel.read(request)) for panel in panels)
    return [{"name": panel.name, "template": panel.template, **read} for panel, read in found if read is not None]
