"""A definition as the steps that a run opens: what each performs, what it needs, and what is left to be looked up.

What can be known when a run opens is settled then: skills are found, policies are written down, input without
expressions is checked. The rest, conditions and `${...}`, stays with the step under `options.graph` and is looked up by
who performs it, in `execution/workflows/scopes.py`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from execution import agents, openings, skills, values
from execution.exceptions import CeleriacError, WorkflowUnplayable
from execution.skills import SkillOptions, SkillTask
from execution.workflows import graph, templates
from execution.workflows.checking import named_steps
from execution.workflows.evaluation import Scope
from execution.workflows.spec import Definition, Fallback, Step

if TYPE_CHECKING:
    from execution.ledger import Claim

OUTPUTS = "(outputs)"
"""The name of the step that gathers what the run returns; no step of a definition can have it."""

Part = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps of a definition, in an order in which each comes after what it needs."""

    parts: tuple[Part, ...]
    phases: tuple[Part, ...]
    packed: tuple[values.Packed, ...]

    def steps(self, inputs: Mapping[str, Any], *, queue: str | None, priority: int | None) -> list[Part]:
        """Return the steps of one run, with the wishes of who starts it and the keys that its inputs give."""
        scope = Scope(inputs=inputs)
        found = []
        for part in self.parts:
            wishes = {
                "queue": part["queue"] or queue or openings.route(skills.named(part["skill"])),
                "priority": part["priority"] if part["priority"] is not None else priority or 0,
            }
            found.append({**part, **wishes, **keyed(part, scope)})
        return found


def keyed(part: Part, scope: Scope) -> Part:
    """Return a step's concurrency key with its expressions replaced; its row is made where there is none."""
    key = part["concurrency_key"]
    if not key or "${" not in key:
        return {}
    name = templates.written(templates.render(key, scope))
    openings.ensure_key(name)
    return {"concurrency_key": name}


def plan(definition: Definition) -> Plan:
    """Return the steps that a run of a definition opens; raises WorkflowUnplayable where one cannot be performed."""
    steps = dict(definition.steps) | _outputs(definition)
    needs = {**definition.needs, **{name: steps[name].needs for name in steps.keys() - definition.needs.keys()}}
    order = graph.order(needs)
    places = {name: place for place, name in enumerate(order)}
    parts, packed = [], []
    reserves, phases = _shares(definition), list(definition.phases)
    for name in order:
        step = steps[name]
        part, value = _whole(name, step, definition)
        part["needs"] = [places[need] for need in needs[name]]
        if step.phase is not None:
            part["phase"] = phases.index(step.phase)
        if name in reserves:
            part |= {"reserve_cost": reserves[name].get("cost"), "reserve_tokens": reserves[name].get("tokens")}
        parts.append(part)
        packed.append(value)
    return Plan(parts=tuple(parts), phases=tuple(_phases(definition)), packed=tuple(packed))


def _phases(definition: Definition) -> Iterator[Part]:
    for name, phase in definition.phases.items():
        amount = phase.budget.model_dump(mode="json", exclude_none=True) if phase.budget is not None else {}
        yield {"name": name, "timebox": _length(phase.timebox), **amount}


def _shares(definition: Definition) -> dict[str, Mapping[str, Any]]:
    """Return what the steps of each phase reserve: its budget in equal parts, beside what steps say themselves."""
    from execution import phases

    found: dict[str, Mapping[str, Any]] = {}
    for name, phase in definition.phases.items():
        mine = {
            step: about for step, about in definition.steps.items() if about.phase == name and about.skill is not None
        }
        open_ones = [step for step, about in mine.items() if about.reserve is None and about.foreach is None]
        if phase.budget is None or not open_ones:
            continue
        left = phase.budget.model_dump(exclude_none=True)
        for about in mine.values():
            for unit in left:
                left[unit] -= getattr(about.reserve, unit, None) or 0
        wanted = {unit: max(amount, 0) for unit, amount in left.items()}
        found |= dict(zip(open_ones, phases.shares(wanted, len(open_ones)), strict=True))
    return found


def _outputs(definition: Definition) -> dict[str, Step]:
    """Return the step that gathers the run's outputs; a run that ends in one step returns that step's."""
    followed = {need for needs in definition.needs.values() for need in needs}
    last = [name for name in definition.steps if name not in followed]
    if not definition.outputs and len(last) == 1:
        return {}
    wanted = definition.outputs or {name: f"${{default(steps.{name}, null)}}" for name in last}
    named = [one for found in templates.expressions(wanted) for one in named_steps(found)]
    needs = tuple(dict.fromkeys([*last, *named]))
    return {OUTPUTS: Step.model_validate({"skill": "execution.outputs", "with": {"values": wanted}, "needs": needs})}


def _whole(name: str, step: Step, definition: Definition) -> tuple[Part, values.Packed]:
    try:
        return _listed(name, step) if step.foreach is not None else _single(name, step)
    except CeleriacError as error:
        raise WorkflowUnplayable(definition.name, name, error) from error


def _single(name: str, step: Step) -> tuple[Part, values.Packed]:
    """Return a step that is performed once."""
    task, part, given = _base(step)
    is_template = any(True for _ in templates.texts(given))
    look = _look(step, given, is_template=is_template)
    bound = {"args": [], "kwargs": given} if is_template else task.bind_input((), given)
    return _named({**part, "options": part["options"] | look}, name, bound)


