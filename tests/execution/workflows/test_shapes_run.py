"""Workflow shapes of public systems, each run to its end: every skill of theirs is a stand-in that returns what is asked of it."""

from __future__ import annotations

import ast
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from celery import current_app

from execution import ledger, runs, skill, workflows
from execution.models import Run, Step
from execution.workflows import catalog, gates, templates
from execution.workflows.expressions import path_of
from tests import workflow_skills as _skills  # noqa: F401 - registers them
from tests.conftest import wait_until
from tests.execution.workflows.test_running import play
from tests.hands import MARKS

pytestmark = MARKS
SHAPES = sorted((Path(__file__).parents[2] / "data" / "workflows").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _forget():
    catalog.forget()


@dataclass
class Wanted:
    """What expressions ask of one value: fields, entries, or something to compare it with."""

    fields: dict[str, Wanted] = field(default_factory=dict)
    entry: Wanted | None = None
    leaf: Any = None

    def part(self, name: Any) -> Wanted:
        """Return what is asked of a field or an entry."""
        if isinstance(name, str):
            return self.fields.setdefault(name, Wanted())
        self.entry = self.entry or Wanted()
        return self.entry

    def value(self) -> Any:
        """Return a value that has it all."""
        if self.fields:
            return {name: part.value() for name, part in self.fields.items()}
        if self.leaf == ():
            return []
        if self.entry is not None or self.leaf == []:
            return [(self.entry or Wanted()).value() for _ in range(3)]
        return "text" if self.leaf is None else self.leaf


class Asked:
    """What a definition's expressions ask of its inputs and of what its skills return."""

    def __init__(self, definition, inner=None):
        self.inner = inner or {}
        self.inputs, self.steps = Wanted(), Wanted()
        for output in templates.expressions(definition.outputs):
            self.look(output.tree, None, None)
        for name, step in definition.steps.items():
            item = None
            self.steps.part(name)
            if isinstance(step.foreach, str):
                tree = templates.expression(step.foreach).tree
                self.look(tree, None, [])
                found = self.node(tree, None)
                item = found.part(0) if found is not None else Wanted()
            for place, value in step.templates().items():
                for expression in templates.expressions(value):
                    if place != "foreach":
                        self.look(expression.tree, item, LEAVES.get(place))

            for word, value in step.with_.items() if step.workflow in self.inner else ():
                found = self.node(templates.expression(value).tree, item)
                if found is not None:
                    found.fields |= self.inner[step.workflow].inputs.part(word).fields

    def node(self, tree, item):
        """Return what stands for the value that a path names."""
        named = path_of(tree)
        if named is None or named[0] not in ("inputs", "steps", "item"):
            return None
        found = {"inputs": self.inputs, "steps": self.steps, "item": item}[named[0]]
        for part in named[1]:
            found = found.part(part if isinstance(part, str) else 0)
        return found

    def look(self, tree, item, leaf):
        """Note what is asked of the values in an expression; `leaf` is what this one has to be."""
        found = self.node(tree, item)
        if found is not None:
            found.leaf = leaf if found.leaf is None else found.leaf
        elif isinstance(tree, ast.Compare):
            self._compared(tree, item)
        elif isinstance(tree, (ast.BoolOp, ast.UnaryOp)):
            is_not = isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not)
            for one in tree.values if isinstance(tree, ast.BoolOp) else [tree.operand]:
                self.look(one, item, not leaf if is_not else leaf)
        elif isinstance(tree, ast.Call):
            if tree.func.id != "state":
                self.look(tree.args[0], item, [] if tree.func.id == "size" else leaf)
        else:
            for one in ast.iter_child_nodes(tree):
                if isinstance(one, ast.expr):
                    self.look(one, item, 1 if isinstance(tree, ast.BinOp) else None)

    def _compared(self, tree, item):
        other = tree.comparators[0]
        is_known = isinstance(other, ast.Constant)
        if isinstance(tree.left, ast.Call) and tree.left.func.id == "size":
            is_empty = is_known and other.value == 0 and isinstance(tree.ops[0], ast.Eq)
            self.look(tree.left.args[0], item, () if is_empty else [])
            return
        if not is_known and isinstance(tree.ops[0], (ast.Gt, ast.GtE)):
            self.look(tree.left, item, 1000)
            return
        value = other.value if is_known else None
        if isinstance(tree.ops[0], (ast.Gt, ast.GtE)) and value is not None:
            value += 1
        if isinstance(tree.ops[0], (ast.Lt, ast.LtE)) and value is not None:
            value -= 1
        self.look(tree.left, item, value)
        self.look(other, item, None)


