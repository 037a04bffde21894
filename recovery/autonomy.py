"""Autonomy: what stands against applying a candidate without a person, each in words.

Everything must be right at once: the action, its evidence, the pattern, the agent, what its run has had already, and
the capability `auto_apply_recovery`, which is locked until somebody lifts it (some actions want another one besides).
Both the decision and the application ask, each in its own transaction, which holds the agent: no lockout and no fall of
its level slips in between.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Count, Min, Q, Sum
from django.utils import timezone

from execution import agents, ledger, words
from execution.models import Agent, CapabilityLockout, Level
from recovery import actions, conf
from recovery.models import FailurePattern, Mode, PatternState, RecoveryCandidate
from recovery.weighing import Choice

CAPABILITY = "auto_apply_recovery"
AUTOMATIC = "automatic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What the runs that carry one on have had without a person."""

    count: int = 0
    cost: Decimal = Decimal(0)
    since: datetime | None = None


def against_choice(choice: Choice, pattern: FailurePattern | None) -> Iterator[str]:
    """Say what in an action, its evidence and the pattern asks for a person."""
    least = conf.current().auto_apply_bound
    if not choice.is_automated:
        yield f"{choice.name} is for a person to do"
    elif choice.needs_approval:
        yield f"{choice.name} asks for an approval, whatever the evidence"
    elif choice.bound < least:
        yield (
            f"{choice.name} is not proven enough: {choice.recovered} of {choice.tried} recovered, "
            f"which is {choice.bound:.2f} for sure and must be {least:.2f}"
        )
    if choice.is_taken_back:
        yield taken_back(choice.name)
    yield from against_pattern(pattern)


def taken_back(action: str) -> str:
    """Say that an action stopped working."""
    return f"{action} stopped working for this kind of failure and was taken back to review"


def against_pattern(pattern: FailurePattern | None) -> Iterator[str]:
    """Say what in how a failure is known asks for a person."""
    if pattern is None or pattern.state != PatternState.CONFIRMED:
        yield "no confirmed pattern knows this failure"
    elif pattern.mode != Mode.AUTOMATIC:
        yield f"the pattern {pattern.name!r} is answered by a person"


def against_run(failed_at: datetime, used: Used) -> Iterator[str]:
    """Say what speaks against another recovery of a run without a person."""
    settings = conf.current()
    if used.count >= settings.auto_per_run:
        yield f"the run was recovered {words.counted(used.count, 'time')} without a person"
    if used.cost >= Decimal(str(settings.auto_cost_per_run)):
        yield f"the run's recoveries have cost {words.money(used.cost)}"
    since = min(used.since or failed_at, failed_at)
    if timezone.now() - since > timedelta(hours=settings.auto_hours_per_run):
        yield f"the run failed first {words.length(timezone.now() - since)} ago"


def against_agent(agent_id: uuid.UUID, needed: int, verb: str) -> Iterator[str]:
    """Say what the agent may not; it is held until the end of the caller's transaction."""
    locked = [name for name in _wanted(verb) if not agents.is_unlocked(name, agent=agent_id)]
    agent = Agent.objects.filter(pk=agent_id).first()
    name = repr(agent.name if agent else agent_id)
    yield from (f"{capability} is not unlocked for agent {name}" for capability in locked)
    if agent is None:
        yield f"agent {name} is gone"
    elif agent.level < needed:
        yield f"agent {name} is {Level(agent.level).label}, and this needs {Level(needed).label}"


def _wanted(verb: str) -> list[str]:
    """Return the capabilities that must be unlocked for a verb to be done without a person."""
    known = actions.KNOWN.get(verb)
    return [CAPABILITY, *([known.capability] if known and known.capability else [])]


def used_by(origins: Collection[uuid.UUID]) -> dict[uuid.UUID, Used]:
    """Return what was applied without a person for each first run, and what all of that has cost."""
    applied = Q(decision=AUTOMATIC, applied_at__isnull=False)
    rows = (
        RecoveryCandidate.objects.filter(origin_run_id__in=origins)
        .values("origin_run_id")
        .annotate(n=Count("id", filter=applied), spent=Sum("cost", filter=applied), since=Min("failed_at"))
    )
    return {
        origin: Used(count=row["n"], cost=row["spent"] or Decimal(0), since=row["since"])
        for row in rows
        if (origin := row["origin_run_id"]) is not None
    }


def hold_origin(origin: uuid.UUID) -> None:
    """Hold what is counted for a first run, until the end of the caller's transaction."""
    ledger.ask_in_transaction("SELECT pg_advisory_xact_lock(uuid_hash_extended(%s, 7101))", [origin])


def lock_until_earned() -> bool:
    """Lock the capability for every agent, once and for all: whoever lifts it has seen evidence."""
    if CapabilityLockout.objects.filter(capability=CAPABILITY, agent=None).exists():
        return False
    text = "it must be earned: what recovers runs is applied by a person until it is lifted"
    agents.lock_out(CAPABILITY, reason=text, by="recovery")
    return True
