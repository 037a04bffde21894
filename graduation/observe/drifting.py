"""Drifting: every half hour each objective's counts are shown to what detects drift, and what that says is recorded.

A bucket is shown once, when it is over and the counts are known beyond it; what the detectors remember is stored in the
same transaction. One signal is recorded for each objective and window, where its severity has changed. Shares that come
ready-made are no events that could be bet on: such an objective is left out.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

from execution import ledger, records
from execution.cycles import Cycle
from execution.models import Assessment, AssessmentKind
from graduation.models import DriftState, Objective, Origin
from graduation.observe import burn, standing
from graduation.observe.drift import Severity, Signal
from graduation.observe.levels import Levels
from graduation.observe.rates import Rates

log = structlog.get_logger(__name__)

PRODUCER = "graduation.drift"
RATE, LEVEL = "30m", "1h"
GRACE = timedelta(minutes=5)
"""So long is waited for events that come late."""
BUCKETS_MOST = 500
_LENGTHS = {RATE: timedelta(minutes=30), LEVEL: timedelta(hours=1)}
_WORST: tuple[Severity, ...] = ("critical", "warning", "none", "no_data")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One bucket, as it is shown to a detector."""

    at: datetime
    good: int
    total: int
    value: float | None


def watch(state: dict[str, Any]) -> int:
    """Show what is new to the detectors; without their extra, say so once and do nothing. Returns buckets shown."""
    missing = [name for name in ("scipy", "river") if find_spec(name) is None]
    if missing:
        if state.get("missing") != missing:
            log.warning("drift.extra_missing", packages=missing, hint="pip install 'celeriac[graduation]'")
        state["missing"] = missing
        return 0
    state.pop("missing", None)
    return sum(_watch(objective, window) for objective in _objectives() for window in (RATE, LEVEL))


def _objectives() -> Iterator[Objective]:
    rows = Objective.objects.filter(origin__in=(Origin.LEDGER, Origin.PROMETHEUS), is_enabled=True)
    for one in rows.select_related("state"):
        is_ready_made = {"success", "failure"} & one.indicator.keys() or (one.slices and "target" not in one.slices)
        if not is_ready_made:
            yield one


@transaction.atomic
def _watch(objective: Objective, window: str) -> int:
    """Show a detector the buckets that are over, and store what it makes of them."""
    if window == LEVEL and not _is_measured(objective):
        return 0
    DriftState.objects.get_or_create(objective=objective, window=window)
    row = DriftState.objects.select_for_update().get(objective=objective, window=window)
    until = _known_until(objective, _LENGTHS[window])
    shown = _shown(objective, window, row.seen_until, until)
    if not shown:
        return 0
    row.state, signals = _rates(objective, row.state, shown) if window == RATE else _levels(objective, row.state, shown)
    row.seen_until = min(until, shown[-1].at + _LENGTHS[window])
    severity = min((one.severity for one in signals), key=_WORST.index)
    if severity != row.severity:
        row.assessment_id = (
            _assess(objective, window, severity, signals, shown).pk if row.severity or _is_news(severity) else None
        )
        row.severity, row.changed_at = severity, timezone.now()
    row.save()
    return len(shown)


def _is_news(severity: str) -> bool:
    return severity in ("critical", "warning")


def _is_measured(objective: Objective) -> bool:
    """Whether lower is better of what is measured, as of latency and cost."""
    return (objective.indicator.get("threshold") or {}).get("op") in ("lt", "lte")


def _known_until(objective: Objective, length: timedelta) -> datetime:
    """Return the end of the last bucket that is over, of which everything is known."""
    known = objective.state.data_at or datetime.fromtimestamp(0, tz=UTC)
    return _floor(min(known, timezone.now()) - GRACE, length)


def _floor(moment: datetime, length: timedelta) -> datetime:
    seconds = length.total_seconds()
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, tz=UTC)


def _shown(objective: Objective, window: str, after: datetime | None, until: datetime) -> list[Shown]:
    """Return the buckets that a detector has not seen, the oldest first, at most so many."""
    length = _LENGTHS[window]
    start = after or until - timedelta(days=objective.period_days)
    rows = ledger.ask_in_transaction(
        "SELECT date_bin(%s, minute, 'epoch') AS at, sum(good)::bigint AS good, sum(total)::bigint AS total, "
        "sum(value * total) / nullif(sum(total) FILTER (WHERE value IS NOT NULL), 0) AS value "
        "FROM graduation_bucket WHERE objective_id = %s AND minute >= %s AND minute < %s "
        "GROUP BY 1 ORDER BY 1 LIMIT %s",
        [length, objective.pk, start, until, BUCKETS_MOST],
    )
    return [Shown(at=row.at, good=row.good, total=row.total, value=row.value) for row in rows]


def _rates(objective: Objective, stored: dict[str, Any], shown: Iterable[Shown]) -> tuple[dict[str, Any], list[Signal]]:
    rates = Rates.from_json(stored) if stored else Rates.begin(objective.target)
    for one in shown:
        rates = rates.observe(one.total - one.good, one.total)
    counts = standing.read(objective, timezone.now()).counts
    left = burn.budget(counts, objective.target) - counts.bad
    return rates.as_json(), [rates.signal(bucket=_LENGTHS[RATE], left=left)]


def _levels(
    objective: Objective, stored: dict[str, Any], shown: Iterable[Shown]
) -> tuple[dict[str, Any], list[Signal]]:
    levels = Levels.from_json(stored) if stored else Levels()
    for one in shown:
        if one.value is not None and one.value > 0:
            levels.observe(one.value, one.total, at=one.at)
    limit = objective.indicator["threshold"]["value"]
    return levels.as_json(), list(levels.signals(limit=limit if limit > 0 else None))


def _assess(objective: Objective, window: str, severity: str, signals: list[Signal], shown: list[Shown]) -> Any:
    return records.assess(
        AssessmentKind.DRIFT_SIGNAL,
        subject=objective.subject,
        producer=PRODUCER,
        data={
            "objective": objective.pk,
            "service": objective.service,
            "window": window,
            "severity": severity,
            "signals": [one.as_json() for one in signals],
        },
        window=(shown[0].at, shown[-1].at + _LENGTHS[window]),
        parents=Assessment.objects.filter(pk=objective.state.assessment_id or uuid.UUID(int=0)),
    )


WATCH = Cycle(name="graduation.drift", period=timedelta(minutes=30), step=watch, is_atomic=False)
