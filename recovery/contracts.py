"""Contract divergence: what services promise in figures against what was measured of their calls, each hour.

A call is an effect that names the service; of a skill that calls one service and makes no effects, an attempt. A
promise is broken where even the upper end of what the calls allow (Wilson, one-sided, 95 %) lies below it: a few bad
calls in many prove nothing, all of them bad do. No calls are no violation; no success is.
"""

from __future__ import annotations

import math
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from execution import events, ledger, records, skills
from execution.cycles import Cycle
from execution.models import Assessment, AssessmentKind, Attempt, Effect, EffectState, Ending, Service, Tier
from execution.topology import observed
from recovery import conf

PRODUCER = "recovery.contracts"
_Z = 1.6448536269514722
_BATCH = 2000
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_ENDED = (Ending.COMPLETED, Ending.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a service: when it began, whether it went well, and how long it took."""

    at: datetime
    is_good: bool
    milliseconds: float


def compare(*, now: datetime | None = None) -> int:
    """Assess every service whose calls break its contract, and those that keep it again; returns how many."""
    clock = now or ledger.ask_in_transaction("SELECT clock_timestamp() AS now")[0].now
    start = clock - timedelta(hours=conf.current().divergence_hours)
    promised = [service for service in Service.objects.order_by("name") if service.contract]
    calls = _calls({service.name for service in promised}, start, clock) if promised else {}
    was_off = _last()
    count = 0
    for service in promised:
        found = divergences(service.contract, calls.get(service.name, []))
        if found or (was_off.get(f"service:{service.name}") and calls.get(service.name)):
            _assess(service, found, len(calls[service.name]), (start, clock))
            count += 1
    return count


def divergences(contract: Mapping[str, Any], calls: Sequence[Call]) -> list[dict[str, Any]]:
    """Return the promises of a contract that these calls break."""
    if not calls:
        return []
    good = [one for one in calls if one.is_good]
    found = [_share("success_rate", contract.get("success_rate"), len(good), len(calls))]
    minutes, answered = _minutes(calls), _minutes(good)
    found.append(_share("availability", contract.get("availability"), len(answered), len(minutes)))
    for name, limit in (contract.get("latency_ms") or {}).items():
        if limit is not None and name in _QUANTILES:
            within = sum(one.milliseconds <= limit for one in good)
            broken = _share(f"latency_ms.{name}", _QUANTILES[name], within, len(good)) if good else None
            found.append(broken and broken | {"declared": limit, "observed": _quantile(good, _QUANTILES[name])})
    return [one for one in found if one is not None]


def _minutes(calls: Iterable[Call]) -> set[datetime]:
    """Return the minutes in which there were calls."""
    return {one.at.replace(second=0, microsecond=0) for one in calls}


def upper_bound(good: int, count: int) -> float:
    """Return the upper end of what a share may be, of which so many of so many were seen."""
    share, spread = good / count, _Z * _Z / count
    middle = share + spread / 2
    around = _Z * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return min(1.0, (middle + around) / (1 + spread))


def _share(name: str, promised: float | None, good: int, count: int) -> dict[str, Any] | None:
    """Return a promise that is broken, or None."""
    if promised is None or not count or upper_bound(good, count) >= promised:
        return None
    return {"promise": name, "declared": promised, "observed": round(good / count, 6), "good": good, "count": count}


def _quantile(calls: Iterable[Call], share: float) -> float:
    ordered = sorted(one.milliseconds for one in calls)
    return round(ordered[max(0, math.ceil(len(ordered) * share) - 1)], 3)


# What was measured


def _calls(wanted: set[str], start: datetime, end: datetime) -> dict[str, list[Call]]:
    """Return the calls of each service that ended in a span of time."""
    known = {name: list(task.options.calls) for name, task in skills.all_skills().items() if task.options.calls}
    found: dict[str, list[Call]] = defaultdict(list)
    with_effects = set()
    for skill, token, call in _effects(start, end, known):
        with_effects.add(skill)
        service = observed.service_of(known[skill], token)
        if service in wanted:
            found[service].append(call)
    single = {name: calls[0] for name, calls in known.items() if len(calls) == 1 and name not in with_effects}
    for skill, call in _attempts(start, end, {name for name, service in single.items() if service in wanted}):
        found[single[skill]].append(call)
    return found


def _effects(start: datetime, end: datetime, known: Mapping[str, Any]) -> Iterable[tuple[str, str, Call]]:
    rows = Effect.objects.filter(pk__gte=_first(start), ended_at__range=(start, end), step__skill__in=list(known))
    named = rows.values_list("step__skill", "token", "intended_at", "ended_at", "state")
    for skill, token, began, ended, state in named.iterator(chunk_size=_BATCH):
        yield skill, token, _call(began, ended, is_good=state == EffectState.DONE)


def _attempts(start: datetime, end: datetime, names: set[str]) -> Iterable[tuple[str, Call]]:
    rows = Attempt.objects.filter(pk__gte=_first(start), ended_at__range=(start, end), ending__in=_ENDED)
    named = rows.filter(step__skill__in=names).values_list("step__skill", "started_at", "ended_at", "ending")
    for skill, began, ended, ending in named.iterator(chunk_size=_BATCH):
        yield skill, _call(began, ended, is_good=ending == Ending.COMPLETED)


def _call(began: datetime, ended: datetime | None, *, is_good: bool) -> Call:
    took = (ended or began) - began
    return Call(at=began, is_good=is_good, milliseconds=took.total_seconds() * 1000)


def _first(start: datetime) -> uuid.UUID:
    """Return the least id of what began a day before: ids follow time, and calls that take longer are no calls."""
    return events.first_id_at(start - timedelta(days=1))


def _last() -> dict[str, bool]:
    """Return of which services the last word was that they do not keep their contract."""
    rows = Assessment.objects.filter(kind=AssessmentKind.CONTRACT_DIVERGENCE, producer=PRODUCER)
    latest = rows.order_by("subject", "-id").distinct("subject").values_list("subject", "data")
    return {subject: bool(data["is_off"]) for subject, data in latest}


def _assess(service: Service, found: list[dict[str, Any]], count: int, window: tuple[datetime, datetime]) -> Assessment:
    return records.assess(
        AssessmentKind.CONTRACT_DIVERGENCE,
        subject=f"service:{service.name}",
        producer=PRODUCER,
        window=window,
        data={
            "is_off": bool(found),
            "severity": "high" if service.tier == Tier.CRITICAL else "low",
            "call_count": count,
            "broken": found,
        },
    )


COMPARE = Cycle(name="recovery.contract_divergence", period=timedelta(hours=1), step=lambda _: compare())
