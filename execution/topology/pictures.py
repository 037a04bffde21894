"""The topology as Mermaid text, as DOT for Graphviz, and as an SVG picture that needs nothing else.

The outline says what a node is: a box is a skill, a double box a workflow, a rounded one an agent, a cylinder (in the
SVG a box with a thick line) a service. What was only seen, and nowhere declared or defined, is dashed.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from execution import words
from execution.topology.graph import OBSERVED, Topology
from execution.workflows import layout
from execution.workflows.layout import HEIGHT, WIDTH, Point
from execution.workflows.svg import STYLE, curve

_MERMAID = {"service": ("[(", ")]"), "skill": ("[", "]"), "agent": ("([", "])"), "workflow": ("[[", "]]")}
_DOT = {"service": "cylinder", "skill": "box", "agent": "oval", "workflow": "component"}
_FILLS = {"critical": "#fee2e2", "standard": "#e0f2fe", "low": "#f3f4f6", "": "#ffffff"}


def mermaid(topology: Topology) -> str:
    """Return the topology as Mermaid text."""
    ids = {name: f"n{place}" for place, name in enumerate(sorted(topology.graph))}
    lines = ["flowchart LR"]
    for name, one in ids.items():
        before, after = _MERMAID.get(_kind(name), ("[", "]"))
        lines.append(f'  {one}{before}"{_escaped(name)}"{after}')
    for caller, callee, is_dashed in _edges(topology):
        lines.append(f"  {ids[caller]} {'-.->' if is_dashed else '-->'} {ids[callee]}")
    return "\n".join(lines) + "\n"


def dot(topology: Topology) -> str:
    """Return the topology as DOT."""
    lines = ["digraph topology {", "  rankdir=LR;"]
    for name in sorted(topology.graph):
        fill = _FILLS[topology.graph.nodes[name]["tier"]]
        lines.append(f'  {_quoted(name)} [shape={_DOT.get(_kind(name), "box")}, style=filled, fillcolor="{fill}"];')
    for caller, callee, is_dashed in _edges(topology):
        lines.append(f"  {_quoted(caller)} -> {_quoted(callee)}{' [style=dashed]' if is_dashed else ''};")
    return "\n".join([*lines, "}"]) + "\n"


def svg(topology: Topology) -> str:
    """Return the topology as SVG; an edge that closes a circle is drawn straight back."""
    return "\n".join(_svg_lines(topology)) + "\n"


def _svg_lines(topology: Topology) -> Iterator[str]:
    order = _order(topology)
    needs: dict[str, list[str]] = {name: [] for name in order}
    for caller, callee, _ in _edges(topology):
        if order[caller] < order[callee]:
            needs[callee].append(caller)
    placed = layout.of(needs)
    width, height = max(placed.width, 260), max(placed.height, 80)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" aria-label="topology">'
    )
    yield f"<title>topology</title><style>{STYLE}</style>"
    yield (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#6b7280"/></marker></defs>'
    )
    yield f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>'
    for caller, callee, is_dashed in _edges(topology):
        points = placed.arrows.get((caller, callee)) or _back(placed.corners[caller], placed.corners[callee])
        dashes = ' stroke-dasharray="4 3"' if is_dashed else ""
        yield f'<path class="a" d="{curve(points)}"{dashes} marker-end="url(#tip)"/>'
    for name, corner in placed.corners.items():
        yield _box(name, topology.graph.nodes[name]["tier"], corner)
    yield "</svg>"


def _order(topology: Topology) -> dict[str, int]:
    """Return a place for each node so that callers stand before what they call, but in a circle."""
    import networkx as nx

    rings = nx.condensation(topology.graph)
    names = [name for ring in nx.topological_sort(rings) for name in sorted(rings.nodes[ring]["members"])]
    return {name: place for place, name in enumerate(names)}


def _back(start: Point, end: Point) -> list[Point]:
    return [(start[0] + WIDTH, start[1] + HEIGHT / 2), (end[0], end[1] + HEIGHT / 2)]


def _box(name: str, tier: str, corner: Point) -> str:
    kind, _, own = name.partition(":")
    wide = 3 if kind == "service" else 1.6
    round_by = HEIGHT / 2 if kind == "agent" else 5
    style = f'fill="{_FILLS[tier]}" stroke="#374151" stroke-width="{wide}"'
    inner = (
        f'<rect x="4" y="4" width="{WIDTH - 8}" height="{HEIGHT - 8}" rx="3" {style}/>' if kind == "workflow" else ""
    )
    said = f"{kind}, {tier}" if tier else kind
    return (
        f'<g transform="translate({corner[0]:g} {corner[1]:g})"><title>{escape(name)}</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="{round_by:g}" {style}/>{inner}'
        f'<text class="n" x="14" y="20">{escape(words.one_line(own, 23))}</text>'
        f'<text class="w" x="14" y="36">{escape(said)}</text></g>'
    )


def _edges(topology: Topology) -> list[tuple[str, str, bool]]:
    """Return the edges in order, and whether each was only seen."""
    found = topology.graph.edges(data="sources")
    return sorted((caller, callee, sources == {OBSERVED}) for caller, callee, sources in found)


def _kind(name: str) -> str:
    return name.partition(":")[0]


def _escaped(value: str) -> str:
    return "".join(one if one.isalnum() or one in " _-./:()" else f"#{ord(one)};" for one in value)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
