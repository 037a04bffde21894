"""What must hold between the parts of a definition: names that are there, an order of the steps, budgets that fit.

It looks at a draft, in which a part that could not be read is None: one misspelt field does not hide what else is
wrong. Problems come as they are found, so that whoever reads them decides how many are enough.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from execution import words
from execution.exceptions import ExpressionFailed, ExpressionInvalid
from execution.workflows import evaluation, fields, graph, kinds, shapes, templates
from execution.workflows.expressions import Expression, nearest
from execution.workflows.known import Known
from execution.workflows.shapes import Shape
from execution.workflows.spec import Definition, Fallback, Input, Phase, Step

MOST_STEPS = 10_000
MOST_PROBLEMS = 100
_SHOWN = 12
_WHO = re.compile(r"^(group:)?[\w.@+ -]+$")
_CONDITIONS = ("when", "check")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, or, where it is no error, one that may be."""

    path: tuple[str | int, ...]
    text: str
    is_error: bool = True
    is_of_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A definition as far as it could be read."""

    inputs: Mapping[str, Input | None] = field(default_factory=dict)
    steps: Mapping[str, Step | None] = field(default_factory=dict)
    phases: Mapping[str, Phase | None] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    budget: fields.AmountOf | None = None

    @classmethod
    def of(cls, definition: Definition) -> Draft:
        """Return a whole definition as a draft."""
        return cls(
            inputs=definition.inputs,
            steps=definition.steps,
            phases=definition.phases,
            outputs=definition.outputs,
            budget=definition.budget,
        )

    def whole_steps(self) -> Iterator[tuple[str, Step]]:
        """Yield the steps that could be read."""
        return ((name, step) for name, step in self.steps.items() if step is not None)


def problems(draft: Draft, known: Known | None = None) -> Iterator[Problem]:
    """Yield everything that is wrong between the parts of a definition."""
    known = known or Known()
    if len(draft.steps) > MOST_STEPS:
        yield Problem(path=("steps",), text=f"there are {len(draft.steps):,} steps, more than {MOST_STEPS:,}")
        return
    yield from _unknown_names(draft)
    yield from _expressions(draft, known)
    yield from _circles(draft)
    yield from _never(draft)
    yield from _budgets(draft)
    yield from _skills(draft, known)
    yield from _workflows(draft, known)


def needs_of(step: Step) -> tuple[str, ...]:
    """Return the steps that a step needs: those that it lists, then those that its expressions name."""
    found = dict.fromkeys(step.needs)
    for value in step.templates().values():
        for expression in templates.expressions(value):
            found |= dict.fromkeys(named_steps(expression))
    return tuple(found)


def named_steps(expression: Expression) -> Iterator[str]:
    """Yield the steps that an expression names."""
    for reference in expression.references:
        if reference.root == "steps" and reference.path and isinstance(reference.path[0], str):
            yield reference.path[0]


def _unknown_names(draft: Draft) -> Iterator[Problem]:
    for name, step in draft.whole_steps():
        yield from _needs(name, step, draft)
        yield from _phase(name, step, draft)
        for index, who in enumerate(step.who):
            if "${" not in who and not _WHO.match(who):
                text = f"{who!r} is no name of a user, nor 'group:NAME'"
                yield Problem(path=("steps", name, "who", index), text=text)
    yield from _empty_phases(draft)


def _phase(name: str, step: Step, draft: Draft) -> Iterator[Problem]:
    if step.phase is not None and step.phase not in draft.phases:
        hint = nearest(step.phase, draft.phases) or _listed(draft.phases)
        yield Problem(path=("steps", name, "phase"), text=f"there is no phase {step.phase!r}{hint}")


def _empty_phases(draft: Draft) -> Iterator[Problem]:
    if None in draft.steps.values():
        return
    used = {step.phase for _, step in draft.whole_steps()}
    for phase in draft.phases:
        if phase not in used:
            yield Problem(path=("phases", phase), text="no step belongs to this phase", is_error=False, is_of_key=True)


def _listed(names: Mapping[str, Any]) -> str:
    return f"; there are {words.listed(list(names))}" if names else "; there are none"


def _needs(name: str, step: Step, draft: Draft) -> Iterator[Problem]:
    seen = set()
    for index, need in enumerate(step.needs):
        path = ("steps", name, "needs", index)
        if need == name:
            yield Problem(path=path, text=f"step {name!r} needs itself")
        elif need not in draft.steps:
            yield Problem(path=path, text=f"there is no step {need!r}{nearest(need, draft.steps)}")
        elif need in seen:
            yield Problem(path=path, text=f"step {need!r} is listed twice")
        seen.add(need)


def _expressions(draft: Draft, known: Known) -> Iterator[Problem]:
    results = _results(draft, known)
    names = kinds.Names(inputs=_input_shapes(draft), steps=results)
    for name, step in draft.whole_steps():
        for place, value in step.templates().items():
            has_item = step.foreach is not None and place not in ("foreach", "when")
            own = names.inside(step.foreach) if has_item else names
            for path, text in templates.texts(value):
                yield from _text(text, ("steps", name, place, *path), own, wanted=_wanted(place, path), step=name)
        yield from _key(name, step)
    for output, value in draft.outputs.items():
        for path, text in templates.texts(value):
            yield from _text(text, ("outputs", output, *path), names)


def _key(name: str, step: Step) -> Iterator[Problem]:
    """A concurrency key is held from the claim on, so it is known before a step begins."""
    try:
        roots = {one.root for found in templates.expressions(step.key) for one in found.references}
    except ExpressionInvalid:
        return  # that is said where it stands
    late = roots - {"inputs", *(("item", "index", "steps") if step.foreach is not None else ())}
    if late:
        text = f"is known when the run opens, so it may name inputs, and not {fields.joined(sorted(late))}"
        yield Problem(path=("steps", name, "key"), text=text)


def _wanted(place: str, path: tuple[str | int, ...]) -> str:
    if place in _CONDITIONS:
        return "boolean"
    return "array" if place == "foreach" and not path else ""


def _text(
    text: str, path: tuple[str | int, ...], names: kinds.Names, *, wanted: str = "", step: str = ""
) -> Iterator[Problem]:
    """Yield what is wrong with the expressions of one text."""
    try:
        pieces = templates.pieces(text)
    except ExpressionInvalid as error:
        yield Problem(path=path, text=str(error))
        return
    for piece in pieces:
        if not isinstance(piece, Expression):
            continue
        if step and step in named_steps(piece):
            yield Problem(path=path, text=f"{piece} names the step that it belongs to")
            continue
        found, wrongs = kinds.look(piece, names)
        yield from (Problem(path=path, text=f"in {piece}: {wrong}") for wrong in wrongs)
        if wanted and not wrongs and found.kind and found.kind != wanted:
            yield Problem(path=path, text=f"{piece} is {found.said}, and has to be {Shape({'type': wanted}).said}")


def _input_shapes(draft: Draft) -> dict[str, Shape]:
    return {
        name: shapes.Shape(kinds.INPUTS[wanted.type]) if wanted is not None else shapes.ANYTHING
        for name, wanted in draft.inputs.items()
    }


def _results(draft: Draft, known: Known) -> dict[str, Shape]:
    """Return the shape of what each step results in."""
    found = {}
    for name, step in draft.steps.items():
        one = _result(step, known) if step is not None else shapes.ANYTHING
        found[name] = one.listed() if step is not None and step.foreach is not None else one
    return found


def _result(step: Step, known: Known) -> Shape:
    if step.sleep is not None:
        return shapes.NULL
    if isinstance(step.on_failure, Fallback):
        return shapes.ANYTHING
    if step.skill in (known.skills or {}):
        return (known.skills or {})[str(step.skill)].result
    if step.workflow in known.workflows:
        return shapes.closed(dict.fromkeys(known.workflows[str(step.workflow)].outputs, shapes.ANYTHING))
    return shapes.ANYTHING


def _circles(draft: Draft) -> Iterator[Problem]:
    needs = graph_needs(draft)
    for path in graph.circles(needs):
        text = f"steps need each other in a circle: {' needs '.join(_shortened(path))}"
        yield Problem(path=("steps", path[0]), text=text, is_of_key=True)


def _shortened(path: list[str]) -> list[str]:
    """Return a path whose middle is only counted where it is very long."""
    more = len(path) - 2 * _SHOWN
    return [*path[:_SHOWN], f"({more:,} more)", *path[-_SHOWN:]] if more > 1 else path


def graph_needs(draft: Draft) -> dict[str, list[str]]:
    """Return what each step needs, without what is not there."""
    found: dict[str, list[str]] = {}
    for name, step in draft.steps.items():
        try:
            wanted = needs_of(step) if step is not None else ()
        except ExpressionInvalid:
            wanted = step.needs if step is not None else ()
        found[name] = [need for need in wanted if need in draft.steps and need != name]
    return found


def _never(draft: Draft) -> Iterator[Problem]:
    """Yield the steps and gates that could never be reached or passed."""
    for name, step in draft.whole_steps():
        if _is_never(step.when):
            yield Problem(path=("steps", name, "when"), text=f"is never true: step {name!r} would never be done")
        if _is_never(step.check):
            yield Problem(path=("steps", name, "check"), text="is never true: no run could pass this gate")


def _is_never(condition: Any) -> bool:
    """Tell whether a condition is false whatever the run is like."""
    if not isinstance(condition, str):
        return condition is False
    try:
        found = templates.expression(condition)
        return found is not None and found.is_constant and evaluation.evaluate(found, evaluation.Scope()) is False
    except (ExpressionInvalid, ExpressionFailed):
        return False


def _budgets(draft: Draft) -> Iterator[Problem]:
    for unit in ("cost", "tokens"):
        whole = _amount(draft.budget, unit)
        shares = {name: _amount(phase.budget, unit) for name, phase in draft.phases.items() if phase is not None}
        total = sum((share for share in shares.values() if share is not None), Decimal(0))
        if whole is not None and total > whole:
            text = f"the phases' budgets come to {_said(total, unit)}, more than the workflow's {_said(whole, unit)}"
            yield Problem(path=("phases",), text=text, is_of_key=True)
        for name, step in draft.whole_steps():
            wanted = _amount(step.reserve, unit)
            limits = [one for one in (whole, shares.get(step.phase or "")) if one is not None]
            if wanted is not None and limits and wanted > min(limits):
                text = f"reserves {_said(wanted, unit)}, more than the budget of {_said(min(limits), unit)}"
                yield Problem(path=("steps", name, "reserve"), text=f"{text}: it could never begin")


def _amount(given: fields.AmountOf | None, unit: str) -> Decimal | None:
    found = getattr(given, unit, None)
    return None if found is None else Decimal(found)


def _said(amount: Decimal, unit: str) -> str:
    return words.money(amount) if unit == "cost" else f"{amount:,} tokens"


def _skills(draft: Draft, known: Known) -> Iterator[Problem]:
    """Yield skills that are not known here, which may be elsewhere, and input that a known skill does not take."""
    if known.skills is None:
        return
    for name, step in draft.whole_steps():
        if isinstance(step.on_failure, Fallback) and step.on_failure.fallback not in known.skills:
            yield _unknown_skill(("steps", name, "on_failure", "fallback"), step.on_failure.fallback, known)
        if step.skill is not None and step.skill not in known.skills:
            yield _unknown_skill(("steps", name, "skill"), step.skill, known)
        elif step.skill is not None:
            skill = known.skills[step.skill]
            yield from _lacking(name, step.with_, skill.wanted, f"skill {step.skill!r}")
            if not skill.takes_any:
                yield from _not_taken(name, step.with_, skill.parameters, f"skill {step.skill!r}")


def _unknown_skill(path: tuple[str | int, ...], name: str, known: Known) -> Problem:
    hint = nearest(name, known.skills or {})
    return Problem(path=path, text=f"no skill is named {name!r} here{hint}", is_error=False)


def _lacking(name: str, given: Mapping[str, Any], wanted: Collection[str], who: str) -> Iterator[Problem]:
    missing = [repr(one) for one in wanted if one not in given]
    if missing:
        yield Problem(path=("steps", name), text=f"{who} also wants {fields.joined(missing)}", is_of_key=True)


def _not_taken(name: str, given: Mapping[str, Any], taken: Collection[str], who: str) -> Iterator[Problem]:
    for word in given:
        if word not in taken:
            text = f"{who} takes no {word!r}{nearest(word, taken)}"
            yield Problem(path=("steps", name, "with", word), text=text, is_of_key=True)


def _workflows(draft: Draft, known: Known) -> Iterator[Problem]:
    """Yield workflows that are not known here, which may be registered, and input that a known one does not take."""
    for name, step in draft.whole_steps():
        inner = known.workflows.get(step.workflow or "")
        if step.workflow is not None and inner is None and known.skills is not None:
            text = f"no workflow is named {step.workflow!r} here{nearest(step.workflow, known.workflows)}"
            yield Problem(path=("steps", name, "workflow"), text=text, is_error=False)
        if inner is not None:
            wanted = [one for one, about in inner.inputs.items() if about.required]
            yield from _lacking(name, step.with_, wanted, f"workflow {inner.name!r}")
            yield from _not_taken(name, step.with_, inner.inputs, f"workflow {inner.name!r}")
