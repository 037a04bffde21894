"""What everybody must see, whatever page is open: each app names its own in its module `room` as BANNERS."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from execution.room.parts import gathered


def show(request: HttpRequest) -> HttpResponse:
    """Answer the banners that stand now, for the strip above each page; empty where there is none."""
    found = [banner for read in gathered("BANNERS") if (banner := read(request)) is not None]
    if not found:
        return HttpResponse("")
    return HttpResponse(render_to_string("admin/room/banners.html", {"banners": found}))
