"""Drift: what is said when a service is no longer what it was, whichever way that was found.

The share of bad events is watched by `rates`, latency and cost by `levels`. Each says it in a signal: how severe, by
which figure, from how many observations, how sure, and in how many days nothing is left if it goes on like this. Each
keeps its whole state as JSON, so that a cycle goes on where the last one ended.

A *warning* may be wrong now and then. A *critical* signal may not: on a healthy, stationary stream there is at most one
in a year for each service, at any traffic.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["critical", "warning", "none", "no_data"]
Measure = Literal["rate", "shift", "trend"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """In how many days nothing is left, with the ends of its interval; None is never."""

    days: float | None
    soonest: float | None
    latest: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What a stream shows now: how sure, by an e-value or a p-value; `before` and `after` are in its own unit."""

    measure: Measure
    severity: Severity
    statistic: float | None
    count: int
    e: float | None = None
    p: float | None = None
    before: float | None = None
    after: float | None = None
    exhaustion: Forecast | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the signal as the data of an assessment."""
        return asdict(self)


def forecast(left: float, per_day: float, *, low: float, high: float) -> Forecast:
    """Return when what is left is used up, at so much a day and between these ends; never by what does not grow."""
    return Forecast(days=_days(left, per_day), soonest=_days(left, high), latest=_days(left, low))


def _days(left: float, per_day: float) -> float | None:
    return None if per_day <= 0 else max(0.0, left / per_day)
