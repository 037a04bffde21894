"""Recommending: what should change after something went wrong, by rules, each with the evidence that speaks for it.

Nothing here changes anything: a recommendation is a row, and a person accepts or declines it. A target is only ever
recommended higher than it is; a retry policy within four times what holds; a dependency where two services failed
together and nothing says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Sum

from execution import topology, tunables
from execution.models import Service, Tier
from graduation.models import Bucket, GateCall, Objective, Standing

TIGHTEN, GATE, DEPENDENCY, RETRY = "tighten_objective", "add_gate", "add_dependency", "change_retry_policy"
_BEFORE = timedelta(days=30)
_COUNTED_LEAST = 100
_ERRORS_LEAST = 5
_FURTHEST = 4.0
_TIMEBOX = "7d"
_BLIND = (Standing.HEALTHY, Standing.NO_DATA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What went wrong, as the rules look at it."""

    nodes: tuple[str, ...]
    """The topology's nodes that were affected, the first to fail first."""
    start: datetime
    end: datetime
    first_at: dict[str, str] = field(default_factory=dict)
    errors: dict[str, Any] = field(default_factory=dict)
    suspects: tuple[dict[str, Any], ...] = ()

    @property
    def services(self) -> tuple[str, ...]:
        """The names of the services that were affected."""
        return tuple(one.removeprefix("service:") for one in self.nodes if one.startswith("service:"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Advised:
    """One change that is recommended."""

    kind: str
    key: str
    text: str
    change: dict[str, Any]
    evidence: dict[str, Any]


def recommend(trouble: Trouble) -> list[Advised]:
    """Return what the rules recommend."""
    return [one for rule in _RULES for one in rule(trouble)]


def tightened(target: float, attained: float) -> float | None:
    """Return a target that allows half the errors, or twice those that there are; None where that is no tighter."""
    allowed = max((1 - target) / 2, (1 - attained) * 2)
    wanted = round(1 - allowed, 6)
    return wanted if target < wanted < 1 else None


def _objectives(trouble: Trouble) -> Iterator[Advised]:
    """Tighten the objectives that saw nothing of it, although they usually do far better than they must."""
    rows = Objective.objects.filter(is_enabled=True).select_related("state").order_by("name")
    for one in rows:
        state = getattr(one, "state", None)
        if one.subject not in trouble.nodes and f"service:{one.service}" not in trouble.nodes:
            continue
        if state is None or state.standing not in _BLIND or state.is_breached:
            continue
        counts = _counts(one, trouble.start)
        wanted = tightened(one.target, counts[0] / counts[1]) if counts[1] >= _COUNTED_LEAST else None
        if wanted is not None:
            yield Advised(
                kind=TIGHTEN,
                key=f"{TIGHTEN}:{one.name}",
                text=f"Tighten {one.name} from {one.target:g} to {wanted:g}: it stood {state.standing} all the while",
                change={"objective": one.name, "from": one.target, "to": wanted},
                evidence={"good": counts[0], "total": counts[1], "days": _BEFORE.days, "standing": state.standing},
            )


def _counts(objective: Objective, until: datetime) -> tuple[int, int]:
    """Return what was good and what was counted in the days before."""
    before = Bucket.objects.filter(objective=objective, minute__gte=until - _BEFORE, minute__lt=until)
    found = before.aggregate(good=Sum("good"), total=Sum("total"))
    return found["good"] or 0, found["total"] or 0


def _gates(trouble: Trouble) -> Iterator[Advised]:
    """Let deployments of what matters go through the gate, where something was changed before and no gate was asked."""
    changes = [one for one in trouble.suspects if one.get("at")]
    known = Service.objects.filter(pk__in=trouble.services).exclude(tier=Tier.LOW).order_by("name")
    asked = set(GateCall.objects.filter(at__gte=trouble.start - _BEFORE).values_list("service", flat=True))
    for service in known:
        if changes and service.name not in asked:
            yield Advised(
                kind=GATE,
                key=f"{GATE}:{service.name}",
                text=f"Ask the deploy gate before {service.name} is changed: `manage.py gate --service {service.name}`",
                change={"service": service.name, "tier": service.tier},
                evidence={"changes": changes[:5], "gate_calls": 0, "days": _BEFORE.days},
            )


def _dependencies(trouble: Trouble) -> Iterator[Advised]:
    """Say what needs what, where a service failed after another and nothing known leads from one to the other."""
    known = set(Service.objects.filter(pk__in=trouble.services).values_list("name", flat=True))
    failed = [one for one in trouble.services if one in known and f"service:{one}" in trouble.first_at]
    if len(failed) < 2:
        return
    first, graph = failed[0], topology.build()
    for later in failed[1:]:
        if not _is_joined(graph, f"service:{first}", f"service:{later}"):
            yield Advised(
                kind=DEPENDENCY,
                key=f"{DEPENDENCY}:{later}:{first}",
                text=f"Declare that {later} needs {first}, or look why they failed together",
                change={"service": later, "needs": first},
                evidence={"first_at": {one: trouble.first_at[f"service:{one}"] for one in (first, later)}},
            )


def _is_joined(graph: topology.Topology, one: str, other: str) -> bool:
    """Whether either stands to fail with the other, as far as is known."""
    return other in graph.blast(one).dependants or one in graph.blast(other).dependants


def _retries(trouble: Trouble) -> Iterator[Advised]:
    """Wait longer between the tries of a skill that failed again and again for something that passes."""
    counts: dict[str, int] = {}
    for key, error in trouble.errors.items():
        skill, kind, _ = key.split("|", 2)
        if kind == "transient" and skill:
            counts[skill] = counts.get(skill, 0) + int(error["count"])
    for skill, count in sorted(counts.items()):
        advised = _longer(skill, count) if count >= _ERRORS_LEAST else None
        if advised is not None:
            yield advised


def _longer(skill: str, count: int) -> Advised | None:
    now = tunables.value("retries.base", skill)
    wanted = min(now * 2, tunables.declared("retries.base").most)
    if not (math.isfinite(wanted) and now < wanted <= now * _FURTHEST):
        return None
    return Advised(
        kind=RETRY,
        key=f"{RETRY}:{skill}",
        text=f"Wait {wanted:g} s instead of {now:g} s before {skill} is tried again, for {_TIMEBOX}",
        change={"tunable": "retries.base", "subject": skill, "from": now, "to": wanted, "timebox": _TIMEBOX},
        evidence={"transient_errors": count, "base_seconds": now},
    )


_RULES: tuple[Callable[[Trouble], Iterator[Advised]], ...] = (_objectives, _gates, _dependencies, _retries)
