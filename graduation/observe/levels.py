"""Levels: whether latency or cost has risen, from buckets that do not overlap.

Two questions are asked of the logarithm of a bucket's value. Has it *shifted*, against what the same hour of the last
four weeks was? ADWIN (`river`) answers, at a delta of one in a hundred thousand; the signal is critical when the rise
is at least a tenth and the two newest buckets agree with it. Is there a *trend*? Theil and Sen's slope answers, with
its interval and, where there is a limit, the days until it is reached; a trend alone is a warning.

Buckets of little traffic are put together until they hold enough. ADWIN's own memory is no JSON: it is told the kept
buckets again, which takes less than a millisecond and leads to the same state.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from execution.exceptions import OptionInvalid
from graduation.observe.drift import Severity, Signal, forecast

DELTA = 1e-5
LEAST_RISE = math.log(1.1)
LEAST_IN_BUCKET = 30
WARM_UP = 48
"""From so many deviations the usual noise is taken."""
KEPT = 720
"""So many buckets are kept at least, and at most twice as many."""
TREND_BUCKETS = 96
TREND_CONFIDENCE = 0.999
_DAY, _HOUR = 86400.0, 3600.0
_MEMORY_DAYS = 28
_LEAST_DAYS = 3
_USUAL_AFTER_DAYS = 7
_CLIP = 5.0
_PATIENCE = 6


@dataclass(slots=True)
class Kept:
    """One bucket: when, the logarithm of its value, and how far that was from what was to be expected."""

    at: float
    level: float
    deviation: float | None = None

    @property
    def is_raised(self) -> bool:
        """Whether it is a tenth or more above what was to be expected."""
        return self.deviation is not None and self.deviation >= LEAST_RISE


@dataclass(slots=True)
class Shift:
    """A rise that ADWIN has seen: when, and whether two buckets have agreed with it."""

    at: float
    is_confirmed: bool = False
    age: int = 0


class Levels:
    """What is known of a stream of values: its kept buckets, its usual noise, and the shift that goes on, if any."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.shift: Shift | None = None
        self._pending: tuple[float, int] = (0.0, 0)
        self._scale: float | None = None
        self._adwin: Any = None

    def observe(self, value: float, count: int, *, at: datetime) -> None:
        """Take the value of one more bucket, such as its median latency, and of how many events it is."""
        if not count:
            return
        if not (math.isfinite(value) and value > 0 and count > 0):
            raise OptionInvalid(f"a bucket's value is {value!r} of {count!r} events; both are above nothing")
        whole, total = self._pending[0] + value * count, self._pending[1] + count
        self._pending = (whole, total)
        if total >= LEAST_IN_BUCKET:
            self._pending = (0.0, 0)
            self._take(at.timestamp(), math.log(whole / total))

    def _take(self, at: float, level: float) -> None:
        expected = _expected(self.kept, at)
        bucket = Kept(at, level, None if expected is None else level - expected)
        self.kept.append(bucket)
        self._follow(at)
        if self._settle() and self._rises(bucket):
            self.shift = self.shift or Shift(at)
            self._confirm()

    def _settle(self) -> bool:
        """Keep the kept buckets within their bound, and learn the noise; whether ADWIN may be asked of the newest."""
        deviations = sum(one.deviation is not None for one in self.kept)
        is_full, is_warm = len(self.kept) >= 2 * KEPT, deviations == WARM_UP
        if is_full:
            del self.kept[:-KEPT]
        if is_full or is_warm:
            self._scale = _noise([one.deviation for one in self.kept if one.deviation is not None][:WARM_UP])
            self._adwin = None
        return self._scale is not None and not is_warm and not is_full

    def _rises(self, bucket: Kept) -> bool:
        """Whether ADWIN sees a shift at this bucket, upwards."""
        adwin, scaled = self._detector(self.kept[:-1]), self._scaled(bucket)
        if scaled is None:
            return False
        adwin.update(scaled)
        newest = [one.deviation for one in self.kept[-_PATIENCE:] if one.deviation is not None]
        return bool(adwin.drift_detected and statistics.fmean(newest) > 0)

    def _detector(self, buckets: Sequence[Kept]) -> Any:
        """Return ADWIN as these buckets have left it."""
        if self._adwin is None:
            from river.drift import ADWIN

            self._adwin = ADWIN(delta=DELTA, clock=1)  # type: ignore[no-untyped-call]
            for scaled in map(self._scaled, buckets):
                if scaled is not None:
                    self._adwin.update(scaled)
        return self._adwin

    def _scaled(self, bucket: Kept) -> float | None:
        """Return a deviation in units of the usual noise; one wild bucket counts no more than five of them."""
        if bucket.deviation is None or self._scale is None:
            return None
        return max(-_CLIP, min(_CLIP, bucket.deviation / self._scale))

    def _follow(self, at: float) -> None:
        """Let a shift be confirmed, or end: when two buckets are back, when none agreed, when it has become usual."""
        if self.shift is None:
            return
        self.shift.age += 1
        self._confirm()
        is_back = not any(one.is_raised for one in self.kept[-2:])
        is_stale = self.shift.age > _PATIENCE and not self.shift.is_confirmed
        if is_stale or is_back or at - self.shift.at > _USUAL_AFTER_DAYS * _DAY:
            self.shift = None

    def _confirm(self) -> None:
        if self.shift is not None:
            self.shift.is_confirmed |= all(one.is_raised for one in self.kept[-2:])

    @property
    def severity(self) -> Severity:
        """How severe the shift is now; trends are not asked."""
        if self._scale is None:
            return "no_data"
        return "none" if self.shift is None else "critical" if self.shift.is_confirmed else "warning"

    def signals(self, *, limit: float | None = None) -> tuple[Signal, Signal]:
        """Return what the stream shows now: its shift and its trend; with a limit, the days until that is reached."""
        return self._shift_signal(), self._trend_signal(limit)

    def _shift_signal(self) -> Signal:
        newest = self.kept[-1] if self.kept else None
        if newest is None or newest.deviation is None:
            return Signal(measure="shift", severity=self.severity, statistic=None, count=len(self.kept))
        return Signal(
            measure="shift",
            severity=self.severity,
            statistic=math.exp(newest.deviation),
            count=len(self.kept),
            p=DELTA if self.shift else None,
            before=math.exp(newest.level - newest.deviation),
            after=math.exp(newest.level),
        )

    def _trend_signal(self, limit: float | None) -> Signal:
        if self._scale is None:
            return Signal(measure="trend", severity="no_data", statistic=None, count=len(self.kept))
        from scipy import stats

        window = self.kept[-TREND_BUCKETS:]
        days, levels = [one.at / _DAY for one in window], [one.level for one in window]
        slope, _, low, high = (float(one) for one in stats.theilslopes(levels, days, alpha=TREND_CONFIDENCE))
        now = statistics.median(levels[-_PATIENCE:])
        rise = slope * (days[-1] - days[0])
        left = None if limit is None else math.log(limit) - now
        return Signal(
            measure="trend",
            severity="warning" if low > 0 and rise >= LEAST_RISE else "none",
            statistic=math.expm1(slope),
            count=len(window),
            p=float(stats.kendalltau(days, levels).pvalue),
            before=math.exp(now - rise),
            after=math.exp(now),
            exhaustion=None if left is None else forecast(left, slope, low=low, high=high),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the whole state as JSON; `from_json` goes on from it exactly."""
        return {
            "kept": [[one.at, one.level, one.deviation] for one in self.kept],
            "shift": asdict(self.shift) if self.shift else None,
            "pending": list(self._pending),
            "scale": self._scale,
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Return the state that was stored."""
        found = cls()
        found.kept = [Kept(*one) for one in state["kept"]]
        found.shift = Shift(**state["shift"]) if state["shift"] else None
        found._pending = (state["pending"][0], state["pending"][1])
        found._scale = state["scale"]
        return found


def _expected(kept: Sequence[Kept], at: float) -> float | None:
    """Return the median of the same hour of the last days, or of all hours where few are the same; None for too few."""
    if not kept or at - kept[0].at < _LEAST_DAYS * _DAY:
        return None
    levels = list(_same_hour(kept, at))
    if len(levels) < _LEAST_DAYS:
        levels = [one.level for one in kept[bisect_left(kept, at - _MEMORY_DAYS * _DAY, key=_at) :]]
    return statistics.median(levels) if levels else None


def _same_hour(kept: Sequence[Kept], at: float) -> Iterator[float]:
    """Yield the level at the same hour of each of the last days, as far as there is one."""
    days = min(_MEMORY_DAYS, int((at - kept[0].at + _HOUR / 2) // _DAY))
    for day in range(1, days + 1):
        wanted = at - day * _DAY
        place = bisect_left(kept, wanted - _HOUR / 2, key=_at)
        if place < len(kept) and kept[place].at < wanted + _HOUR / 2:
            yield kept[place].level


def _at(bucket: Kept) -> float:
    return bucket.at


def _noise(deviations: Sequence[float]) -> float:
    """Return the usual noise, by the median of the distances, which a few wild buckets do not move."""
    middle = statistics.median(deviations)
    return max(1e-6, 1.4826 * statistics.median(abs(one - middle) for one in deviations))
