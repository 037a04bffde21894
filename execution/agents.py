"""Agents: found by name, locked out of capabilities, given budgets; each change waits for claims in flight.

What an agent may do alone may be lowered by anybody who has a reason. It is raised by a person, and by more than one
level within a day only by two: `raise_level` is the one way up, and the database refuses every other.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from execution import events, ledger, people, records
from execution.exceptions import AgentUnknown, NotAllowed, NotPossible
from execution.models import Agent, CapabilityLockout, Level, Step, StepState, Verdict

if TYPE_CHECKING:
    from execution.people import Person

DEFAULT = "default"
RAISE = "execution.raise_agent"
"""The permission to raise a level."""
LEVEL_CHANGED = "autonomy_change"
_known: dict[str, uuid.UUID] = {}


def id_of(name: str | Agent | None) -> uuid.UUID:
    """Return an agent's id; without a name, the default agent's, made on first use."""
    if isinstance(name, Agent):
        if name._state.adding:  # noqa: SLF001 - Django's documented name
            raise AgentUnknown(name.name)
        return name.id
    wanted = name or DEFAULT
    if wanted not in _known:
        found = Agent.objects.filter(name=wanted).values_list("id", flat=True).first()
        if found is None and wanted == DEFAULT:
            found = Agent.objects.get_or_create(name=DEFAULT)[0].id
        if found is None:
            names = Agent.objects.values_list("name", flat=True)
            raise AgentUnknown(wanted, next(iter(get_close_matches(wanted, names, n=1)), None))
        if connection.in_atomic_block:
            return found
        _known[wanted] = found
    return _known[wanted]


@transaction.atomic
def add(name: str, *, level: Level = Level.FULLY_AUTONOMOUS, description: str = "", by: str = "") -> Agent:
    """Make an agent at a level; one that is there already is refused, for it would begin anew."""
    if not name.strip() or Agent.objects.filter(name=name).exists():
        raise NotPossible(f"there is an agent {name!r} already" if name.strip() else "an agent has a name")
    made = Agent.objects.create(name=name, level=level, description=description)
    _note("agent.added", made.id, {"level": int(level), "by": by})
    return made


def forget() -> None:
    """Forget the ids that were looked up: for tests, which empty the tables."""
    _known.clear()


@transaction.atomic
def lock_out(
    capability: str,
    *,
    agent: str | Agent | None = None,
    reason: str = "",
    until: datetime | None = None,
    by: str = "",
) -> CapabilityLockout:
    """Lock a capability for one agent, or for every agent; no claim slips past."""
    for one in _held(agent):
        _hold(one)
    agent_id = id_of(agent) if agent else None
    _note("capability.locked", agent_id, {"capability": capability, "reason": reason, "by": by})
    return CapabilityLockout.objects.create(
        agent_id=agent_id, capability=capability, reason=reason, until=until, by=by
    )  # fmt: skip


@transaction.atomic
def lift(capability: str, *, agent: str | Agent | None = None, only_by: str | None = None, by: str = "") -> int:
    """Lift the lockouts of a capability, or `only_by` one of those who locked it; what waits becomes ready at once."""
    locked = CapabilityLockout.objects.filter(capability=capability, lifted_at=None)
    locked = locked.filter(agent_id=id_of(agent)) if agent else locked.filter(agent=None)
    locked = locked if only_by is None else locked.filter(by=only_by)
    _note("capability.lifted", id_of(agent) if agent else None, {"capability": capability, "by": by})
    return locked.update(lifted_at=timezone.now())


def is_unlocked(capability: str, *, agent: str | Agent | uuid.UUID) -> bool:
    """Tell whether a capability that must be earned has been: lifted once, and locked by nothing now.

    What nobody ever lifted is locked. Within a transaction the answer holds until its end: a lockout waits for it.
    """
    agent_id = agent if isinstance(agent, uuid.UUID) else id_of(agent)
    ledger.ask_in_transaction("SELECT execution_share_agent_v1(%s)", [agent_id])
    concerned = CapabilityLockout.objects.filter(Q(agent=None) | Q(agent_id=agent_id), capability=capability)
    in_force = concerned.filter(Q(until=None) | Q(until__gt=timezone.now()), lifted_at=None)
    return concerned.exclude(lifted_at=None).exists() and not in_force.exists()


# What an agent may do alone


def hold(agent: str | Agent) -> Agent:
    """Hold an agent until the end of the caller's transaction, and return it as it is: no claim or change slips in."""
    agent_id = id_of(agent)
    _hold(agent_id)
    return Agent.objects.select_for_update(no_key=True).get(pk=agent_id)


