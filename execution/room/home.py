"""The home page: panels that the apps bring, each bounded, each shown only to who may see it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from execution.room.parts import gathered

REFRESH_SECONDS = 5


def context(request: HttpRequest) -> dict[str, Any]:
    """Return the panels with what they read."""
    panels = sorted(gathered("PANELS"), key=lambda panel: panel.place)
    return {
        "refresh_seconds": REFRESH_SECONDS,
        "panels": [
            {"name": panel.name, "template": panel.template, **panel.read(request)}
            for panel in panels
            if not panel.permission or request.user.has_perm(panel.permission)
        ],
    }