LEAVES = {"when": True, "check": True}
SAMPLES = {"text": "text", "integer": 3, "number": 1.5, "boolean": True, "list": ["a", "b", "c"], "object": {}}


def inputs_of(definition, asked):
    """Return inputs of the right types, with the fields that are asked of them."""
    found = {}
    for name, about in definition.inputs.items():
        wanted = asked.inputs.fields.get(name)
        value = wanted.value() if wanted is not None else None
        found[name] = value if value is not None and about.accepts(value) else SAMPLES[about.type]
        if about.type == "list" and not isinstance(value, list):
            found[name] = SAMPLES["list"]
    return found


def stand_in(definition, asked):
    """Make a skill for each step of a definition, and return the definition with those."""
    mark, steps = uuid.uuid4().hex[:8], {}
    for name, given in definition.as_data()["steps"].items():
        step = dict(given)
        wanted = asked.steps.fields.get(name, Wanted())
        value = wanted.part(0).value() if "foreach" in step else wanted.value()
        if "sleep" in step:
            step["sleep"] = 0.01
        if "skill" in step:
            step |= {"skill": _made(f"stand_in.{mark}.{name}", value)}
        if isinstance(step.get("on_failure"), dict):
            step |= {"on_failure": {"fallback": _made(f"stand_in.{mark}.{name}_fallback", value)}}
        steps[name] = step
    return workflows.Definition.model_validate(definition.as_data() | {"steps": steps})


def _made(name, value):
    skill(name, retries=0, breaker="")(lambda **_: value)
    current_app.loader.import_default_modules()
    return name


def go_on(hands, run, asked):
    """Perform a run and its children to the end, passing gates and sending signals."""
    for _ in range(60):
        play(hands, run)
        for child in Run.objects.filter(parent_run_id=run.id, state__in=["pending", "running"]):
            go_on(hands, child, asked)
        if Run.objects.get(pk=run.id).is_ended:
            return
        for gate in gates.open_gates(run):
            who = gates.asked(gate)["who"]
            by = next((one for one in who if not one.startswith("group:")), None) or _member_of(who)
            runs.approve(run, gate.name, by=by)
        for step in Step.objects.filter(run_id=run.id, state="waiting"):
            if step.waiting == "timer":
                wait_until(lambda: ledger.ask("SELECT (execution_wake_v1()).woken AS n")[0].n)
            for name in step.awaits or []:
                if not name.startswith(("gate:", "child:")):
                    runs.signal(run, name, asked.steps.part(step.name).value())
        from execution import errands

        for child in Run.objects.filter(parent_run_id=run.id).exclude(parent_step_id=None):
            errands.tell_parents(child.parent_step_id)


def _member_of(who):
    from django.contrib.auth.models import Group, User

    if not who:
        return "ann"
    user, _ = User.objects.get_or_create(username="member")
    for one in who:
        user.groups.add(Group.objects.get_or_create(name=one.removeprefix("group:"))[0])
    return user.username


def test_there_are_twenty_at_least():
    """Continuous integration, data, science, releases and business: shapes that people really have."""
    assert len(SHAPES) >= 20


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_shape_runs_to_its_end(hands, path):
    """Every step of the shape ends, and none fails."""
    definition, inner = workflows.load(path), {}
    for other in map(workflows.load, SHAPES):
        if any(step.workflow == other.name for step in definition.steps.values()):
            inner[other.name] = Asked(other)
            catalog.register(stand_in(other, inner[other.name]))
    asked = Asked(definition, inner)
    run = runs.start(stand_in(definition, asked), inputs_of(definition, asked))
    go_on(hands, run, asked)
    run = Run.objects.get(pk=run.id)
    assert run.state == "completed", run.error
    ends = dict(Step.objects.filter(run_id=run.id).values_list("name", "state"))
    assert set(ends.values()) <= {"completed", "skipped"}, ends
    assert set(definition.steps) <= set(ends)
    assert isinstance(runs.result(run), (dict, list, str, int, float, bool, type(None)))