@transaction.atomic
def set_level(
    agent: str | Agent, level: Level, *, by: str = "", reason: str = "", parents: Iterable[records.Named] = ()
) -> Verdict | None:
    """Lower what an agent may do alone; the next claim sees it. Returns the verdict, or None where nothing changes."""
    found = hold(agent)
    if level > found.level:
        raise NotAllowed(
            f"agent {found.name!r} is {Level(found.level).label}: only a person raises it to {Level(level).label}, "
            "by agents.raise_level or `manage.py agents promote`"
        )
    if level == found.level:
        return None
    Agent.objects.filter(pk=found.id).update(level=level)
    return _changed(found, level, by=by, reason=reason, parents=parents)


@transaction.atomic
def raise_level(
    agent: str | Agent,
    level: Level,
    *,
    person: Person,
    second: Person | None = None,
    reason: str,
    parents: Iterable[records.Named] = (),
) -> Verdict:
    """Raise what an agent may do alone, in the name of a person, or of two; returns the verdict.

    `parents` are the decisions on which it rests; without any, the persons' decision is written down first.
    """
    if not reason.strip():
        raise NotAllowed("a level is raised for a reason: say it")
    first_name = people.deciding(person, RAISE)
    second_name = people.deciding(second, RAISE) if second is not None else ""
    found = hold(agent)
    if level <= found.level:
        raise NotPossible(f"agent {found.name!r} is {Level(found.level).label} already: that is no rise")
    if needs_second(found, level, first_name) and second_name in ("", first_name):
        raise NotAllowed(
            f"agent {found.name!r} rises from {Level(found.level).label} to {Level(level).label} by two different "
            f"persons only: {first_name!r} has raised it by one level at most within a day"
        )
    ledger.ask_in_transaction(
        "SELECT execution_raise_level_v1(%s, %s, %s, %s)", [found.id, int(level), first_name, second_name]
    )
    names = [name for name in (first_name, second_name) if name]
    given = list(parents) or [decide(found, level, by=name, reason=reason) for name in names]
    return _changed(found, level, by=" and ".join(names), reason=reason, parents=given)


def needs_second(agent: Agent, level: int, first: str) -> bool:
    """Tell whether a second person is wanted: for more than one level, also step by step by the same one in a day."""
    recent = Verdict.objects.filter(
        kind=LEVEL_CHANGED, subject=f"agent:{agent.name}", created_at__gt=Now() - timedelta(days=1), data__by=first
    )
    rises: int = sum(max(one["after"] - one["before"], 0) for one in recent.values_list("data", flat=True))
    return level - agent.level + rises > 1


def decide(
    agent: Agent, level: int, *, by: str, reason: str, action: str = "approve", parents: Iterable[records.Named] = ()
) -> Verdict:
    """Write down what a person has decided about an agent's level."""
    return records.judge(
        "level_decision",
        subject=f"agent:{agent.name}",
        action=action,
        producer=f"person:{by}",
        reasoning=reason,
        data={"before": agent.level, "after": int(level), "by": by},
        parents=parents,
        agent=agent,
    )


def _changed(before: Agent, level: Level, *, by: str, reason: str, parents: Iterable[records.Named]) -> Verdict:
    """Write down that a level was changed: an event, and a verdict that rests on what asked for it."""
    _note("agent.level_changed", before.id, {"level": int(level), "before": before.level, "by": by, "reason": reason})
    return records.judge(
        LEVEL_CHANGED,
        subject=f"agent:{before.name}",
        action="approve" if level > before.level else "reject",
        producer="ladder",
        reasoning=reason,
        data={"before": before.level, "after": int(level), "by": by},
        parents=parents,
        agent=before,
    )


@transaction.atomic
def set_budget(agent: str | Agent, *, cost: Decimal | None = None, tokens: int | None = None) -> None:
    """Set or remove an agent's budget; what its running steps hold reserved is counted from now on."""
    agent_id = id_of(agent)
    _hold(agent_id)
    Agent.objects.select_for_update(no_key=True).get(pk=agent_id)
    # Held until the commit: a step that ends meanwhile is either not counted, or finds the budget and returns its part.
    running = Step.objects.filter(agent_id=agent_id, state=StepState.RUNNING).order_by("id")
    reserved = list(running.select_for_update(no_key=True).values_list("reserved_cost", "reserved_tokens"))
    Agent.objects.filter(pk=agent_id).update(
        budget_cost=cost,
        budget_tokens=tokens,
        reserved_cost=sum((one[0] for one in reserved), Decimal(0)),
        reserved_tokens=sum(one[1] for one in reserved),
    )
    _note("agent.budget_changed", agent_id, {"cost": None if cost is None else str(cost), "tokens": tokens})


def _note(kind: str, agent_id: uuid.UUID | None, data: dict[str, Any]) -> None:
    """Write one event about an agent, in the transaction of the change."""
    events.note(kind, data, agent_id=agent_id)


def _held(agent: str | Agent | None) -> list[uuid.UUID]:
    """Return the agents that a change concerns, in the lock order."""
    if agent is not None:
        return [id_of(agent)]
    return list(Agent.objects.order_by("id").values_list("id", flat=True))


def _hold(agent_id: uuid.UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT execution_hold_agent_v1(%s)", [agent_id])
