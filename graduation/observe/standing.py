"""Standing: where an objective stands now, and what is recorded of that.

Records are of changes: a status where it is another one, or once a day; a burn rate once for each alarm; a breach once,
when the objective comes to have used all that it allows, and again only after it was well meanwhile. All of it is
written with the state that says so, in one transaction, so that a pass that dies in between tells nothing twice; and an
agent falls in the transaction in which its breach is recorded. Locks: the objective's state, then the ladder's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from execution import records
from execution.models import Agent, Assessment, AssessmentKind, Verdict
from graduation import ladder, measures
from graduation.models import Objective, ObjectiveState, Standing
from graduation.observe import buckets, burn, calendars
from graduation.observe.burn import LEAST_BAD, LEAST_TOTAL, Reading

PRODUCER = "graduation.collect"
DAILY = timedelta(hours=24)
_WELL = (Standing.HEALTHY, Standing.WARNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Where an objective was found to stand, whichever way that was measured."""

    standing: str
    consumed: float | None
    good: int
    total: int
    is_breach: bool
    data: dict[str, Any]
    alarms: dict[str, dict[str, Any]]
    window: tuple[datetime, datetime]
    kind: str = AssessmentKind.SLO_STATUS


def settle(objective: Objective, *, now: datetime | None = None) -> str:
    """Find where an objective stands by its counts, and record what has changed; returns its standing."""
    return record(objective, by_counts(objective, now or timezone.now()))


def by_counts(objective: Objective, now: datetime) -> Found:
    """Return where an objective stands by the counts of its period."""
    reading = read(objective, now)
    counts, error = reading.counts, state_of(objective).error
    is_heard = counts.total >= LEAST_TOTAL and counts.bad >= LEAST_BAD
    return Found(
        standing=Standing.ERROR if error else Standing(reading.status),
        consumed=reading.consumed,
        good=counts.good,
        total=counts.total,
        is_breach=not error and is_heard and (reading.consumed or 0) >= 1,
        data=_told(reading) | ({"error": error} if error else {}),
        alarms=alarms(reading),
        window=(calendars.start_of(objective, now), now),
    )


Spans = Callable[[Objective, Sequence[datetime], datetime], list[burn.Bucket]]
"""Tells what was counted from each of some moments to the next, the last until a moment."""


def read(objective: Objective, now: datetime, spans: Spans = buckets.spans) -> Reading:
    """Return what an objective's counts show at a moment."""
    period = timedelta(days=objective.period_days)
    start = max(calendars.start_of(objective, now), now - period)
    lengths = {length for pair in burn.pairs(period) for length in (pair.long, pair.short)}
    outage = period * (timedelta(hours=6) / timedelta(days=30))
    starts = {start, *(now - length for length in (*lengths, outage) if now - length > start)}
    return burn.read(spans(objective, sorted(starts), now), objective.target, now=now, period=period)


@transaction.atomic
def record(objective: Objective, found: Found) -> str:
    """Write where an objective stands, and the records of what has changed; returns its standing."""
    ObjectiveState.objects.get_or_create(objective_id=objective.pk)
    state = ObjectiveState.objects.select_for_update(of=("self",)).get(pk=objective.pk)
    parent = _status(objective, state, found)
    _tell_alarms(objective, state, found, parent)
    _tell_breach(objective, state, found, parent)
    state.standing, state.consumed = found.standing, found.consumed
    state.good, state.total, state.collected_at = found.good, found.total, found.window[1]
    told = ("standing", "consumed", "good", "total", "collected_at", "burning", "is_breached", "assessment_id")
    state.save(update_fields=[*told, "breach_id"])
    return found.standing


def alarms(reading: Reading) -> dict[str, dict[str, Any]]:
    """Return the windows in which an objective burns too fast, with how fast."""
    return {name: data for name, data, is_alarming in _burns(reading) if is_alarming}


def rates(reading: Reading) -> list[dict[str, Any]]:
    """Return how fast an objective burns over each pair of windows."""
    found = [(name, data, is_alarming) for name, data, is_alarming in _burns(reading) if "long_rate" in data]
    return [{"windows": name, **data, "is_alarming": is_alarming} for name, data, is_alarming in found]


def state_of(objective: Objective) -> ObjectiveState:
    """Return an objective's state; one that was never looked at has none yet."""
    return ObjectiveState.objects.filter(pk=objective.pk).first() or ObjectiveState(objective=objective)


