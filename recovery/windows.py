"""Session windows: what happened together, by the events' own time, in one connected part of the topology.

Occurrences are folded in the order of their time, once everything that may still come late has come: so the same
occurrences make the same windows, in whichever order they arrived. A window ends a gap after its latest occurrence, at
the latest so long after its first, and a gap after its first breach. An occurrence that is near several windows makes
them one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from recovery import conf
from recovery.models import Occurrence, Severity, Window

BREACH = "quality_breach"
_RUNS_MOST = 500
_ERRORS_MOST = 50
_RECORDS_MOST = 500
_WEIGHTS = {Severity.LOW: 0, Severity.HIGH: 1, Severity.CRITICAL: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long windows are."""

    gap: timedelta
    most: timedelta
    late: timedelta

    @classmethod
    def current(cls) -> Limits:
        """Return the limits that the settings say."""
        found = conf.current()
        return cls(
            gap=timedelta(seconds=found.correlation_gap_seconds),
            most=timedelta(seconds=found.correlation_most_seconds),
            late=timedelta(seconds=found.correlation_late_seconds),
        )


class Fold:
    """The windows that are open while occurrences are added in the order of their time."""

    def __init__(
        self, windows: Iterable[Window], *, near: Callable[[Iterable[str]], frozenset[str]], limits: Limits
    ) -> None:
        """Begin with the windows that are open."""
        self.open = sorted(windows, key=_age)
        self.closed: list[Window] = []
        self.absorbed: list[tuple[Window, Window]] = []
        """Windows that are no more, each with the one that it is a part of."""
        self._near, self._limits = near, limits

    def add(self, one: Occurrence) -> None:
        """Add an occurrence to the windows that it is near, which are one from then on, or to a new one."""
        self.close(one.at)
        near, earliest = self._near(one.nodes), one.at + self._limits.gap
        joined = [
            window for window in self.open if window.started_at < earliest and not near.isdisjoint(window.services)
        ]
        window = joined[0] if joined else self._opened(one)
        for other in joined[1:]:
            self._absorb(window, other)
        _take(window, one)

    def close(self, moment: datetime) -> None:
        """Close the windows that have ended by a moment."""
        ended = [window for window in self.open if self.end(window) <= moment]
        for window in ended:
            window.closed_at = self.end(window)
        self.open = [window for window in self.open if window.closed_at is None]
        self.closed += ended

    def end(self, window: Window) -> datetime:
        """Return when a window ends, unless something more happens."""
        ends = [window.last_at + self._limits.gap, window.started_at + self._limits.most]
        if window.breach_at is not None:
            ends.append(window.breach_at + self._limits.gap)
        return min(ends)

    def _opened(self, one: Occurrence) -> Window:
        window = Window(services=[], started_at=one.at, last_at=one.at, counts={}, verdicts=[], details={})
        window.severity = Severity.LOW
        self.open = sorted([*self.open, window], key=_age)
        return window

    def _absorb(self, window: Window, other: Window) -> None:
        """Make the later of two windows a part of the earlier."""
        self.open.remove(other)
        self.absorbed.append((other, window))
        window.services = sorted({*window.services, *other.services})
        window.last_at = max(window.last_at, other.last_at)
        window.breach_at = min((one for one in (window.breach_at, other.breach_at) if one), default=None)
        window.counts = _sums(window.counts, other.counts)
        window.severity = worst(window.severity, other.severity)
        window.verdicts = sorted({*window.verdicts, *other.verdicts})[:_RECORDS_MOST]
        window.details = _merged(window.details, other.details)


def worst(*severities: str) -> Severity:
    """Return the gravest of these."""
    return max((Severity(one) for one in severities), key=lambda one: _WEIGHTS[one])


def is_at_least(severity: str, least: str) -> bool:
    """Tell whether something is as grave as that."""
    return worst(severity, least) == severity


def stamp(moment: datetime) -> str:
    """Return a moment as text that sorts as it does."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _age(window: Window) -> tuple[datetime, Any]:
    return window.started_at, window.id


def _take(window: Window, one: Occurrence) -> None:
    """Add an occurrence to what a window says; in place, because a storm brings thousands."""
    if not set(window.services).issuperset(one.nodes):
        window.services = sorted({*window.services, *one.nodes})
    window.started_at = min(window.started_at, one.at)
    window.last_at = max(window.last_at, one.at)
    if one.kind == f"verdict.{BREACH}":
        window.breach_at = min(window.breach_at or one.at, one.at)
    window.counts[one.kind] = window.counts.get(one.kind, 0) + 1
    window.severity = worst(window.severity, one.severity)
    if one.record_id is not None and one.kind.startswith("verdict."):
        _insert(window.verdicts, one.record_id, most=_RECORDS_MOST)
    _tell(window.details, one)


def _tell(details: dict[str, Any], one: Occurrence) -> None:
    """Keep of an occurrence what a window's story needs."""
    if not one.is_change:
        first, seen, moment = details.setdefault("first", {}), details.setdefault("seen", {}), stamp(one.at)
        for node in one.nodes:
            first[node] = min(first.get(node, moment), moment)
            seen[node] = seen.get(node, 0) + 1
    if one.run_id is not None and one.kind == "run.failed":
        _insert(details.setdefault("runs", []), str(one.run_id), most=_RUNS_MOST)
    if one.record_id is not None and one.kind.startswith("assessment."):
        _insert(details.setdefault("assessments", []), str(one.record_id), most=_RECORDS_MOST)
    if "type" in one.data:
        _tell_error(details.setdefault("errors", {}), one.data)


def _tell_error(errors: dict[str, Any], data: Mapping[str, Any]) -> None:
    key = "|".join(data.get(part, "") for part in ("skill", "kind", "type"))
    message = data.get("message", "")
    found = errors.setdefault(key, {"count": 0, "message": message})
    found["count"] += 1
    found["message"] = min(found["message"], message)
    if len(errors) > _ERRORS_MOST:
        rarest = min(errors, key=lambda one: (errors[one]["count"], one))
        del errors[rarest]


def _insert(kept: list[Any], one: Any, *, most: int) -> None:
    """Keep the least of so many, in order and once."""
    place = bisect_left(kept, one)
    if place < most and (place == len(kept) or kept[place] != one):
        kept.insert(place, one)
        del kept[most:]


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    firsts = [found.get("first", {}) for found in (one, other)]
    first = {
        name: min(moments[name] for moments in firsts if name in moments) for name in sorted({*firsts[0], *firsts[1]})
    }
    return {
        "first": first,
        "seen": _sums(one.get("seen", {}), other.get("seen", {})),
        "runs": sorted({*one.get("runs", []), *other.get("runs", [])})[:_RUNS_MOST],
        "assessments": sorted({*one.get("assessments", []), *other.get("assessments", [])})[:_RECORDS_MOST],
        "errors": _errors(one.get("errors", {}), other.get("errors", {})),
    }


def _errors(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the errors of both, the most frequent, each with the least of its messages: no order decides."""
    found = {}
    for key in {*one, *other}:
        both = [errors[key] for errors in (one, other) if key in errors]
        found[key] = {"count": sum(each["count"] for each in both), "message": min(each["message"] for each in both)}
    kept = sorted(found, key=lambda key: (-found[key]["count"], key))[:_ERRORS_MOST]
    return {key: found[key] for key in sorted(kept)}


def _sums(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}
