"""The search over everything, by id, name or tag: each kind by an index, and only what the reader may see."""

from __future__ import annotations

from django.http import HttpRequest
from django.urls import reverse
from unfold.dataclasses import SearchResult

from execution.room.navigation import visible
from execution.room.parts import Found, gathered

LONGEST = 200
MOST = 100


def results(request: HttpRequest, term: str) -> list[SearchResult]:
    """Return what is found, as django-unfold's palette shows it: pages first."""
    wanted = term.strip().replace("\0", "")[:LONGEST]
    if not wanted:
        return []
    found = [*_pages(request, wanted)]
    for search in gathered("SEARCHES"):
        if request.user.has_perm(search.permission):
            found += search.find(wanted)
    return [
        SearchResult(title=one.title, description=one.description, link=one.url, icon=one.icon) for one in found[:MOST]
    ]


def _pages(request: HttpRequest, term: str) -> list[Found]:
    return [
        Found(title=entry.title, description=group.title or "Page", url=reverse(entry.page), icon=entry.icon)
        for group in visible(request)
        for entry in group.entries
        if term.lower() in entry.title.lower()
    ]
