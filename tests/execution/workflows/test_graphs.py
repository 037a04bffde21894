"""Random graphs against a plain model: whatever the order in which steps end, states and results are the model's."""

from __future__ import annotations

import random
from graphlib import TopologicalSorter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from execution import runs
from execution.models import Run, Step
from execution.workflows import Definition, catalog
from tests import workflow_skills as _skills  # noqa: F401 - registers them
from tests.hands import MARKS

pytestmark = MARKS

KINDS = ("give", "give", "give", "fail", "soft", "saved", "skip", "list", "sum")


@st.composite
def graphs(draw):
    """Return what each of up to nine steps is, and which earlier ones it needs."""
    count = draw(st.integers(1, 9))
    kinds = [draw(st.sampled_from(KINDS)) for _ in range(count)]
    needs = [sorted(draw(st.sets(st.integers(0, place - 1), max_size=3))) if place else [] for place in range(count)]
    sizes = [draw(st.integers(0, 3)) for _ in range(count)]
    return kinds, needs, sizes, draw(st.randoms(use_true_random=False))


def definition_of(kinds, needs, sizes):
    """Return a definition of such a graph."""
    steps = {}
    for place, (kind, wanted) in enumerate(zip(kinds, needs, strict=True)):
        value = {f"s{need}": f"${{default(steps.s{need}, state(steps.s{need}))}}" for need in wanted}
        about = {
            "give": {"skill": "graphs.give", "with": {"value": value}},
            "fail": {"skill": "graphs.fail", "with": {"value": value}},
            "soft": {"skill": "graphs.fail", "with": {"value": value}, "on_failure": "continue"},
            "saved": {"skill": "graphs.fail", "with": {"value": value}, "on_failure": {"fallback": "graphs.give"}},
            "skip": {"skill": "graphs.give", "when": "${run.workflow == 'another'}"},
            "list": {
                "skill": "graphs.give",
                "foreach": f"${{[{', '.join(str(n) for n in range(sizes[place]))}]}}",
                "max_parallel": 2,
                "with": {"value": "${item}"},
            },
            "sum": {"skill": "graphs.add", "with": {"left": place, "right": 1}},
        }[kind]
        steps[f"s{place}"] = about | {"needs": [f"s{need}" for need in wanted]}
    return Definition.model_validate({"name": "random-graph", "steps": steps})


def model(kinds, needs, sizes):
    """Return what becomes of each step, as a plain program would have it: state, result, and whether it is reached."""
    ends: dict[int, tuple[str, object]] = {}
    for place in TopologicalSorter(dict(enumerate(needs))).static_order():
        if any(ends[need][0] in ("halted", "unreached") for need in needs[place]):
            ends[place] = ("unreached", None)
            continue
        value = {f"s{need}": ends[need][1] if ends[need][1] is not None else ends[need][0] for need in needs[place]}
        ends[place] = {
            "give": ("completed", value),
            "fail": ("halted", None),
            "soft": ("failed", None),
            "saved": ("completed", value),
            "skip": ("skipped", None),
            "list": ("completed", list(range(sizes[place]))),
            "sum": ("completed", place + 1),
        }[kinds[place]]
    return ends


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs())
def test_any_graph_ends_as_the_model_says(hands, graph):
    """Order, skips, fallbacks, failures, lists and endings agree with the model, in any order of performing."""
    kinds, needs, sizes, dice = graph
    catalog.forget()
    run = runs.start(definition_of(kinds, needs, sizes))
    _play(hands, run, dice)
    run = Run.objects.get(pk=run.id)
    ends = model(kinds, needs, sizes)
    halts = any(state == "halted" for state, _ in ends.values())
    assert run.state == ("failed" if halts else "completed")
    found = {step.name: step for step in Step.objects.filter(run_id=run.id, position__gte=0)}
    for place, (state, value) in ends.items():
        step = found[f"s{place}"]
        if state == "halted":
            assert step.state in ("failed", "ready", "waiting", "blocked")
        elif state == "unreached":
            assert step.state == "blocked"
        elif not halts:
            assert (step.state, _value(step)) == (state, value)
            assert all(found[f"s{need}"].ended_at <= step.started_at for need in needs[place])
    assert not Step.objects.filter(run_id=run.id, state="running").exists()


def _play(hands, run, dice: random.Random) -> None:
    while ready := list(Step.objects.filter(run_id=run.id, state="ready").order_by("id")):
        hands.perform(dice.choice(ready))


def _value(step):
    from execution import ledger

    return ledger.unpack(step.output) if step.output is not None else None
