"""The graph: order, layers and circles beside a plain model, and time that grows with the graph."""

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execution.workflows import graph, layout
from execution.workflows.spec import Definition, Step


@st.composite
def graphs(draw, most=25):
    """Draw needs without a circle, written in any order."""
    names = draw(
        st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), min_size=1, max_size=most, unique=True)
    )
    needs = {}
    for place, name in enumerate(names):
        needs[name] = draw(st.lists(st.sampled_from(names[:place]), unique=True, max_size=4)) if place else []
    return {name: needs[name] for name in draw(st.permutations(names))}


@st.composite
def tangles(draw):
    """Draw needs that may have circles."""
    names = [f"s{number}" for number in range(draw(st.integers(1, 10)))]
    return {name: draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) for name in names}


def depth(needs, name):
    """Count the steps that stand before one, along the longest way: the model of a layer."""
    return max((depth(needs, need) + 1 for need in needs[name]), default=0)


def reached(needs, name):
    """Return all that a step needs, directly or through others: the model of a circle."""
    found, left = set(), list(needs[name])
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += needs[one]
    return found


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_order_and_layers_are_the_models(needs):
    """Every step comes after what it needs, in the layer of its depth, and each layer in the order of writing."""
    layers = graph.layers(needs)
    assert {name: place for place, layer in enumerate(layers) for name in layer} == {
        name: depth(needs, name) for name in needs
    }
    written = list(needs)
    assert all(layer == sorted(layer, key=written.index) for layer in layers)
    seen = set()
    for name in graph.order(needs):
        assert set(needs[name]) <= seen
        seen.add(name)
    assert seen == set(needs)


@settings(max_examples=300, deadline=None)
@given(tangles())
def test_circles_are_the_models(needs):
    """A circle is found exactly where a step needs itself through others, and its path is one that is there."""
    found = list(graph.circles(needs))
    assert bool(found) == any(name in reached(needs, name) for name in needs)
    for path in found:
        assert path[0] == path[-1]
        assert all(after in needs[before] for before, after in itertools.pairwise(path))
    steps = [name for path in found for name in path[1:]]
    assert len(steps) == len(set(steps))


@settings(max_examples=100, deadline=None)
@given(graphs(), st.randoms())
def test_definition_needs_what_it_lists_and_names(needs, chance):
    """Needs that are listed and needs that an expression names make the same graph."""
    steps, expected = {}, {}
    for name, wanted in needs.items():
        listed = [one for one in wanted if chance.random() < 0.5]
        named = [one for one in wanted if one not in listed]
        values = {f"v{place}": f"${{steps.{one}.x}}" for place, one in enumerate(named)}
        steps[name] = Step(skill="x", needs=listed, with_=values)
        expected[name] = (*listed, *named)
    assert Definition(name="w", steps=steps).needs == expected


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_no_step_stands_on_another(needs):
    """Boxes keep apart, and each arrow leaves its step on the right and enters the next on the left."""
    placed = layout.of(needs)
    corners = list(placed.corners.values())
    for number, (x, y) in enumerate(corners):
        assert 0 <= x <= placed.width - layout.WIDTH
        assert 0 <= y <= placed.height - layout.HEIGHT
        for other_x, other_y in corners[:number]:
            assert abs(x - other_x) >= layout.WIDTH or abs(y - other_y) >= layout.HEIGHT
    for (need, name), points in placed.arrows.items():
        assert points[0] == (placed.corners[need][0] + layout.WIDTH, placed.corners[need][1] + layout.HEIGHT / 2)
        assert points[-1] == (placed.corners[name][0], placed.corners[name][1] + layout.HEIGHT / 2)


def test_followers_turn_needs_around():
    """Who needs a step is listed with the step."""
    assert graph.followers({"a": [], "b": ["a"], "c": ["a", "b"]}) == {"a": ["b", "c"], "b": ["c"], "c": []}


def chain(size):
    """Return a chain in which each step also needs the first."""
    return {f"s{n}": [f"s{n - 1}", "s0"][: min(2, n)] for n in range(size)}


def comb(size):
    """Return a fan-out and a fan-in."""
    middle = [f"s{n}" for n in range(size - 2)]
    return {"first": [], **{name: ["first"] for name in middle}, "last": middle}


@pytest.mark.parametrize("shape", [chain, comb])
def test_large_graphs_are_quick(shape):
    """A chain and a fan of 5,000 steps are ordered and laid out in seconds."""
    needs = shape(5_000)
    begun = time.monotonic()
    assert len(graph.order(needs)) == 5_000
    assert len(layout.of(needs).corners) == 5_000
    assert time.monotonic() - begun < 20


def test_a_long_circle_is_found():
    """A circle through 5,000 steps is no problem for the stack."""
    needs = {f"s{n}": [f"s{(n + 1) % 5_000}"] for n in range(5_000)}
    (path,) = graph.circles(needs)
    assert len(path) == 5_001
