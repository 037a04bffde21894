"""The topology as correlation walks it: what is near what, what stands behind what, and how much hangs on it.

An edge counts in either direction. The default agent is nobody in particular: it performs what no other agent does, so
two skills are not near each other because both are performed by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from execution import agents
from execution.models import Tier
from execution.topology import Topology
from recovery import conf

if TYPE_CHECKING:
    import networkx as nx

_TIERS = frozenset(Tier.values)
NOBODY = f"agent:{agents.DEFAULT}"


class Neighbourhood:
    """The topology of one pass."""

    def __init__(self, topology: Topology, *, hops: int | None = None) -> None:
        """Take a topology, and how far apart two nodes may be to be near."""
        self._graph: nx.DiGraph[str] = topology.graph.copy()
        self._graph.remove_nodes_from([NOBODY])
        self._hops = conf.current().correlation_hops if hops is None else hops
        self._near: dict[frozenset[str], frozenset[str]] = {}

    def knows(self, node: str) -> bool:
        """Tell whether a node is in the topology."""
        return node in self._graph

    def near(self, nodes: Iterable[str]) -> frozenset[str]:
        """Return these nodes and those within the hops; a node that the topology does not know is near itself."""
        key = frozenset(nodes)
        if key not in self._near:
            self._near[key] = self._walked(key)
        return self._near[key]

    def _walked(self, nodes: frozenset[str]) -> frozenset[str]:
        found, edge = set(nodes), {one for one in nodes if one in self._graph}
        for _ in range(self._hops):
            edge = {other for one in edge for other in self._beside(one)} - found
            found |= edge
        return frozenset(found)

    def _beside(self, node: str) -> Iterator[str]:
        yield from self._graph.successors(node)
        yield from self._graph.predecessors(node)

    def services_of(self, skill: str) -> list[str]:
        """Return the services that a skill calls."""
        node = f"skill:{skill}"
        if node not in self._graph:
            return []
        return sorted(one for one in self._graph.successors(node) if one.startswith("service:"))

    def tiers(self, nodes: Iterable[str]) -> set[str]:
        """Return the tiers of the services among these nodes, and of those that the skills among them call."""
        found = set(nodes)
        found |= {service for one in nodes if one.startswith("skill:") for service in self.services_of(one[6:])}
        tiers = {str(self._graph.nodes[one]["tier"]) for one in found if one in self._graph}
        return {tier for tier in tiers if tier in _TIERS}

    def causal(self, first_at: Mapping[str, str]) -> list[str]:
        """Return nodes in the order in which trouble spreads: what is needed before what needs it, then the earliest.

        Nodes that need each other in a circle stand together, the earliest first.
        """
        import networkx as nx

        around = self._graph.subgraph(self.near(first_at)).reverse()
        groups = nx.condensation(nx.DiGraph(around)) if len(around) else nx.DiGraph()

        def begins(group: int) -> tuple[str, str]:
            return min((first_at.get(one, ""), one) for one in groups.nodes[group]["members"])

        order = [
            one
            for group in nx.lexicographical_topological_sort(groups, key=begins)
            for one in sorted(groups.nodes[group]["members"], key=lambda one: (first_at.get(one, ""), one))
            if one in first_at
        ]
        return order + sorted(first_at.keys() - set(order), key=lambda one: (first_at[one], one))