def _status(objective: Objective, state: ObjectiveState, found: Found) -> Assessment | None:
    """Record the status where it has changed, or is a day old; returns the latest."""
    last = Assessment.objects.filter(pk=state.assessment_id).first() if state.assessment_id else None
    is_old = last is None or last.created_at < timezone.now() - DAILY
    is_news = state.standing != found.standing or is_old or _turns(state, found)
    if not is_news:
        return last
    made = _assess(objective, found, found.kind, {"standing": found.standing, **found.data}, [])
    state.assessment_id = made.id
    return made


def _turns(state: ObjectiveState, found: Found) -> bool:
    """Whether there is a breach or an alarm to tell, for which the status has to be that of this moment."""
    return (found.is_breach and not state.is_breached) or bool(set(found.alarms) - set(state.burning))


def _tell_alarms(objective: Objective, state: ObjectiveState, found: Found, parent: Assessment | None) -> None:
    for name in sorted(set(found.alarms) - set(state.burning)):
        parents = [parent] if parent else []
        _assess(objective, found, AssessmentKind.BURN_RATE, {"windows": name, **found.alarms[name]}, parents)
    state.burning = sorted(found.alarms)


def _tell_breach(objective: Objective, state: ObjectiveState, found: Found, parent: Assessment | None) -> None:
    if found.is_breach and not state.is_breached:
        breach = _judge(objective, found, parent)
        ladder.answer(breach)
        state.breach_id, state.is_breached = breach.id, True
    elif not found.is_breach and found.standing in _WELL:
        state.is_breached = False


def _judge(objective: Objective, found: Found, parent: Assessment | None) -> Verdict:
    allowed = 1 - objective.target
    severity = severity_of(found.consumed or 1.0)
    kind, _, name = objective.subject.partition(":")
    return records.judge(
        ladder.BREACH,
        subject=objective.subject,
        action="flag",
        producer=PRODUCER,
        reasoning=f"{objective.pk} has used {found.consumed or 0:.0%} of the {allowed:.3%} that may be bad",
        data={
            "objective": objective.pk,
            "service": objective.service,
            "severity": severity,
            "consumed": found.consumed,
            "good": found.good,
            "total": found.total,
            "target": objective.target,
        },
        parents=[parent] if parent else [],
        agent=Agent.objects.filter(name=name).first() if kind == "agent" else None,
    )


def severity_of(consumed: float) -> measures.Severity:
    """Return how severe a breach is, by how much of what is allowed is used."""
    share = round(consumed, 9)
    if share < measures.HIGH_AFTER:
        return "low"
    return "high" if share < measures.CRITICAL_AFTER else "critical"


def _assess(
    objective: Objective, found: Found, kind: str, data: dict[str, Any], parents: list[Assessment]
) -> Assessment:
    named = {"objective": objective.pk, "service": objective.service, "target": objective.target}
    return records.assess(
        kind, subject=objective.subject, producer=PRODUCER, data=named | data, window=found.window, parents=parents
    )


def _told(reading: Reading) -> dict[str, Any]:
    return {
        "consumed": reading.consumed,
        "good": reading.counts.good,
        "total": reading.counts.total,
        "burns": {name: data for name, data, _ in _burns(reading)},
    }


def _burns(reading: Reading) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yield each pair of windows with its rates, and the absolute rule, and whether it is an alarm."""
    for one in reading.burns:
        name = f"{_short(one.pair.long)}/{_short(one.pair.short)}"
        rates = {"long_rate": one.long_rate, "short_rate": one.short_rate, "at_most": one.pair.rate}
        yield name, rates | {"urgency": one.pair.urgency}, one.is_alarming
    outage = reading.outage
    told = {"bad": outage.counts.bad, "budget_share": outage.budget_share, "rate": outage.rate}
    yield f"outage/{_short(outage.window)}", told | {"urgency": outage.urgency}, outage.is_alarming


def _short(window: timedelta) -> str:
    """Write a window shortly: 5m, 6h, 3d."""
    minutes = window / timedelta(minutes=1)
    for unit, length in (("d", 1440), ("h", 60)):
        if minutes >= length and minutes % length == 0:
            return f"{minutes / length:g}{unit}"
    return f"{minutes:g}m"
