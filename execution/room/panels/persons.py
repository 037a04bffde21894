"""What waits for a person: how much of each kind the inbox holds, with the way to decide it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from execution.room.inbox import reading
from execution.room.inbox.parts import sources


def read(request: HttpRequest) -> dict[str, Any]:
    """Return the kinds of which something waits and that the reader may see, the most numerous first."""
    seen = {source.kind: source for source in sources(request.user)}
    counts = reading.by_kind(reading.groups(list(seen.values())))
    inbox = reverse("admin:inbox")
    return {
        "kinds": [
            {"title": seen[kind].title, "said": _said(count), "url": f"{inbox}?kind={kind}"}
            for kind, count in counts.most_common()
        ],
        "total": f"{counts.total():,}",
        "inbox": inbox,
    }


def _said(count: int) -> str:
    return f"{count:,}" if count < reading.COUNTED_MOST else f"{reading.COUNTED_MOST:,}+"
