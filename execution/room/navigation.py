"""The sidebar: the apps' groups, joined by title, with no line that the reader could not open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from execution.room.parts import Entry, Group, gathered


def groups(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar as django-unfold takes it."""
    return [
        {
            "title": group.title,
            "collapsible": group.is_folded,
            "items": [_line(entry, request) for entry in group.entries],
        }
        for group in visible(request)
    ]


def visible(request: HttpRequest) -> Iterator[Group]:
    """Yield the groups with the lines that the reader may open; one title is one group."""
    joined: dict[str, list[Group]] = {}
    for group in sorted(gathered("NAVIGATION"), key=lambda group: group.place):
        joined.setdefault(group.title, []).append(group)
    for same in joined.values():
        entries = [entry for group in same for entry in group.entries if _may_open(entry, request)]
        if entries:
            yield replace(same[0], entries=entries)


def _line(entry: Entry, request: HttpRequest) -> dict[str, Any]:
    count = entry.count(request) if entry.count else 0
    return {
        "title": entry.title,
        "icon": entry.icon,
        "link": reverse(entry.page),
        **({"badge": f"{count:,}", "badge_variant": "primary"} if count else {}),
    }


def _may_open(entry: Entry, request: HttpRequest) -> bool:
    return not entry.permission or request.user.has_perm(entry.permission)
