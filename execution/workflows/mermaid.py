"""A workflow as Mermaid text, which GitHub, GitLab and many editors draw.

The shape of a node says what it is: a box for a skill, a hexagon for a gate, a rounded one for a sleep, a double one
for a sub-workflow. Mermaid itself draws no more than 500 arrows unless it is configured to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from execution.workflows.spec import Definition, Step

STATE_COLOURS = {
    "blocked": ("#f3f4f6", "#6b7280"),
    "ready": ("#e0f2fe", "#0369a1"),
    "running": ("#dbeafe", "#1d4ed8"),
    "waiting": ("#fef9c3", "#a16207"),
    "parked": ("#ffedd5", "#c2410c"),
    "completed": ("#dcfce7", "#15803d"),
    "failed": ("#fee2e2", "#b91c1c"),
    "skipped": ("#ffffff", "#9ca3af"),
    "cancelled": ("#e5e7eb", "#374151"),
}
"""The fill and the line of each state of a step."""

_SHAPES = {"skill": ("[", "]"), "gate": ("{{", "}}"), "sleep": ("([", "])"), "workflow": ("[[", "]]")}


def text(definition: Definition, states: Mapping[str, str] | None = None) -> str:
    """Return the graph as Mermaid text, with the states of steps where they are given."""
    return "\n".join(_lines(definition, states or {})) + "\n"


def label(step: Step) -> str:
    """Say what a step does, in the few words that a picture has room for."""
    if step.gate is not None:
        return {"approval": "approval", "check": "check", "signal": f"signal {step.signal}"}[step.gate]
    if step.sleep is not None:
        return "sleep"
    return f"{step.skill or step.workflow}{' (each)' if step.foreach is not None else ''}"


def _lines(definition: Definition, states: Mapping[str, str]) -> Iterator[str]:
    ids = {name: f"s{place}" for place, name in enumerate(definition.steps)}
    yield "flowchart LR"
    for place, phase in enumerate(["", *definition.phases]):
        members = [name for name, step in definition.steps.items() if (step.phase or "") == phase]
        inside = bool(phase and members)
        if inside:
            yield f'  subgraph p{place}["{_escaped(phase)}"]'
        for name in members:
            yield f"{'    ' if inside else '  '}{ids[name]}{_node(name, definition.steps[name], states.get(name, ''))}"
        if inside:
            yield "  end"
    for name, wanted in definition.needs.items():
        for need in wanted:
            yield f"  {ids[need]} --> {ids[name]}"
    for state in sorted({states[name] for name in definition.steps if states.get(name) in STATE_COLOURS}):
        fill, line = STATE_COLOURS[state]
        dashes = ",stroke-dasharray:4 3" if state in ("skipped", "blocked") else ""
        yield f"  classDef {state} fill:{fill},stroke:{line},color:#111827{dashes}"


def _node(name: str, step: Step, state: str) -> str:
    before, after = _SHAPES[step.kind]
    lines = [name, label(step), *([state] if state else [])]
    css = f":::{state}" if state in STATE_COLOURS else ""
    return f'{before}"{"<br/>".join(map(_escaped, lines))}"{after}{css}'


def _escaped(value: str) -> str:
    return "".join(one if one.isalnum() or one in " _-./:()" else f"#{ord(one)};" for one in value)
