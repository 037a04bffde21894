"""Wide and long graphs: what one step costs does not grow with the number of steps."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from execution import runs, why
from execution.models import Run, Step
from execution.workflows import Definition, catalog
from tests import workflow_skills as _skills  # noqa: F401 - registers them
from tests.hands import MARKS

pytestmark = MARKS

SLOW = [pytest.mark.slow, pytest.mark.timeout(600)]
MOST = 3.0
"""How much more a step of the large graph may cost: a cost that grows with the width would be ten times as much."""


def fan_in(count: int) -> dict[str, Any]:
    """Return many steps, and one that needs them all and takes what each returned."""
    steps = {f"s{n}": {"skill": "graphs.give", "with": {"value": n}} for n in range(count - 1)}
    return steps | {"last": {"skill": "graphs.give", "with": {"value": [f"${{steps.{name}}}" for name in steps]}}}


def entries(count: int) -> dict[str, Any]:
    """Return a list whose entries are steps, and one that takes what all of them returned."""
    return {
        "list": {"skill": "graphs.range", "with": {"count": count}},
        "each": {"skill": "graphs.give", "foreach": "${steps.list}", "with": {"value": "${item}"}},
        "last": {"skill": "graphs.give", "with": {"value": "${steps.each}"}},
    }


def chain(count: int) -> dict[str, Any]:
    """Return steps of which each takes what the one before it returned."""
    steps: dict[str, Any] = {"s0": {"skill": "graphs.add", "with": {"left": 0}}}
    for place in range(1, count):
        steps[f"s{place}"] = {"skill": "graphs.add", "with": {"left": f"${{steps.s{place - 1}}}", "right": 1}}
    return steps


@pytest.mark.parametrize(
    ("shape", "small", "large"),
    [
        (fan_in, 100, 1000),
        (entries, 100, 1000),
        (chain, 100, 500),
        pytest.param(fan_in, 1000, 10_000, marks=SLOW),
        pytest.param(entries, 1000, 10_000, marks=SLOW),
        pytest.param(chain, 200, 2000, marks=SLOW),
    ],
)
def test_cost_of_a_step_does_not_grow_with_the_graph(hands, shape, small, large):
    """Opening a graph and performing it each take a time for a step that is the same in a graph ten times as large."""
    _cost(hands, shape, 20)  # whatever is done once a process is done here
    few, many = _cost(hands, shape, small), _cost(hands, shape, large)
    assert many["opening"] < MOST * few["opening"], (few, many)
    assert many["performing"] < MOST * few["performing"], (few, many)


def _cost(hands, shape, count: int) -> dict[str, float]:
    """Open and perform a graph; return the seconds that each took for one of its steps."""
    catalog.forget()
    definition = Definition.model_validate({"name": "wide", "steps": shape(count)})
    begun = time.perf_counter()
    run = runs.start(definition)
    opened = time.perf_counter()
    _play(hands, run)
    ended = time.perf_counter()
    assert Run.objects.get(pk=run.id).state == "completed"
    return {"opening": (opened - begun) / count, "performing": (ended - opened) / count}


def _play(hands, run: Run) -> None:
    while ready := list(Step.objects.filter(run_id=run.id, state="ready").order_by("id")[:500]):
        for step in ready:
            hands.perform(step)


def test_wide_run_is_explained_by_the_few_steps_that_are_shown(hands):
    """The steps that say most come first, the others are counted, and neither list reads them all."""
    run = runs.start(Definition.model_validate({"name": "wide", "steps": fan_in(200)}))
    Step.objects.filter(run_id=run.id, name="s150").update(state="waiting", waiting="timer")
    with CaptureQueriesContext(connection) as asked:
        found = why.explain(run, most=3)
    assert [reason.step for reason in found.reasons] == ["s150", "s0", "s1"]
    assert found.left_out_count == Step.objects.filter(run_id=run.id).count() - 3
    assert any("LIMIT 3" in query["sql"] for query in asked)
    out = io.StringIO()
    call_command("runs", stdout=out)
    assert f"timer (and {Step.objects.filter(run_id=run.id).count() - 1} steps more)" in out.getvalue()
