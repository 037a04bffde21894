"""A workflow as one SVG picture that needs nothing else: no fonts, scripts or style sheets from anywhere.

The outline says what a step is, as in Mermaid; where states are given, each has a colour and a sign of its own, so
that nobody has to tell colours apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from execution import words
from execution.workflows import layout
from execution.workflows.layout import HEIGHT, WIDTH, Point
from execution.workflows.mermaid import STATE_COLOURS, label
from execution.workflows.spec import Definition

_PLAIN = ("#ffffff", "#374151")
SIGNS = {
    "blocked": "M-5,-5 h10 v10 h-10 z",
    "ready": "M-5,0 a5,5 0 1,0 10,0 a5,5 0 1,0 -10,0 z",
    "running": "M-4,-6 L6,0 L-4,6 z",
    "waiting": "M-5,-6 h10 L-5,6 h10 z",
    "parked": "M-5,-6 h3 v12 h-3 z M2,-6 h3 v12 h-3 z",
    "completed": "M-6,0 L-2,5 L6,-5",
    "failed": "M-5,-5 L5,5 M5,-5 L-5,5",
    "skipped": "M-6,-5 L0,0 L-6,5 M0,-5 L6,0 L0,5",
    "cancelled": "M-6,0 h12",
}
"""The sign of each state of a step, around its own middle."""
_FILLED = ("running", "waiting", "parked")
STYLE = (
    "text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#111827}"
    ".n{font-size:13px;font-weight:600}.w{font-size:11px;fill:#4b5563}"
    ".a{fill:none;stroke:#6b7280;stroke-width:1.4}.t{font-size:15px;font-weight:600}"
)
_HEAD = 34
_TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path class="tip" d="M0,0 L8,4 L0,8 z" fill="#6b7280"/></marker></defs>'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One box of a picture: what it does, what kind of step it is, how it stands, and where it leads."""

    label: str
    kind: str = "skill"
    is_list: bool = False
    state: str = ""
    url: str = ""


def text(definition: Definition, states: Mapping[str, str] | None = None) -> str:
    """Return the graph as SVG, with the states of steps where they are given."""
    return "\n".join(_lines(definition, states or {})) + "\n"


def nodes_of(definition: Definition, states: Mapping[str, str] | None = None) -> dict[str, Node]:
    """Return the boxes of a definition's steps."""
    known = states or {}
    return {
        name: Node(label=label(step), kind=step.kind, is_list=step.foreach is not None, state=known.get(name, ""))
        for name, step in definition.steps.items()
    }


def part(title: str, nodes: Mapping[str, Node], needs: Mapping[str, Sequence[str]]) -> str:
    """Return a picture as a part of a page, which gives it its colours and can move and enlarge it."""
    placed = layout.of(needs)
    head = (
        f'<svg class="room-graph" data-width="{placed.width:g}" data-height="{placed.height:g}"'
        f' viewBox="0 0 {placed.width:g} {placed.height:g}" role="group" aria-label={quoteattr(title)}>{_TIP}'
    )
    return "".join([head, *_drawn(nodes, placed), "</svg>"])


def sign(state: str) -> str:
    """Return the sign of a state alone, for a legend."""
    return f'<path d="{SIGNS[state]}"/>'


def _lines(definition: Definition, states: Mapping[str, str]) -> Iterator[str]:
    placed = layout.of(definition.needs)
    width, height = max(placed.width, 260), placed.height + _HEAD
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}"'
        f' viewBox="0 0 {width:g} {height:g}" role="img" aria-label={quoteattr(f"workflow {definition.name}")}>'
    )
    yield f"<title>{escape(definition.name)}</title><style>{STYLE}</style>"
    yield _TIP
    yield f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>'
    yield f'<text class="t" x="24" y="28">{escape(definition.name)}</text><g transform="translate(0 {_HEAD - 10})">'
    yield from _drawn(nodes_of(definition, states), placed)
    yield "</g></svg>"


def _drawn(nodes: Mapping[str, Node], placed: layout.Layout) -> Iterator[str]:
    """Yield the arrows, and the boxes upon them."""
    for points in placed.arrows.values():
        yield f'<path class="a" d="{curve(points)}" marker-end="url(#tip)"/>'
    for name, corner in placed.corners.items():
        yield _box(name, nodes[name], corner)


def curve(points: Sequence[Point]) -> str:
    """Return a smooth way through points: curves between the layers, straight lines through their lanes."""
    (x, y), *rest = points
    path = f"M{x:g},{y:g}"
    for place, (right, lower) in enumerate(rest):
        if place % 2:
            path += f" L{right:g},{lower:g}"
        else:
            middle = (x + right) / 2
            path += f" C{middle:g},{y:g} {middle:g},{lower:g} {right:g},{lower:g}"
        x, y = right, lower
    return path


def _box(name: str, node: Node, corner: Point) -> str:
    fill, line = STATE_COLOURS.get(node.state, _PLAIN)
    dashes = ' stroke-dasharray="4 3"' if node.state in ("skipped", "blocked") else ""
    style = f'class="box" fill="{fill}" stroke="{line}" stroke-width="1.6"{dashes}'
    left = 34 if node.state in SIGNS else 14
    room = (WIDTH - left - 10) // 7
    told = f"{name}: {node.label}{f' ({node.state})' if node.state else ''}"
    state = f' class="is-{node.state}"' if node.state else ""
    drawn = (
        f'<g{state} transform="translate({corner[0]:g} {corner[1]:g})"><title>{escape(told)}</title>'
        f"{_outline(node, style)}{_sign(node.state, line)}"
        f'<text class="n" x="{left}" y="20">{escape(words.one_line(name, room))}</text>'
        f'<text class="w" x="{left}" y="36">{escape(words.one_line(node.label, room + 3))}</text></g>'
    )
    return f"<a href={quoteattr(node.url)}>{drawn}</a>" if node.url else drawn


def _outline(node: Node, style: str) -> str:
    if node.kind == "gate":
        points = f"10,0 {WIDTH - 10},0 {WIDTH},{HEIGHT / 2:g} {WIDTH - 10},{HEIGHT} 10,{HEIGHT} 0,{HEIGHT / 2:g}"
        return f'<polygon points="{points}" {style}/>'
    if node.kind == "sleep":
        return f'<rect width="{WIDTH}" height="{HEIGHT}" rx="{HEIGHT / 2:g}" {style}/>'
    box = f'<rect width="{WIDTH}" height="{HEIGHT}" rx="5" {style}/>'
    if node.is_list:
        box = f'<rect x="5" y="5" width="{WIDTH}" height="{HEIGHT}" rx="5" {style}/>{box}'
    if node.kind == "workflow":
        box += f'<rect x="4" y="4" width="{WIDTH - 8}" height="{HEIGHT - 8}" rx="3" {style}/>'
    return box


def _sign(state: str, colour: str) -> str:
    if state not in SIGNS:
        return ""
    fill = colour if state in _FILLED else "none"
    return (
        f'<path class="sign" transform="translate(20 {HEIGHT / 2:g})" d="{SIGNS[state]}" fill="{fill}"'
        f' stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>'
    )
