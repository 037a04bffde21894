"""Agents: found by name, locked out of capabilities, given budgets; each change waits for claims in flight."""

from __future__ import annotations

import uuid
from datetime import datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone
from psycopg.types.json import Jsonb

from execution import ledger
from execution.exceptions import AgentUnknown
from execution.models import Agent, CapabilityLockout, Level, Step, StepState

DEFAULT = "default"
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


def forget() -> None:
    """Forget the ids that were looked up: for tests, which empty the tables."""
    _known.clear()


@transaction.atomic
def lock_out(
    capability: str, *, agent: str | Agent | None = None, reason: str = "", until: datetime | None = None
) -> CapabilityLockout:
    """Lock a capability for one agent, or for every agent; no claim slips past."""
    for one in _held(agent):
        _hold(one)
    agent_id = id_of(agent) if agent else None
    _note("capability.locked", agent_id, {"capability": capability, "reason": reason})
    return CapabilityLockout.objects.create(agent_id=agent_id, capability=capability, reason=reason, until=until)


@transaction.atomic
def lift(capability: str, *, agent: str | Agent | None = None) -> int:
    """Lift a lockout; the steps that wait for it become ready at the next tick."""
    locked = CapabilityLockout.objects.filter(capability=capability, lifted_at=None)
    locked = locked.filter(agent_id=id_of(agent)) if agent else locked.filter(agent=None)
    _note("capability.lifted", id_of(agent) if agent else None, {"capability": capability})
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


@transaction.atomic
def set_level(agent: str | Agent, level: Level) -> None:
    """Change what an agent may do alone; the next claim sees it."""
    agent_id = id_of(agent)
    _hold(agent_id)
    Agent.objects.filter(pk=agent_id).update(level=level)
    _note("agent.level_changed", agent_id, {"level": int(level)})


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
    ledger.ask_in_transaction("SELECT execution_log_v1(%s, NULL, NULL, %s, NULL, %s)", [kind, agent_id, Jsonb(data)])


def _held(agent: str | Agent | None) -> list[uuid.UUID]:
    """Return the agents that a change concerns, in the lock order."""
    if agent is not None:
        return [id_of(agent)]
    return list(Agent.objects.order_by("id").values_list("id", flat=True))


def _hold(agent_id: uuid.UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT execution_hold_agent_v1(%s)", [agent_id])
