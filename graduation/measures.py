"""Measures of what an agent decides: how often it was reversed, sure and wrong, right when audited, well calibrated.

All are counts first, so that nothing seen is not the same as nothing wrong, and each share comes with its interval. An
escalation is an abstention: whoever asks is neither right nor wrong, so escalated decisions stand on neither side of a
reversal rate and have bounds of their own, for an agent that asks always is as useless as one that never does.

An interval tells how near a target is; it is of one look. That an agent must fall is said by `evidence` alone.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from execution.exceptions import OptionInvalid
from graduation import intervals
from graduation.intervals import Interval

State = Literal["healthy", "marginal", "breach", "no_data"]
Severity = Literal["low", "high", "critical"]

SURE = 0.9
"""From this confidence on an agent was sure of a decision."""
HIGH_AFTER, CRITICAL_AFTER = 2.0, 5.0
"""How much of the error allowance must be used for a breach to be high, or critical."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision and what became of it: 1 good, 0 bad, between them partly, None not known yet."""

    action: str
    outcome: float | None = None
    confidence: float | None = None
    is_reversed: bool = False
    is_audited: bool = False
    segment: str = ""
    item: str = ""
    """What was decided about: the same item may be decided repeatedly."""
    at: datetime | None = None
    """When its outcome became known, or else when it was made."""

    @property
    def is_escalated(self) -> bool:
        """Whether it was left to somebody else."""
        return self.action in {"escalate", "defer"}

    @property
    def is_judged(self) -> bool:
        """Whether the agent decided itself, and the outcome is known."""
        return not self.is_escalated and self.outcome is not None

    @property
    def is_wrong(self) -> bool:
        """Whether it is known to have come out more bad than good."""
        return self.outcome is not None and self.outcome < 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """So many of so many, with the interval in which the true share may well lie."""

    hits: int
    total: int

    @classmethod
    def of(cls, decisions: Iterable[Decision], is_hit: Callable[[Decision], bool]) -> Share:
        """Count decisions."""
        marks = [is_hit(decision) for decision in decisions]
        return cls(hits=sum(marks), total=len(marks))

    @property
    def value(self) -> float | None:
        """The share that was seen; None where nothing was."""
        return self.hits / self.total if self.total else None

    @property
    def interval(self) -> Interval:
        """Wilson's interval at 95 %."""
        return intervals.wilson(self.hits, self.total)


def reversals(decisions: Iterable[Decision]) -> Share:
    """Return how many of the decisions with a known outcome were reversed."""
    return Share.of((one for one in decisions if one.is_judged), lambda one: one.is_reversed)


def sure_failures(decisions: Iterable[Decision], sure: float = SURE) -> Share:
    """Return how many of the decisions of which the agent was sure came out bad."""
    return Share.of((one for one in decisions if one.is_judged and (one.confidence or 0) >= sure), _is_wrong)


def audited_accuracy(decisions: Iterable[Decision]) -> Share:
    """Return how many of the audited decisions were right: the one figure that silence does not flatter."""
    return Share.of((one for one in decisions if one.is_judged and one.is_audited), lambda one: not one.is_wrong)


def outcomes(decisions: Iterable[Decision]) -> Share:
    """Return how many of the decisions with a known outcome held."""
    return Share.of((one for one in decisions if one.is_judged), lambda one: not one.is_wrong)


def escalations(decisions: Iterable[Decision]) -> Share:
    """Return how many of all decisions were left to somebody else."""
    return Share.of(decisions, lambda one: one.is_escalated)


def by_segment(decisions: Iterable[Decision], measure: Callable[[Iterable[Decision]], Share]) -> dict[str, Share]:
    """Return a measure for each segment, so that one bad segment does not hide in a good whole."""
    ordered = sorted(decisions, key=lambda one: one.segment)
    return {name: measure(list(group)) for name, group in itertools.groupby(ordered, key=lambda one: one.segment)}


def stability(repeated: Iterable[tuple[Hashable, str]]) -> Share:
    """Return how many pairs of decisions on the same item agree, given (item, action) for items decided repeatedly."""
    alike = Counter(repeated)
    items: Counter[Hashable] = Counter()
    for (item, _), count in alike.items():
        items[item] += count
    agree, pairs = (sum(math.comb(count, 2) for count in counts.values()) for counts in (alike, items))
    return Share(hits=agree, total=pairs)


# Calibration: whether an agent that says 0.8 is right in eight of ten


def signal(confidence: float, outcome: float) -> float:
    """Return the calibration signal of one decision: how far what it said was from what came."""
    return abs(confidence - outcome)


def brier(decisions: Iterable[Decision]) -> float | None:
    """Return the mean squared distance of confidence and outcome: 0 is perfect, 0.25 is what always saying 0.5 gets."""
    pairs = _pairs(decisions)
    return math.fsum((said - came) ** 2 for said, came in pairs) / len(pairs) if pairs else None


def calibration_error(decisions: Iterable[Decision], bins: int = 10) -> float | None:
    """Return the expected calibration error: the mean distance of confidence and outcome over equally wide bins."""
    pairs = sorted((min(int(said * bins), bins - 1), said - came) for said, came in _pairs(decisions))
    binned = itertools.groupby(pairs, key=lambda pair: pair[0])
    return math.fsum(abs(math.fsum(gap for _, gap in group)) for _, group in binned) / len(pairs) if pairs else None


# Against a target


def state(share: Share, at_most: float) -> State:
    """Return how a share stands to the most that it may be; where the interval holds the target it is marginal."""
    _check_target(at_most)
    if not share.total:
        return "no_data"
    within = share.interval
    return "healthy" if within.high <= at_most else "breach" if within.low > at_most else "marginal"


def state_between(share: Share, low: float, high: float) -> State:
    """Return how a share stands to its two bounds, as an escalation share has them."""
    if not 0 <= low < high <= 1:
        raise OptionInvalid(f"the bounds of a share are {low!r} and {high!r}; they are from 0 to 1, the lower first")
    if not share.total:
        return "no_data"
    within = share.interval
    if low <= within.low and within.high <= high:
        return "healthy"
    return "breach" if within.high < low or within.low > high else "marginal"


def severity(share: Share, at_most: float) -> Severity:
    """Return how severe a breach is, by how much of the error allowance is used: 2 is twice as many as allowed."""
    _check_target(at_most)
    used = round((share.value or 0) / at_most, 9)
    return "low" if used < HIGH_AFTER else "high" if used < CRITICAL_AFTER else "critical"


def _is_wrong(decision: Decision) -> bool:
    return decision.is_wrong


def _pairs(decisions: Iterable[Decision]) -> Sequence[tuple[float, float]]:
    """Return confidence and outcome of the decisions that have both; what expired or was escalated has not."""
    return [
        (one.confidence, one.outcome)
        for one in decisions
        if not one.is_escalated and one.confidence is not None and one.outcome is not None
    ]


def _check_target(at_most: float) -> None:
    if not 0 < at_most < 1:
        raise OptionInvalid(f"a target is {at_most!r}; it is a share between 0 and 1 of what may go wrong")
