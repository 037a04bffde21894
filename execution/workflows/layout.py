"""Where each step of a graph stands in a picture: layers from left to right, few crossings, no step on another.

An arrow that passes layers takes a lane of its own through them, as long as there are not too many lanes; the work
grows with the steps and arrows.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from execution.workflows import graph

WIDTH, HEIGHT = 190, 46
_BETWEEN_LAYERS, _BETWEEN_ROWS, _LANE, _MARGIN = 70, 22, 14, 24
_SWEEPS = 4
_MOST_LANES = 6

Point = tuple[float, float]
_Cell = str | tuple[str, str, int]
"""A step, or the lane of an arrow in one layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The left upper corner of each step, the way of each arrow, and the size of the whole."""

    width: float
    height: float
    corners: Mapping[str, Point]
    arrows: Mapping[tuple[str, str], Sequence[Point]]


def of(needs: graph.Needs) -> Layout:
    """Return a layout of a graph that has an order."""
    layers = graph.layers(needs)
    level = {name: place for place, layer in enumerate(layers) for name in layer}
    ways = {(need, name): _way(need, name, level, len(needs)) for name, wanted in needs.items() for need in wanted}
    cells = _cells(layers, ways)
    _untangle(cells, ways)
    return _placed(cells, ways)


def _way(need: str, name: str, level: Mapping[str, int], size: int) -> list[_Cell]:
    """Return the cells that an arrow passes; a long one in a large graph goes straight."""
    span = level[name] - level[need]
    if span > _MOST_LANES and size > 100:
        return [need, name]
    return [need, *((need, name, layer) for layer in range(level[need] + 1, level[name])), name]


def _cells(layers: list[list[str]], ways: Mapping[tuple[str, str], list[_Cell]]) -> list[list[_Cell]]:
    cells: list[list[_Cell]] = [list(layer) for layer in layers]
    for way in ways.values():
        for cell in way:
            if isinstance(cell, tuple):
                cells[cell[2]].append(cell)
    return cells


def _untangle(cells: list[list[_Cell]], ways: Mapping[tuple[str, str], list[_Cell]]) -> None:
    """Order each layer by where its neighbours stand: a few sweeps forwards and backwards."""
    before: dict[_Cell, list[_Cell]] = {}
    after: dict[_Cell, list[_Cell]] = {}
    for way in ways.values():
        for left, right in itertools.pairwise(way):
            before.setdefault(right, []).append(left)
            after.setdefault(left, []).append(right)
    rows: dict[_Cell, float] = {cell: row for layer in cells for row, cell in enumerate(layer)}
    for sweep in range(_SWEEPS):
        beside = before if sweep % 2 == 0 else after
        for layer in cells if sweep % 2 == 0 else reversed(cells):
            middle = {cell: _mean([rows[one] for one in beside.get(cell, [])], rows[cell]) for cell in layer}
            layer.sort(key=middle.__getitem__)
            rows.update((cell, row) for row, cell in enumerate(layer))


def _mean(numbers: list[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise


def _placed(cells: list[list[_Cell]], ways: Mapping[tuple[str, str], list[_Cell]]) -> Layout:
    heights = [sum(_height(cell) + _BETWEEN_ROWS for cell in layer) - _BETWEEN_ROWS for layer in cells]
    tallest = max(heights, default=0)
    tops: dict[_Cell, Point] = {}
    for place, (layer, height) in enumerate(zip(cells, heights, strict=True)):
        x, y = _MARGIN + place * (WIDTH + _BETWEEN_LAYERS), _MARGIN + (tallest - height) / 2
        for cell in layer:
            tops[cell] = (x, y)
            y += _height(cell) + _BETWEEN_ROWS
    return Layout(
        width=2 * _MARGIN + len(cells) * (WIDTH + _BETWEEN_LAYERS) - _BETWEEN_LAYERS,
        height=2 * _MARGIN + tallest,
        corners={cell: point for cell, point in tops.items() if isinstance(cell, str)},
        arrows={pair: _points(way, tops) for pair, way in ways.items()},
    )


def _height(cell: _Cell) -> int:
    return HEIGHT if isinstance(cell, str) else _LANE


def _points(way: list[_Cell], tops: Mapping[_Cell, Point]) -> list[Point]:
    """Return the points of an arrow: out of a step on its right, through its lanes, into the next on its left."""
    found: list[Point] = []
    for place, cell in enumerate(way):
        x, y = tops[cell]
        middle = y + _height(cell) / 2
        if place > 0:
            found.append((x, middle))
        if place < len(way) - 1:
            found.append((x + WIDTH, middle))
    return found