def _listed(name: str, step: Step) -> tuple[Part, values.Packed]:
    """Return a step that is performed for each entry of a list."""
    _, entry, given = _base(step)
    task = skills.named("execution.foreach")
    options = replace(task.options, on_failure=_on_failure(task.options, step))
    part = openings.step_part(task, options, queue=step.queue or entry["queue"], priority=step.priority)
    look = _look(step, [step.foreach, given, step.key], is_template=True)
    look["graph"]["each"] = {"part": entry, "given": given, "limit": step.max_parallel}
    return _named({**part, "options": part["options"] | look}, name, {"args": [], "kwargs": {"items": step.foreach}})


def _base(step: Step) -> tuple[SkillTask, Part, dict[str, Any]]:
    """Return the skill that performs a step, what of it is known beforehand, and what it is given."""
    skill, given = _work(step)
    task = skills.named(skill)
    part = openings.step_part(task, _options(task, step), queue=step.queue, priority=step.priority)
    if step.agent is not None:
        part["agent_id"] = str(agents.id_of(step.agent))
    return task, part, given


def _named(part: Part, name: str, bound: Mapping[str, Any]) -> tuple[Part, values.Packed]:
    packed = values.pack(bound, place=f"the input of step {name!r}")
    return {**part, "name": name, "input": base64.b64encode(packed.data).decode()}, packed


def _look(step: Step, given: Any, *, is_template: bool) -> dict[str, Any]:
    """Return what is looked up before a step begins: its condition, and the steps that its expressions name."""
    found = list(templates.expressions([given, step.when, step.check]))
    every = [one for expression in found for one in expression.references]
    references = [one for one in every if one.root == "steps"]
    look = {
        "run": any(one.root in ("inputs", "run") for one in every) or None,
        "when": step.when,
        "check": step.check,
        "is_template": is_template or None,
        "steps": list(dict.fromkeys(name for one in found for name in named_steps(one))) or None,
        "results": list(dict.fromkeys(str(one.path[0]) for one in references if not one.is_state)) or None,
    }
    look = {name: value for name, value in look.items() if value is not None}
    return {"graph": look} if look else {}


def _work(step: Step) -> tuple[str, dict[str, Any]]:
    """Return the skill that performs a step, and what it is given."""
    if step.skill is not None:
        return step.skill, dict(step.with_)
    if step.workflow is not None:
        return "execution.workflow", {"workflow": _pinned(step.workflow), "given": dict(step.with_), **_wishes(step)}
    if step.sleep is not None:
        return "execution.sleep", {"length": _length(step.sleep)}
    if step.gate == "approval":
        return "execution.approval", {
            "who": list(step.who),
            "given": dict(step.with_),
            "timeout": _length(step.timeout),
        }
    if step.gate == "signal":
        return "execution.signal", {"signal": step.signal, "timeout": _length(step.timeout)}
    return "execution.check", {}


def _pinned(workflow: str) -> str:
    """Return a sub-workflow with its version: a run keeps that too."""
    from execution.workflows import catalog

    return str(catalog.find(workflow))


def _wishes(step: Step) -> dict[str, Any]:
    """Return what a sub-workflow's run is opened with."""
    found = {"timebox": _length(step.timebox), "budget": _amount(step), "queue": step.queue, "priority": step.priority}
    return {"wishes": {name: value for name, value in found.items() if value is not None}}


def _length(given: timedelta | str | None) -> float | str | None:
    """Return a length of time as JSON: seconds, or the expression that gives it."""
    return given.total_seconds() if isinstance(given, timedelta) else given


def _amount(step: Step) -> dict[str, Any] | None:
    return None if step.reserve is None else step.reserve.model_dump(mode="json", exclude_none=True)


def _options(task: SkillTask, step: Step) -> SkillOptions:
    """Return a skill's options with what the step says in their place."""
    changes: dict[str, Any] = {"on_failure": _on_failure(task.options, step)}
    if isinstance(step.on_failure, Fallback):
        changes["fallback"] = skills.named(step.on_failure.fallback).name
    if step.retry is not None:
        said = {"retries": step.retry.retries, "retry_base": step.retry.base, "retry_cap": step.retry.cap}
        changes |= {name: value for name, value in said.items() if value is not None}
    if step.key is not None:
        changes |= {"key": step.key, "key_limit": None, "rate": ""}
    if step.skill is not None:
        own = {"timebox": step.timebox, "reserve": _amount(step)}
        changes |= {name: value for name, value in own.items() if value is not None}
    return replace(task.options, **changes)


def _on_failure(options: SkillOptions, step: Step) -> str:
    if "on_failure" not in step.model_fields_set:
        return options.on_failure
    return "continue" if step.on_failure == "continue" else "halt"


def entries(claim: Claim, items: Iterable[Any], scope: Scope) -> tuple[list[Part], list[values.Packed]]:
    """Return the steps of the entries of a claimed step's list, each with its input."""
    each = claim.options["graph"]["each"]
    base, parts, packed = each["part"], [], []
    task = skills.named(base["skill"])
    wishes = {
        "queue": base["queue"] or openings.route(task),
        "priority": claim.priority if base["priority"] is None else base["priority"],
    }
    for index, item in enumerate(items):
        own = replace(scope, item=item, index=index)
        bound = task.bind_input((), templates.render(each["given"], own))
        part, value = _named({**base, **wishes, **keyed(base, own)}, f"{claim.step_name}[{index}]", bound)
        parts.append(part)
        packed.append(value)
    return parts, packed
