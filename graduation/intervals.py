"""Intervals of a share: between which values it may well lie, given so many of so many.

Wilson's is short, and its coverage near what it says; the exact one (Clopper and Pearson) covers at least that much.
Both are of one look at a fixed count: who looks after each outcome and stops when it pleases wants `evidence`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from execution.exceptions import OptionInvalid
from graduation.exceptions import ExtraMissing

CONFIDENCE = 0.95
_Method = Literal["wilson", "exact"]
_Side = Literal["two-sided", "greater", "less"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """From where to where a share may well lie."""

    low: float
    high: float

    def __contains__(self, share: float) -> bool:
        return self.low <= share <= self.high


def wilson(hits: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """Return Wilson's interval, bounded on both sides; of nothing seen, everything is possible."""
    return _interval(hits, total, confidence, "wilson", "two-sided")


def exact(hits: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """Return the exact interval of Clopper and Pearson, bounded on both sides."""
    return _interval(hits, total, confidence, "exact", "two-sided")


def wilson_lower(hits: int, total: int, confidence: float = CONFIDENCE) -> float:
    """Return Wilson's one-sided lower bound: the share is at least this, so surely."""
    return _interval(hits, total, confidence, "wilson", "greater").low


def wilson_upper(hits: int, total: int, confidence: float = CONFIDENCE) -> float:
    """Return Wilson's one-sided upper bound: the share is at most this, so surely."""
    return _interval(hits, total, confidence, "wilson", "less").high


def exact_lower(hits: int, total: int, confidence: float = CONFIDENCE) -> float:
    """Return the exact one-sided lower bound."""
    return _interval(hits, total, confidence, "exact", "greater").low


def exact_upper(hits: int, total: int, confidence: float = CONFIDENCE) -> float:
    """Return the exact one-sided upper bound."""
    return _interval(hits, total, confidence, "exact", "less").high


def _interval(hits: int, total: int, confidence: float, method: _Method, side: _Side) -> Interval:
    if not 0 <= hits <= total:
        raise OptionInvalid(f"{hits!r} of {total!r} is no share: give how many were seen, and how many of them count")
    if not 0 < confidence < 1:
        raise OptionInvalid(f"a confidence is between 0 and 1, such as 0.95, not {confidence!r}")
    if not total:
        return Interval(low=0.0, high=1.0)
    try:
        from scipy import stats
    except ModuleNotFoundError as error:
        raise ExtraMissing("an interval needs scipy: pip install 'celeriac[graduation]'") from error
    found = stats.binomtest(hits, total, alternative=side).proportion_ci(confidence, method=method)
    return Interval(low=float(found.low), high=float(found.high))
