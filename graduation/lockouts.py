"""Lockouts: what must be earned is locked, for each agent and for the whole system, until its status has earned it.

A capability is free for an agent when nothing locks it for the agent and nothing for the system. What persons lock is
theirs: no status lifts it.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q, QuerySet

from execution import agents
from execution.models import Agent, CapabilityLockout
from graduation.models import Status

BY = "graduation"
_RANKS = {Status.DEGRADED: 0, Status.ALPHA: 0, Status.BETA: 1, Status.CANDIDATE: 2, Status.COMPLETE: 3}
EARNED_AT = {
    "auto_apply_recovery": Status.BETA,
    "auto_apply_policy": Status.CANDIDATE,
    "auto_route": Status.COMPLETE,
}
"""The status at which each capability is unlocked."""
_OURS = Q(by__in=[BY, "recovery"])
"""What graduation locked, and what recovery has locked until graduation lifts it."""


def rank(status: str) -> int:
    """Return how much a status has earned."""
    return _RANKS[Status(status)]


def earned(status: str) -> frozenset[str]:
    """Return the capabilities that a status has unlocked."""
    return frozenset(name for name, wanted in EARNED_AT.items() if rank(status) >= rank(wanted))


@transaction.atomic
def settle(agent: Agent | None, status: str, *, reason: str) -> list[str]:
    """Lock what a status has not earned and lift what it has; returns the capabilities that changed."""
    free = earned(status)
    if agent is None:
        install()
    return [name for name in EARNED_AT if (_lift(name, agent) if name in free else _lock(name, agent, reason))]


def install() -> list[str]:
    """Lock what must be earned for the whole system, where nobody ever has; returns what was locked."""
    known = CapabilityLockout.objects.filter(agent=None, capability__in=EARNED_AT)
    missing = set(EARNED_AT) - set(known.values_list("capability", flat=True))
    return [name for name in EARNED_AT if name in missing and _lock(name, None, "it must be earned")]


def in_force(agent: Agent | None) -> QuerySet[CapabilityLockout]:
    """Return what is locked for an agent, or for every agent."""
    return CapabilityLockout.objects.filter(agent=agent, lifted_at=None).order_by("capability", "id")


def lift_by_hand(capability: str, agent: Agent | None, *, by: str) -> int:
    """Lift what persons have locked; what must be earned stays locked until it is. Returns how many."""
    owners = set(in_force(agent).filter(capability=capability).exclude(_OURS).values_list("by", flat=True))
    return sum(agents.lift(capability, agent=agent, only_by=one, by=by) for one in owners)


def _lock(capability: str, agent: Agent | None, reason: str) -> bool:
    if in_force(agent).filter(_OURS, capability=capability).exists():
        return False
    agents.lock_out(capability, agent=agent, reason=reason, by=BY)
    return True


def _lift(capability: str, agent: Agent | None) -> bool:
    owners = set(in_force(agent).filter(_OURS, capability=capability).values_list("by", flat=True))
    return sum(agents.lift(capability, agent=agent, only_by=one, by=BY) for one in owners) > 0
