"""Pictures of numbers: small bars in a list, and charts that Chart.js draws; each says in words what it shows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

COLORS = {
    "good": "#059669",
    "bad": "#dc2626",
    "busy": "#2563eb",
    "wait": "#d97706",
    "quiet": "#94a3b8",
}
_QUIET_TICKS = {"color": "#8a94a6", "maxTicksLimit": 8, "maxRotation": 0}
_KEYS = {"color": "#8a94a6", "boxWidth": 10, "boxHeight": 10}
_WIDE, _HIGH, _BAR = 84, 22, 9


def spark(counts: Sequence[int], said: str) -> SafeString:
    """Show a few counts as small bars, the oldest first; `said` tells them to who does not see them."""
    most = max([*counts, 1])
    step = _WIDE / max(len(counts), 1)
    bars = format_html_join(
        "",
        '<rect x="{}" y="{}" width="{}" height="{}"/>',
        (_bar(place, count, most, step) for place, count in enumerate(counts)),
    )
    return format_html(
        '<svg class="room-spark" viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title>{}</svg>',
        _WIDE, _HIGH, said, said, bars,
    )  # fmt: skip


def _bar(place: int, count: int, most: int, step: float) -> tuple[str, ...]:
    height = max(count / most * (_HIGH - 2), 1.5 if count else 0.75)
    width = min(step - 2, _BAR)
    return tuple(f"{one:.1f}" for one in (place * step, _HIGH - height, width, height))


def share(value: float | None, said: str) -> SafeString:
    """Show a share of one as a bar with its number beside it."""
    if value is None:
        return SafeString("-")
    percent = f"{max(0.0, min(value, 1.0)) * 100:.0f}"
    return format_html(
        '<span class="room-share" title="{}"><span class="room-bar"><i style="width:{}%"></i></span>{}%</span>',
        said, percent, percent,
    )  # fmt: skip


def series(label: str, values: Sequence[float | None], color: str, **more: Any) -> dict[str, Any]:
    """Return one line or one row of bars, in one of the room's colours."""
    shade = COLORS[color]
    return {"label": label, "data": list(values), "borderColor": shade, "backgroundColor": shade, **more}


def level(label: str, value: float, count: int, color: str = "quiet") -> dict[str, Any]:
    """Return a straight dashed line: a limit that others are measured by."""
    return series(label, [value] * count, color, borderDash=[5, 5], borderWidth=1.5, pointRadius=0)


def chart(
    kind: str, labels: Sequence[str], rows: Sequence[Mapping[str, Any]], said: str, *, right: str = "", **scale: Any
) -> dict[str, str]:
    """Return a chart as the template takes it; without any label there is nothing to draw.

    What is named besides is the scale upwards, such as `type="logarithmic"`; `right` names one of its own at the right.
    """
    options = {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "interaction": {"mode": "index", "intersect": False},
        "elements": {"point": {"radius": 0, "hitRadius": 8}, "line": {"borderWidth": 2, "tension": 0.15}},
        "plugins": {"legend": {"display": len(rows) > 1, "align": "start", "labels": _KEYS}},
        "scales": {
            "x": {"grid": {"display": False}, "ticks": _QUIET_TICKS},
            "y": {"beginAtZero": True, "ticks": {**_QUIET_TICKS, "maxTicksLimit": 5}, **scale},
        },
    }  # fmt: skip
    if right:
        scale_of = {"position": "right", "beginAtZero": True, "grid": {"display": False}, "ticks": _QUIET_TICKS}
        options["scales"] |= {right: scale_of}  # type: ignore[operator]
    data = {"labels": list(labels), "datasets": list(rows)}
    return {"kind": kind, "data": json.dumps(data) if labels else "", "options": json.dumps(options), "said": said}
