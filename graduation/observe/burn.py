"""Burn: how much of an error budget is used, and how fast, from counts of good and all events by the minute.

An objective of 99.9 % allows one event in a thousand to be bad; so many of a period's events are its budget. A burn
rate of 1 uses up the budget in just one period. Nothing seen and nothing bad are different things: of nothing seen
there is neither a share nor a rate (None), and the status is `no_data`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from execution.exceptions import OptionInvalid

Status = Literal["exhausted", "critical", "warning", "healthy", "no_data", "error"]
Urgency = Literal["page", "ticket"]

STATUSES: tuple[Status, ...] = ("exhausted", "critical", "warning", "healthy", "no_data", "error")
LEAST_TOTAL, LEAST_BAD = 10, 3
"""A pair of windows speaks only from so many events on, and so many bad ones."""
OUTAGE_BAD, OUTAGE_SHARE = 10, 0.02
"""The absolute rule: so many bad events, and such a share of the budget."""
_REFERENCE = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many events there were, and how many of them were good."""

    good: int = 0
    total: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.good <= self.total:
            raise OptionInvalid(f"{self.good!r} good events of {self.total!r}: count all, and the good among them")

    @property
    def bad(self) -> int:
        """How many were bad."""
        return self.total - self.good

    def __add__(self, other: Counts) -> Counts:
        return Counts(good=self.good + other.good, total=self.total + other.total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """The counts of one minute."""

    start_at: datetime
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A long window that says how much is burnt, a short one that says it still is, and the rate for both to pass."""

    rate: float
    long: timedelta
    short: timedelta
    urgency: Urgency


@dataclass(frozen=True, slots=True, kw_only=True)
class Burn:
    """What a pair of windows shows; a rate is None where nothing was seen."""

    pair: Pair
    long_rate: float | None
    short_rate: float | None
    is_alarming: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What the absolute rule shows, for traffic that is too low for a short window to hold anything."""

    window: timedelta
    counts: Counts
    rate: float | None
    budget_share: float | None
    is_alarming: bool

    @property
    def urgency(self) -> Urgency:
        """As urgent as a pair with the same long window, so that it pages no sooner where traffic is high."""
        return "page" if (self.rate or 0) > _PAIRS[1].rate else "ticket"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All that an objective's counts show at one moment."""

    status: Status
    counts: Counts
    consumed: float | None
    burns: tuple[Burn, ...]
    outage: Outage

    @property
    def urgency(self) -> Urgency | None:
        """How urgent the most urgent alarm is, if there is one."""
        found = {burn.pair.urgency for burn in self.burns if burn.is_alarming}
        found |= {self.outage.urgency} if self.outage.is_alarming else set()
        return min(found, default=None)


_PAIRS = (
    Pair(rate=14.4, long=timedelta(hours=1), short=timedelta(minutes=5), urgency="page"),
    Pair(rate=6.0, long=timedelta(hours=6), short=timedelta(minutes=30), urgency="page"),
    Pair(rate=3.0, long=timedelta(days=1), short=timedelta(hours=2), urgency="ticket"),
    Pair(rate=1.0, long=timedelta(days=3), short=timedelta(hours=6), urgency="ticket"),
)


def pairs(period: timedelta = _REFERENCE) -> tuple[Pair, ...]:
    """Return the pairs of windows for a period; they scale with it, and no window is shorter than a minute."""
    return tuple(
        Pair(rate=pair.rate, long=_scaled(pair.long, period), short=_scaled(pair.short, period), urgency=pair.urgency)
        for pair in _PAIRS
    )


def read(buckets: Iterable[Bucket], objective: float, *, now: datetime, period: timedelta = _REFERENCE) -> Reading:
    """Return what the buckets of a period show now; buckets of before it or after now are left out."""
    seen = [bucket for bucket in buckets if now - period <= bucket.start_at < now]
    counts = total(seen)
    return Reading(
        status=status(consumed(counts, objective)),
        counts=counts,
        consumed=consumed(counts, objective),
        burns=tuple(_burn(pair, seen, objective, now) for pair in pairs(period)),
        outage=_outage(seen, objective, now, _scaled(timedelta(hours=6), period)),
    )


def total(buckets: Iterable[Bucket]) -> Counts:
    """Return all counts together."""
    return sum((bucket.counts for bucket in buckets), Counts())


def since(buckets: Sequence[Bucket], start_at: datetime) -> Counts:
    """Return what was counted from a moment on."""
    return total(bucket for bucket in buckets if bucket.start_at >= start_at)


def budget(counts: Counts, objective: float) -> float:
    """Return how many of these events may be bad."""
    if not 0 < objective < 1:
        raise OptionInvalid(f"an objective is a share between 0 and 1, such as 0.999, not {objective!r}")
    return counts.total * (1 - objective)


def consumed(counts: Counts, objective: float) -> float | None:
    """Return the share of the budget that is used, 1 when it just is; over a window, this is its burn rate."""
    allowed = budget(counts, objective)
    return counts.bad / allowed if counts.total else None


def status(share: float | None) -> Status:
    """Return the status of an objective that has used such a share of its budget."""
    if share is None:
        return "no_data"
    share = round(share, 9)
    return "exhausted" if share >= 1 else "critical" if share >= 0.8 else "warning" if share >= 0.5 else "healthy"


def worst(statuses: Iterable[Status]) -> Status:
    """Return the worst of several statuses: what is wrong goes before what is unknown, that before healthy."""
    order: tuple[Status, ...] = ("exhausted", "critical", "warning", "error", "no_data", "healthy")
    return min(statuses, key=order.index, default="no_data")


def by_minute(events: Iterable[tuple[datetime, bool]]) -> Iterator[Bucket]:
    """Count events, each with its time and whether it was good, by the minute; they come in order of time."""
    minutes = itertools.groupby(events, key=lambda event: event[0].replace(second=0, microsecond=0))
    for start_at, group in minutes:
        marks = [is_good for _, is_good in group]
        yield Bucket(start_at=start_at, counts=Counts(good=sum(marks), total=len(marks)))


def _scaled(window: timedelta, period: timedelta) -> timedelta:
    if period <= timedelta():
        raise OptionInvalid(f"an objective's period is {period}; it is longer than nothing, usually 30 days")
    return max(timedelta(minutes=1), window * (period / _REFERENCE))


def _burn(pair: Pair, buckets: Sequence[Bucket], objective: float, now: datetime) -> Burn:
    long, short = since(buckets, now - pair.long), since(buckets, now - pair.short)
    rates = [consumed(counts, objective) for counts in (long, short)]
    is_heard = long.total >= LEAST_TOTAL and long.bad >= LEAST_BAD
    return Burn(
        pair=pair,
        long_rate=rates[0],
        short_rate=rates[1],
        is_alarming=is_heard and all(rate is not None and round(rate, 9) > pair.rate for rate in rates),
    )


def _outage(buckets: Sequence[Bucket], objective: float, now: datetime, window: timedelta) -> Outage:
    counts, allowed = since(buckets, now - window), budget(total(buckets), objective)
    share = counts.bad / allowed if allowed else None
    return Outage(
        window=window,
        counts=counts,
        rate=consumed(counts, objective),
        budget_share=share,
        is_alarming=counts.bad >= OUTAGE_BAD and share is not None and round(share, 9) >= OUTAGE_SHARE,
    )
