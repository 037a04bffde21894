"""The search over everything, by id, name or tag: each kind by an index, and only what the reader may see."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.urls import reverse
from unfold.dataclasses import SearchResult

from execution.room.navigation import visible
from execution.room.parts import Found, gathered

LONGEST = 200
MOST = 100


def results(request: HttpRequest, term: str) -> list[SearchResult]:
    """Return what is found, as django-unfold's palette shows it: pages first."""
    wanted = cleaned(term)
    if not wanted:
        return []
    found = [*_pages(request, wanted), *everything(wanted, may=request.user.has_perm)]
    return [
        SearchResult(title=one.title, description=one.description, link=one.url, icon=one.icon) for one in found[:MOST]
    ]


def everything(term: str, *, may: Callable[[str], bool]) -> Iterator[Found]:
    """Yield what is found of all kinds that one may see."""
    for search in gathered("SEARCHES"):
        if may(search.permission):
            yield from search.find(term)


def cleaned(term: str) -> str:
    """Return a term as it is searched for."""
    return term.strip().replace("\0", "")[:LONGEST]


def go(request: HttpRequest, wanted: str) -> HttpResponseRedirect:
    """Lead to whatever has this id: a run before its only step, which has the same."""
    term = cleaned(wanted)
    found = next(everything(term, may=request.user.has_perm), None) if term else None
    if found is None:
        raise Http404(f"Nothing that you may see has the id {term!r}: it was removed, or it never was here.")
    return HttpResponseRedirect(found.url)


def _pages(request: HttpRequest, term: str) -> list[Found]:
    return [
        Found(title=entry.title, description=group.title or "Page", url=reverse(entry.page), icon=entry.icon)
        for group in visible(request)
        for entry in group.entries
        if term.lower() in entry.title.lower()
    ]
