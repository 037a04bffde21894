"""Rates: whether more events are bad than the objective allows, bucket by bucket.

It is a bet on the events themselves, against "at most the allowed share is bad" (`graduation.evidence`): on a stream
that keeps its objective it becomes critical in at most one life of a thousand, however often it is asked, at any
traffic. What one bucket can win is bounded, so that it takes two that agree: a burst within a single bucket is no
drift. Once it is critical the bet begins anew, and the signal stays for three times as long as the bet took: it ends by
itself when the stream is well again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Self

from graduation import intervals
from graduation.evidence import Evidence
from graduation.observe.drift import Forecast, Severity, Signal, forecast

CRITICAL, WARNING = 1000.0, 20.0
"""The e-values from which a signal is critical, or a warning."""
ODDS = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
ONE_BUCKET = math.sqrt(CRITICAL)
"""By how much one bucket multiplies the e-value at most."""
LEAST_HOLD = 8
RECENT = 8
"""How many buckets the present rate is taken from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What is known of a stream of events: the bet, for how many buckets it has won, and the newest buckets."""

    evidence: Evidence
    rising: int = 0
    hold: int = 0
    shown: float = 0.0
    """The e-value that made the signal critical, while it is held."""
    recent: tuple[tuple[int, int], ...] = ()

    @classmethod
    def begin(cls, objective: float) -> Self:
        """Begin with an objective such as 0.999: one event in a thousand may be bad."""
        return cls(evidence=Evidence.above(1 - objective, ODDS))

    def observe(self, bad: int, total: int) -> Self:
        """Return what is known after one more bucket; an empty one teaches nothing."""
        if not total:
            return self
        evidence = self.evidence.observe(bad, total, at_most=ONE_BUCKET)
        rising = self.rising + 1 if evidence.log_e > 0 else 0
        recent = (*self.recent, (bad, total))[-RECENT:]
        if evidence.log_e >= math.log(CRITICAL):
            fresh = Evidence.above(evidence.target, evidence.odds)
            return replace(
                self, evidence=fresh, rising=0, hold=3 * max(rising, LEAST_HOLD), shown=evidence.e, recent=recent
            )
        return replace(self, evidence=evidence, rising=rising, hold=max(0, self.hold - 1), recent=recent)

    @property
    def e(self) -> float:
        """The e-value in force: of the bet that became critical while that is held, else of the present one."""
        return max(self.shown, self.evidence.e) if self.hold else self.evidence.e

    @property
    def severity(self) -> Severity:
        """How severe it is now."""
        if not self.recent:
            return "no_data"
        return "critical" if self.e >= CRITICAL else "warning" if self.e >= WARNING else "none"

    def signal(self, *, bucket: timedelta, left: float) -> Signal:
        """Return what the stream shows, given how long a bucket is and how many bad events its budget has left."""
        bad, total = (sum(column) for column in zip(*self.recent, strict=True)) if self.recent else (0, 0)
        rate = bad / total if total else None
        return Signal(
            measure="rate",
            severity=self.severity,
            statistic=rate,
            count=total,
            e=self.e,
            p=min(1.0, 1 / self.e),
            before=self.evidence.target,
            after=rate,
            exhaustion=self._exhaustion(bad, total, bucket, left) if total else None,
        )

    def _exhaustion(self, bad: int, total: int, bucket: timedelta, left: float) -> Forecast:
        """Return when the budget is used up; a rate that is allowed gives back as much as it takes, and never does."""
        ends = intervals.exact(bad, total)
        a_day = total / (len(self.recent) * bucket / timedelta(days=1))
        rates = [share if share > self.evidence.target else 0.0 for share in (bad / total, ends.low, ends.high)]
        return forecast(left, rates[0] * a_day, low=rates[1] * a_day, high=rates[2] * a_day)

    def as_json(self) -> dict[str, Any]:
        """Return the whole state as JSON; `from_json` goes on from it exactly."""
        return {
            "evidence": self.evidence.as_json(),
            "rising": self.rising,
            "hold": self.hold,
            "shown": self.shown,
            "recent": [list(one) for one in self.recent],
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Return the state that was stored."""
        evidence = Evidence.from_json(state["evidence"])
        recent = tuple((bad, total) for bad, total in state["recent"])
        return cls(**{**state, "evidence": evidence, "recent": recent})
