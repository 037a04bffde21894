"""What waits for a person: how much of each kind, with the way to decide it.

What the apps bring to the inbox as WAITING is counted by kind; where no inbox is installed, the parked runs are.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from execution.models import Run
from execution.room.panels.waiting import IN_WORDS
from execution.room.parts import gathered

COUNTED_MOST = 1_000


def read(request: HttpRequest) -> dict[str, Any]:
    """Return the kinds of which something waits, the most numerous first."""
    found = of_inbox(request) if gathered("WAITING") else of_runs(request)
    kinds = sorted((kind for kind in found if kind["count"]), key=lambda kind: -int(kind["count"]))
    return {
        "kinds": [{**kind, "said": _said(kind["count"])} for kind in kinds],
        "total": _said(sum(kind["count"] for kind in kinds)),
        "inbox": _inbox(),
    }


def of_inbox(request: HttpRequest) -> list[dict[str, Any]]:
    """Count what the inbox holds of each kind that the reader may see."""
    return [
        {
            "title": source.title,
            "count": source.rows().order_by()[:COUNTED_MOST].count(),
            "url": f"{_inbox()}?kind={source.kind}",
        }
        for source in gathered("WAITING")
        if request.user.has_perm(source.permission)
    ]


def of_runs(request: HttpRequest) -> list[dict[str, Any]]:
    """Count the parked runs by what they are parked for."""
    if not request.user.has_perm("execution.view_run"):
        return []
    counts: dict[str, int] = {}
    for waiting in Run.objects.waiting_for_a_person().values_list("waiting", flat=True)[:COUNTED_MOST]:
        counts[waiting] = counts.get(waiting, 0) + 1
    parked = f"{reverse('admin:execution_run_changelist')}?state__exact=parked"
    return [
        {"title": f"Runs that want {IN_WORDS.get(waiting, 'a look')}", "count": count, "url": parked}
        for waiting, count in counts.items()
    ]


def _inbox() -> str:
    try:
        return reverse("admin:inbox")
    except NoReverseMatch:
        return ""


def _said(count: int) -> str:
    return f"{count:,}" if count < COUNTED_MOST else f"{COUNTED_MOST:,}+"
