"""Spreading: a small picture of where trouble began and what it reached, by who was seen calling whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from execution import words
from execution.models import ObservedCall, ServiceDependency
from execution.workflows import layout
from execution.workflows.layout import HEIGHT, WIDTH
from execution.workflows.svg import curve

DRAWN_MOST = 24


def picture(affected: Sequence[dict[str, Any]]) -> SafeString:
    """Draw the affected parts in the order in which trouble reached them; the first is where it began."""
    names = [one["node"] for one in affected[:DRAWN_MOST]]
    if not names:
        return SafeString("")
    placed = layout.of(_reached_from(names))
    boxes = format_html_join(
        "", "{}", ((_box(name, placed.corners[name], is_root=name == names[0]),) for name in names)
    )
    arrows = format_html_join(
        "",
        '<path class="room-arrow" d="{}" marker-end="url(#room-tip)"/>',
        ((curve(p),) for p in placed.arrows.values()),
    )
    more = f", and {len(affected) - DRAWN_MOST} more" if len(affected) > DRAWN_MOST else ""
    said = f"Trouble began at {names[0]}" + (f" and reached {words.listed(names[1:], 5)}" if names[1:] else "") + more
    return format_html(
        '<svg class="room-picture" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{said}">'
        '<title>{said}</title><defs><marker id="room-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z"/></marker></defs>{arrows}{boxes}</svg>',
        w=f"{placed.width:g}", h=f"{placed.height:g}", said=said, arrows=arrows, boxes=boxes,
    )  # fmt: skip


def _reached_from(names: list[str]) -> dict[str, list[str]]:
    """Return for each part from which of the earlier ones trouble may have come: from what it calls or needs."""
    place = {name: number for number, name in enumerate(names)}
    calls = {(caller, callee) for caller, callee in _calls(names) if place[callee] < place[caller]}
    return {
        name: sorted((callee for caller, callee in calls if caller == name), key=place.__getitem__) for name in names
    }


def _calls(names: list[str]) -> Iterable[tuple[str, str]]:
    seen = ObservedCall.objects.filter(caller__in=names, callee__in=names)
    yield from seen.values_list("caller", "callee")
    services = [name.removeprefix("service:") for name in names if name.startswith("service:")]
    needs = ServiceDependency.objects.filter(service_id__in=services, needed_id__in=services)
    for service, needed in needs.values_list("service_id", "needed_id"):
        yield f"service:{service}", f"service:{needed}"


def _box(name: str, corner: tuple[float, float], *, is_root: bool) -> SafeString:
    kind, _, own = name.partition(":")
    return format_html(
        '<g class="room-box{}" transform="translate({} {})"><title>{}</title><rect width="{}" height="{}" rx="6"/>'
        '<text x="12" y="20">{}</text><text class="is-quiet" x="12" y="36">{}</text></g>',
        " is-root" if is_root else "", f"{corner[0]:g}", f"{corner[1]:g}", name, WIDTH, HEIGHT,
        words.one_line(own or kind, 22), f"{kind}: where it began" if is_root else kind,
    )  # fmt: skip
