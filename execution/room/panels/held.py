"""What holds work back just now: breakers that are open or try whether they may close."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from execution.models import Breaker, BreakerState

SHOWN_MOST = 8


def read(request: HttpRequest) -> dict[str, Any] | None:  # noqa: ARG001 - a panel takes it
    """Return the breakers that are not closed; nothing is shown where all are."""
    found = list(Breaker.objects.exclude(state=BreakerState.CLOSED).order_by("-opened_at")[: SHOWN_MOST + 1])
    if not found:
        return None
    return {"breakers": found[:SHOWN_MOST], "has_more": len(found) > SHOWN_MOST}
