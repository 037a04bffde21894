"""A workflow as one SVG picture that needs nothing else: no fonts, scripts or style sheets from anywhere.

The outline says what a step is, as in Mermaid; where states are given, each has a colour and a sign of its own, so
that nobody has to tell colours apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

from execution import words
from execution.workflows import layout
from execution.workflows.layout import HEIGHT, WIDTH, Point
from execution.workflows.mermaid import STATE_COLOURS, label
from execution.workflows.spec import Definition, Step

_PLAIN = ("#ffffff", "#374151")
_SIGNS = {
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
_FILLED = ("running", "waiting", "parked")
STYLE = (
    "text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#111827}"
    ".n{font-size:13px;font-weight:600}.w{font-size:11px;fill:#4b5563}"
    ".a{fill:none;stroke:#6b7280;stroke-width:1.4}.t{font-size:15px;font-weight:600}"
)
_HEAD = 34


def text(definition: Definition, states: Mapping[str, str] | None = None) -> str:
    """Return the graph as SVG, with the states of steps where they are given."""
    return "\n".join(_lines(definition, states or {})) + "\n"


def _lines(definition: Definition, states: Mapping[str, str]) -> Iterator[str]:
    placed = layout.of(definition.needs)
    width, height = max(placed.width, 260), placed.height + _HEAD
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}"'
        f' viewBox="0 0 {width:g} {height:g}" role="img" aria-label={quoteattr(f"workflow {definition.name}")}>'
    )
    yield f"<title>{escape(definition.name)}</title><style>{STYLE}</style>"
    yield (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#6b7280"/></marker></defs>'
    )
    yield f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>'
    yield f'<text class="t" x="24" y="28">{escape(definition.name)}</text><g transform="translate(0 {_HEAD - 10})">'
    for points in placed.arrows.values():
        yield f'<path class="a" d="{curve(points)}" marker-end="url(#tip)"/>'
    for name, corner in placed.corners.items():
        yield _step(name, definition.steps[name], corner, states.get(name, ""))
    yield "</g></svg>"


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


def _step(name: str, step: Step, corner: Point, state: str) -> str:
    fill, line = STATE_COLOURS.get(state, _PLAIN)
    dashes = ' stroke-dasharray="4 3"' if state in ("skipped", "blocked") else ""
    style = f'fill="{fill}" stroke="{line}" stroke-width="1.6"{dashes}'
    left = 34 if state in _SIGNS else 14
    room = (WIDTH - left - 10) // 7
    told = f"{name}: {label(step)}{f' ({state})' if state else ''}"
    return (
        f'<g transform="translate({corner[0]:g} {corner[1]:g})"><title>{escape(told)}</title>'
        f"{_outline(step, style)}{_sign(state, line)}"
        f'<text class="n" x="{left}" y="20">{escape(words.one_line(name, room))}</text>'
        f'<text class="w" x="{left}" y="36">{escape(words.one_line(label(step), room + 3))}</text></g>'
    )


def _outline(step: Step, style: str) -> str:
    if step.gate is not None:
        points = f"10,0 {WIDTH - 10},0 {WIDTH},{HEIGHT / 2:g} {WIDTH - 10},{HEIGHT} 10,{HEIGHT} 0,{HEIGHT / 2:g}"
        return f'<polygon points="{points}" {style}/>'
    if step.sleep is not None:
        return f'<rect width="{WIDTH}" height="{HEIGHT}" rx="{HEIGHT / 2:g}" {style}/>'
    box = f'<rect width="{WIDTH}" height="{HEIGHT}" rx="5" {style}/>'
    if step.foreach is not None:
        box = f'<rect x="5" y="5" width="{WIDTH}" height="{HEIGHT}" rx="5" {style}/>{box}'
    if step.workflow is not None:
        box += f'<rect x="4" y="4" width="{WIDTH - 8}" height="{HEIGHT - 8}" rx="3" {style}/>'
    return box


def _sign(state: str, colour: str) -> str:
    if state not in _SIGNS:
        return ""
    fill = colour if state in _FILLED else "none"
    return (
        f'<path transform="translate(20 {HEIGHT / 2:g})" d="{_SIGNS[state]}" fill="{fill}" stroke="{colour}"'
        ' stroke-width="2" stroke-linejoin="round"/>'
    )
