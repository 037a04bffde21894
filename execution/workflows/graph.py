"""The graph of a workflow's steps: an order to do them in, the layers that may go side by side, and circles.

It takes what each step needs, as `Definition.needs` says it, and takes time in proportion to steps and needs together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

Needs = Mapping[str, Sequence[str]]


def layers(needs: Needs) -> list[list[str]]:
    """Return the steps by how many stand before them, each layer in the order in which it was written."""
    written = {name: place for place, name in enumerate(needs)}
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    found = []
    while sorter.is_active():
        layer = sorted(sorter.get_ready(), key=written.__getitem__)
        found.append(layer)
        sorter.done(*layer)
    return found


def order(needs: Needs) -> list[str]:
    """Return the steps so that each comes after what it needs."""
    return [name for layer in layers(needs) for name in layer]


def circles(needs: Needs, *, most: int = 5) -> Iterator[list[str]]:
    """Yield circles in which steps need each other, as paths that end where they begin; no two share a step."""
    left = {name: [need for need in wanted if need in needs] for name, wanted in needs.items()}
    for _ in range(most):
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:
            path = _from_the_first(list(reversed(error.args[1])), left)
            yield path
            ring = set(path)
            left = {name: [need for need in left[name] if need not in ring] for name in left if name not in ring}
        else:
            return


def _from_the_first(path: list[str], needs: Needs) -> list[str]:
    """Turn a circle so that it begins with the step that was written first."""
    written = {name: place for place, name in enumerate(needs)}
    ring = path[:-1]
    start = min(range(len(ring)), key=lambda place: written[ring[place]])
    return [*ring[start:], *ring[:start], ring[start]]


def followers(needs: Needs) -> dict[str, list[str]]:
    """Return which steps need each step."""
    found: dict[str, list[str]] = {name: [] for name in needs}
    for name, wanted in needs.items():
        for need in wanted:
            found[need].append(name)
    return found
