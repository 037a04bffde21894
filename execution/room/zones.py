"""Times where the reader is: `room.js` tells the browser's zone in a cookie, and pages are written in it."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

COOKIE = "room_zone"
LONGEST = 64


class ReaderZone:
    """Middleware: what is written for a request stands in its reader's time zone; without one, in the project's."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer in the reader's zone, and forget it."""
        with timezone.override(zone_of(request)):
            return self.get_response(request)


def zone_of(request: HttpRequest) -> zoneinfo.ZoneInfo | None:
    """Return the zone that the reader's browser has named; None where it named none that exists."""
    name = request.COOKIES.get(COOKIE, "")[:LONGEST]
    try:
        return zoneinfo.ZoneInfo(name) if name else None
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return None
