"""How many runs a minute were opened and ended, and how long they took, drawn over time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from execution import trends, words
from execution.trends import SPANS, Point, Span

PARAMETER = "over"


def read(request: HttpRequest) -> dict[str, Any]:
    """Return the charts of the span that the address names."""
    span = next((one for one in SPANS if one.name == request.GET.get(PARAMETER)), SPANS[0])
    found = trends.points(trends.samples(), span)
    return {
        "spans": [{"name": one.name, "title": one.title, "is_chosen": one is span} for one in SPANS],
        "charts": [_throughput(found, span), _latency(found, span)] if found else [],
    }


def _throughput(found: Sequence[Point], span: Span) -> dict[str, Any]:
    latest = found[-1]
    lines = [
        _line("opened", "--color-base-400", [round(one.opened, 2) for one in found]),
        _line("completed", "--color-primary-600", [round(one.completed, 2) for one in found]),
        _line("failed", "--room-bad", [round(one.failed, 2) for one in found]),
    ]
    said = f"{latest.opened:,.1f} opened, {latest.completed:,.1f} completed, {latest.failed:,.1f} failed a minute"
    return _chart("Runs a minute", f"last: {said}", lines, found, span)


def _latency(found: Sequence[Point], span: Span) -> dict[str, Any]:
    latest = next((one for one in reversed(found) if one.median is not None), None)
    lines = [
        _line("half within", "--color-primary-600", [_rounded(one.median) for one in found]),
        _line("95 of 100 within", "--color-base-400", [_rounded(one.most) for one in found]),
    ]
    said = "no run has ended in this time"
    if latest is not None:
        said = (
            f"last: half within {words.length(latest.median or 0)}, 95 of 100 within {words.length(latest.most or 0)}"
        )
    return _chart("How long runs take, in seconds", said, lines, found, span)


def _chart(title: str, said: str, lines: list[dict[str, Any]], found: Sequence[Point], span: Span) -> dict[str, Any]:
    form = "%H:%M" if span.step.total_seconds() < 3600 and span.reach.days < 1 else "%a %H:%M"
    labels = [timezone.localtime(one.at).strftime(form) for one in found]
    return {"title": title, "said": said, "data": json.dumps({"labels": labels, "datasets": lines}), "options": OPTIONS}


def _line(label: str, colour: str, values: list[float | None]) -> dict[str, Any]:
    return {"label": label, "data": values, "borderColor": f"var({colour})", "backgroundColor": f"var({colour})"}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


OPTIONS = json.dumps(
    {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "interaction": {"mode": "index", "intersect": False},
        "elements": {"line": {"borderWidth": 2, "tension": 0.2}, "point": {"radius": 0, "hitRadius": 8}},
        "plugins": {
            "legend": {
                "align": "start",
                "labels": {"boxWidth": 8, "boxHeight": 8, "usePointStyle": True, "color": "#808a99"},
            }
        },
        "scales": {
            "x": {"grid": {"display": False}, "ticks": {"maxTicksLimit": 7, "maxRotation": 0, "color": "#808a99"}},
            "y": {"beginAtZero": True, "grid": {}, "ticks": {"maxTicksLimit": 5, "color": "#808a99"}},
        },
    }
)
