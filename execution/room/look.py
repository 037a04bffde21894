"""How the room looks: what a project hands to django-unfold as `UNFOLD`, whole or with changes of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static


def _file(name: str) -> Callable[[HttpRequest], str]:
    """Return what names a static file of the room once settings are there."""
    return lambda request: static(f"execution/{name}")  # noqa: ARG005 - django-unfold calls it with the request


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Celeriac",
    "SITE_HEADER": "Celeriac",
    "SITE_SUBHEADER": "The operator's room",
    "SITE_SYMBOL": "psychiatry",
    "SITE_URL": None,
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": _file("mark.svg")},
    ],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "6px",
    "STYLES": [_file("room.css")],
    "SCRIPTS": [_file("room.js"), _file("graph.js")],
    "COLORS": {
        "primary": {
            "50": "oklch(97.5% .014 160)",
            "100": "oklch(94.6% .033 160)",
            "200": "oklch(89.4% .06 161)",
            "300": "oklch(81% .1 162)",
            "400": "oklch(70% .13 163)",
            "500": "oklch(59% .12 164)",
            "600": "oklch(48% .1 165)",
            "700": "oklch(41.5% .086 166)",
            "800": "oklch(35% .07 167)",
            "900": "oklch(29.5% .056 168)",
            "950": "oklch(21% .04 169)",
        },
    },
    "COMMAND": {"search_callback": "execution.room.searching.results"},
    "SIDEBAR": {"command_search": True, "navigation": "execution.room.navigation.groups"},
}
