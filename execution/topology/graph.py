"""The graph itself: built from rows, the registry and definitions, and asked for paths and blast radii.

An edge leads from what needs to what is needed, so that what stands to fail with a node are those from which it can be
reached. Each edge tells its sources (declared, defined, observed), how often it was seen and when last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from execution.exceptions import NodeUnknown, NotPossible
from execution.models import ObservedCall, Service, Tier
from execution.workflows.spec import Definition, Fallback

if TYPE_CHECKING:
    import networkx as nx

DECLARED, DEFINED, OBSERVED = "declared", "defined", "observed"
KINDS = ("agent", "workflow", "skill", "service")
_MANY = 10
"""Dependants from which on more make no difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blast:
    """What stands to fail with a node."""

    node: str
    radius: str
    dependants: tuple[str, ...]
    critical: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Topology:
    """What depends on what, at one moment."""

    graph: nx.DiGraph[str]

    def node(self, name: str) -> str:
        """Return a node by its whole name, or by the part after the colon where only one has it."""
        if name in self.graph:
            return name
        found: list[str] = [one for one in self.graph if one.partition(":")[2] == name]
        if len(found) > 1:
            raise NotPossible(f"{name!r} names several nodes: {', '.join(sorted(found))}; write one in full")
        if found:
            return found[0]
        names = [*self.graph, *(one.partition(":")[2] for one in self.graph)]
        raise NodeUnknown(name, next(iter(get_close_matches(name, names, n=1)), None))

    def radius(self, name: str) -> str:
        """Return a node's blast radius; the search ends where more would make no difference."""
        count = critical = 0
        for dependant in self._dependants(self.node(name)):
            count, critical = count + 1, critical + self._is_critical(dependant)
            if count >= _MANY:
                break
        return _radius(count, critical)

    def blast(self, name: str) -> Blast:
        """Return a node's blast radius, with everything that depends on it."""
        node = self.node(name)
        found = sorted(self._dependants(node))
        critical = tuple(one for one in found if self._is_critical(one))
        return Blast(node=node, radius=_radius(len(found), len(critical)), dependants=tuple(found), critical=critical)

    def path(self, start: str, end: str) -> list[str]:
        """Return the shortest way by which the first depends on the second."""
        import networkx as nx

        first, last = self.node(start), self.node(end)
        try:
            return list(nx.shortest_path(self.graph, first, last))
        except nx.NetworkXNoPath:
            raise NotPossible(f"{first} does not depend on {last}") from None

    def around(self, names: Iterable[str], *, hops: int = 2) -> set[str]:
        """Return the nodes within so many edges of these, in either direction."""
        near = {self.node(name) for name in names}
        for _ in range(hops):
            near |= {other for one in near for other in (*self.graph.successors(one), *self.graph.predecessors(one))}
        return near

    def document(self) -> dict[str, Any]:
        """Return the topology as JSON, with each node's blast radius and a digest of the whole."""
        nodes = [
            {"node": name, **facts, "radius": self.radius(name)} for name, facts in sorted(self.graph.nodes(data=True))
        ]
        edges = [
            {"from": one, "to": other, **facts, "sources": sorted(facts["sources"])}
            for one, other, facts in sorted(self.graph.edges(data=True), key=lambda edge: edge[:2])
        ]
        return {"digest": self.digest, "nodes": nodes, "edges": edges}

    @property
    def digest(self) -> str:
        """A hash of the shape: how often and when an edge was seen makes no difference."""
        nodes = sorted((name, facts["tier"], facts["is_known"]) for name, facts in self.graph.nodes(data=True))
        edges = sorted((one, other, sorted(facts["sources"])) for one, other, facts in self.graph.edges(data=True))
        return hashlib.sha256(json.dumps([nodes, edges]).encode()).hexdigest()

    def _dependants(self, node: str) -> Iterator[str]:
        """Yield what depends on a node, the nearest first, and never the node itself."""
        import networkx as nx

        return (one for _, one in nx.bfs_edges(self.graph, node, reverse=True))

    def _is_critical(self, node: str) -> bool:
        return bool(self.graph.nodes[node]["tier"] == Tier.CRITICAL)


def build(definitions: Iterable[Definition] | None = None) -> Topology:
    """Return the topology of this moment; the definitions are those that are known here unless given."""
    import networkx as nx

    found = Topology(nx.DiGraph())
    _add_services(found.graph)
    _add_skills(found.graph)
    _add_definitions(found.graph, known_definitions() if definitions is None else definitions)
    for call in ObservedCall.objects.all():
        edge = _edge(found.graph, call.caller, call.callee, OBSERVED)
        edge["call_count"], edge["last_seen_at"] = call.call_count, call.last_seen_at.isoformat()
    return found


def known_definitions() -> list[Definition]:
    """Return the newest definition of each workflow that can be run here."""
    from execution.workflows import catalog

    return [catalog.find(name).definition for name in catalog.names()]


def _add_services(graph: nx.DiGraph[str]) -> None:
    for service in Service.objects.prefetch_related("dependencies"):
        node = _node(graph, f"service:{service.name}")
        node["tier"], node["owner"], node["is_known"] = str(service.tier), service.owner, True
        for one in service.dependencies.all():
            _edge(graph, f"service:{service.name}", f"service:{one.needed_id}", DECLARED)


def _add_skills(graph: nx.DiGraph[str]) -> None:
    from execution import skills

    for name, task in skills.all_skills().items():
        _node(graph, f"skill:{name}")["is_known"] = True
        for service in task.options.calls:
            _edge(graph, f"skill:{name}", f"service:{service}", DECLARED)
        if task.options.fallback:
            _edge(graph, f"skill:{name}", f"skill:{task.options.fallback}", DECLARED)


def _add_definitions(graph: nx.DiGraph[str], definitions: Iterable[Definition]) -> None:
    for definition in definitions:
        _node(graph, f"workflow:{definition.name}")["is_known"] = True
        for step in definition.steps.values():
            fallback = step.on_failure.fallback if isinstance(step.on_failure, Fallback) else None
            for kind, name in (("skill", step.skill), ("workflow", step.workflow), ("skill", fallback)):
                if name is not None:
                    _edge(graph, f"workflow:{definition.name}", f"{kind}:{name}", DEFINED)


def _node(graph: nx.DiGraph[str], name: str) -> dict[str, Any]:
    if name not in graph:
        graph.add_node(name, kind=name.partition(":")[0], tier="", owner="", is_known=False)
    found: dict[str, Any] = graph.nodes[name]
    return found


def _edge(graph: nx.DiGraph[str], caller: str, callee: str, source: str) -> dict[str, Any]:
    _node(graph, caller), _node(graph, callee)
    if not graph.has_edge(caller, callee):
        graph.add_edge(caller, callee, sources=set(), call_count=0, last_seen_at=None)
    found: dict[str, Any] = graph.edges[caller, callee]
    found["sources"].add(source)
    return found


def _radius(count: int, critical: int) -> str:
    if critical >= 2 or count >= _MANY:
        return "critical"
    if count >= 6:
        return "high"
    return "medium" if count >= 3 or critical >= 1 else "low"
