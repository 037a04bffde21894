"""Phases: a plan of named parts, scheduled as the steps of one run; and what ends a part before its time.

A plan is made into a definition like any other: what one phase does waits for the whole phase before it. A phase's
budget is split among its steps exactly, as what each reserves before it begins. The same plan scheduled twice under one
key is one run.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Any, TypeVar

from django.db import transaction

from execution import amounts, doorbell, ledger, runs
from execution.durations import Duration
from execution.exceptions import NotPossible, OptionInvalid
from execution.models import ENDED, Phase, Run, Step
from execution.workflows import Definition
from execution.workflows.expressions import nearest

T = TypeVar("T")

PLAN = "plan:"
"""What the key of a plan's run begins with: such keys hold for ever, others for a day after their run has ended."""

_CENT, _MILLIONTH = Decimal("0.01"), Decimal("0.000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One phase of a plan: a skill that several agents perform, or steps as a definition has them."""

    name: str
    skill: str = ""
    agents: Sequence[str] = ()
    given: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    timebox: Duration | None = None
    budget: Any = None


def schedule(name: str, plan: Sequence[Planned], *, key: str | None = None, **options: Any) -> Run:
    """Open a run of a plan; under the same key the second time returns the first run, for ever.

    Without a key the plan's own content is the key, so that scheduling it again is a no-op. Options are those of
    `runs.start`.
    """
    definition = definition_of(name, plan)
    return runs.start(definition, key=f"{PLAN}{key or definition.digest}", **options)


def definition_of(name: str, plan: Sequence[Planned]) -> Definition:
    """Return a plan as a definition: each phase waits for all of the one before it."""
    steps: dict[str, Any] = {}
    before: list[str] = []
    for phase in plan:
        own = _steps_of(phase)
        for step_name, step in own.items():
            if step_name in steps:
                raise OptionInvalid(f"two steps of the plan {name!r} are called {step_name!r}")
            wanted = step.get("needs") or []
            own_needs = [wanted] if isinstance(wanted, str) else list(wanted)
            steps[step_name] = {**step, "phase": phase.name, "needs": list(dict.fromkeys([*own_needs, *before]))}
        before = list(own)
    phases = {
        phase.name: {word: value for word, value in (("timebox", phase.timebox), ("budget", phase.budget)) if value}
        for phase in plan
    }
    return Definition.model_validate({"name": name, "phases": phases, "steps": steps})


def _steps_of(phase: Planned) -> dict[str, dict[str, Any]]:
    if bool(phase.agents) == bool(phase.steps):
        raise OptionInvalid(f"phase {phase.name!r} has either agents, who perform its skill, or steps")
    if phase.steps:
        return {name: dict(step) for name, step in phase.steps.items()}
    if not phase.skill:
        raise OptionInvalid(f"phase {phase.name!r} does not say which skill its agents perform")
    names = [f"{phase.name}_{agent}".replace("-", "_").lower() for agent in phase.agents]
    return {
        step: {"skill": phase.skill, "agent": agent, "with": dict(phase.given)}
        for step, agent in zip(names, phase.agents, strict=True)
    }


def shard(items: Iterable[T], size: Any) -> Iterator[list[T]]:
    """Part items into lists of a size; the last one may be shorter."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise OptionInvalid(f"a shard's size is {size!r}; it counts items, so 1 or more")
    source = iter(items)
    while part := list(islice(source, size)):
        yield part


def split(amount: Decimal | float | str, count: int) -> list[Decimal]:
    """Part money into shares that come to exactly the amount and differ by a cent at most, or by a millionth."""
    whole = amounts.money(amount, "split")
    unit = _CENT if whole % _CENT == 0 else _MILLIONTH
    return [Decimal(share) * unit for share in split_count(int(whole / unit), count)]


def split_count(amount: int, count: int) -> list[int]:
    """Part a whole number into shares that come to exactly it and differ by one at most."""
    if count < 1:
        raise OptionInvalid(f"an amount is split into {count!r} shares; there is at least one")
    share, rest = divmod(amount, count)
    return [share + (place < rest) for place in range(count)]


def shares(budget: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Part a budget of money, tokens or both into as many reserves, to the last unit."""
    limit = amounts.limit(budget, "a phase's budget")
    found: list[dict[str, Any]] = [{} for _ in range(count)]
    for place, cost in enumerate(split(limit["cost"], count) if "cost" in limit else ()):
        found[place]["cost"] = str(cost)
    for place, tokens in enumerate(split_count(limit["tokens"], count) if "tokens" in limit else ()):
        found[place]["tokens"] = tokens
    return found


@transaction.atomic
def cancel(run: Run | uuid.UUID | str, phase: str, *, by: str = "", reason: str = "") -> Phase:
    """End one phase of a run: its steps stop, what they recorded is kept, and the next phase goes on with that."""
    held = runs.hold(run)
    found = Phase.objects.filter(run_id=held.id, name=phase).first()
    if found is None:
        names = list(Phase.objects.filter(run_id=held.id).order_by("position").values_list("name", flat=True))
        listed = nearest(phase, names) or (f"; there are {', '.join(names)}" if names else "; it has no phases")
        raise NotPossible(f"run {held.id} has no phase {phase!r}{listed}")
    told = f"cancelled by {by or 'somebody'}" + (f": {reason}" if reason else "")
    if not close(found.id, told):
        raise NotPossible(f"phase {phase!r} of run {held.id} has ended: there is nothing to cancel")
    found.refresh_from_db()
    return found


@transaction.atomic
def close(phase_id: uuid.UUID, reason: str) -> bool:
    """End a phase before its steps have ended, with the runs that they have started; false where it was over."""
    row = ledger.ask_in_transaction("SELECT * FROM execution_close_phase_v1(%s, %s)", [phase_id, reason])[0]
    if row.is_closed:
        steps = Step.objects.filter(phase_id=phase_id).values("id")
        for child in Run.objects.filter(parent_step_id__in=steps).exclude(state__in=ENDED).order_by("id"):
            runs.cancel(child, reason=reason)
        transaction.on_commit(lambda: doorbell.ring_for(list(row.ready)), robust=True)
    return bool(row.is_closed)


def stats(run: Run | uuid.UUID | str) -> list[Any]:
    """Return what became of each phase of a run, in order."""
    found = runs.get(run)
    return ledger.ask("SELECT * FROM execution_phase_stats WHERE run_id = %s ORDER BY position", [found.id])
