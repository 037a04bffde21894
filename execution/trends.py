"""Trends: how many runs were opened and ended, how long they took and what was spent, over the last two weeks.

Once a minute a cycle keeps a sample of the totals that `execution.metrics` folds from the log; the hot path does
nothing for it. The samples rise, so that the difference of any two tells what happened in between, and older ones may
be thinned: every minute for two hours, every quarter of an hour for two days, every two hours for two weeks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from django.utils import timezone

from execution.cycles import Cycle
from execution.models import CycleState

NAME = "execution.trends"
FOLD_SECONDS = 10.0
PERIOD = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """How far back one looks, and in what steps."""

    name: str
    title: str
    step: timedelta
    reach: timedelta


SPANS = (
    Span(name="hours", title="2 hours", step=timedelta(minutes=1), reach=timedelta(hours=2)),
    Span(name="days", title="2 days", step=timedelta(minutes=15), reach=timedelta(days=2)),
    Span(name="weeks", title="2 weeks", step=timedelta(hours=2), reach=timedelta(days=14)),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """The totals at one moment; stored as a list in this order."""

    at: float
    opened: int
    completed: int
    failed: int
    cancelled: int
    cost: str
    tokens: int
    lengths: Sequence[float]
    """How many runs took how long: by bucket, those above all bounds, and the sum of seconds."""

    @classmethod
    def of(cls, row: Sequence[Any]) -> Sample:
        """Read a sample as it was stored."""
        at, opened, completed, failed, cancelled, cost, tokens, lengths = row
        return cls(at, opened, completed, failed, cancelled, cost, tokens, tuple(lengths))

    def stored(self) -> list[Any]:
        """Return it as JSON."""
        return list(astuple(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What happened between two samples, for one minute of it; the lengths are seconds that half, and 95 %, kept."""

    at: datetime
    opened: float
    completed: float
    failed: float
    median: float | None
    most: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """What has happened since a moment."""

    since: datetime
    opened: int
    completed: int
    failed: int
    cost: Decimal
    tokens: int


def samples() -> list[Sample]:
    """Return what is kept, the oldest first."""
    state = CycleState.objects.filter(pk=NAME).values_list("state", flat=True).first() or {}
    return [Sample.of(row) for row in state.get("samples", [])]


def points(kept: Iterable[Sample], span: Span, now: datetime | None = None) -> list[Point]:
    """Return what happened, step by step."""
    edge = ((now or timezone.now()) - span.reach - span.step).timestamp()
    chosen = thinned((one for one in kept if one.at >= edge), span.step)
    return [_between(before, after) for before, after in pairwise(chosen) if after.at > before.at]


def since(kept: Sequence[Sample], moment: datetime) -> Happened | None:
    """Return what happened since a moment, or since the first sample where that is later; None without two samples."""
    if len(kept) < 2:
        return None
    first = next((one for one in reversed(kept) if one.at <= moment.timestamp()), kept[0])
    last = kept[-1]
    return Happened(
        since=max(moment, datetime.fromtimestamp(first.at, UTC)),
        opened=max(last.opened - first.opened, 0),
        completed=max(last.completed - first.completed, 0),
        failed=max(last.failed - first.failed, 0),
        cost=max(Decimal(last.cost) - Decimal(first.cost), Decimal(0)),
        tokens=max(last.tokens - first.tokens, 0),
    )


def today() -> Happened | None:
    """Return what happened since midnight where the reader is."""
    return since(samples(), timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0))


def thinned(kept: Iterable[Sample], step: timedelta) -> list[Sample]:
    """Return the last sample of each step of time."""
    seconds = step.total_seconds()
    return list({int(one.at // seconds): one for one in kept}.values())


def keep(kept: Sequence[Sample], latest: Sample) -> list[Sample]:
    """Return what is kept once there is another: the finer, the nearer."""
    left, found = [*kept, latest], [latest]
    for nearer, span in zip((None, *SPANS), SPANS, strict=False):
        youngest = latest.at - nearer.reach.total_seconds() if nearer else latest.at + 1
        within = [one for one in left if latest.at - span.reach.total_seconds() <= one.at < youngest]
        found += thinned(within, span.step)
    return sorted(set(found), key=lambda one: one.at)


def sample(now: datetime | None = None) -> Sample:
    """Fold what the log holds by now, and return the totals."""
    from execution import metrics

    totals = metrics.fold(FOLD_SECONDS)
    completed, failed, cancelled = (sum(found.get(state, 0) for found in totals.runs.values()) for state in _ENDINGS)
    lengths = tuple(sum(column) for column in zip(*totals.run_seconds.values(), strict=True))
    moment, opened = (now or timezone.now()).timestamp(), sum(totals.opened.values())
    return Sample(moment, opened, completed, failed, cancelled, str(totals.cost), totals.tokens, lengths)


_ENDINGS = ("completed", "failed", "cancelled")


def _pass(state: dict[str, Any]) -> int:
    kept = [Sample.of(row) for row in state.get("samples", [])]
    state["samples"] = [one.stored() for one in keep(kept, sample())]
    return 1


def _between(before: Sample, after: Sample) -> Point:
    minutes = (after.at - before.at) / 60
    former = before.lengths or [0.0] * len(after.lengths)
    lengths = [max(late - early, 0) for early, late in zip(former, after.lengths, strict=True)]
    return Point(
        at=datetime.fromtimestamp(after.at, UTC),
        opened=max(after.opened - before.opened, 0) / minutes,
        completed=max(after.completed - before.completed, 0) / minutes,
        failed=max(after.failed - before.failed, 0) / minutes,
        median=share_within(lengths, 0.5),
        most=share_within(lengths, 0.95),
    )


def share_within(lengths: Sequence[float], share: float) -> float | None:
    """Return within how many seconds so large a share ended, as far as the buckets tell."""
    from execution.metrics import WORKFLOW_BUCKETS

    counts = lengths[:-1]
    wanted, passed, lower = sum(counts) * share, 0.0, 0.0
    if not wanted:
        return None
    for bound, count in zip(WORKFLOW_BUCKETS, counts, strict=False):
        if count and passed + count >= wanted:
            return lower + (bound - lower) * (wanted - passed) / count
        passed, lower = passed + count, bound
    return lower


SAMPLE = Cycle(name=NAME, period=PERIOD, step=_pass, is_atomic=False)
