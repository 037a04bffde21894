"""Attempts and runs: what the ledger's log says of their endings, counted by minute, each exactly once.

The log is read by cursor, and the cursor is stored in the transaction that stores the counts: whatever is killed, and
however late an event becomes visible, it is counted once, in the minute in which it happened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from execution import events, ledger, skills
from execution.models import Event
from graduation.models import Objective, ObjectiveState, Origin
from graduation.observe import buckets
from graduation.observe.buckets import Minute
from graduation.observe.indicators import OfLedger

READER = "graduation.collect"
BATCH = 1000
BATCHES_MOST = 100
_ENDINGS = {f"step.{one}" for one in ("completed", "skipped", "suspended", "failed", "retrying", "parked", "cancelled")}
_RUN_ENDINGS = {"run.completed": "completed", "run.failed": "failed", "run.cancelled": "cancelled"}

_ATTEMPTS = """
    SELECT e.at, t.ending, s.skill, a.name AS agent, r.workflow,
           extract(epoch FROM t.ended_at - t.started_at)::float8 AS seconds, t.cost::float8 AS cost, t.tokens
    FROM unnest(%s::uuid[], %s::int[], %s::timestamptz[]) AS e(step_id, epoch, at)
    JOIN execution_attempt t ON t.step_id = e.step_id AND t.epoch = e.epoch
    JOIN execution_step s ON s.id = e.step_id
    LEFT JOIN execution_run r ON r.id = s.run_id
    LEFT JOIN execution_agent a ON a.id = s.agent_id"""
_RUNS = """
    SELECT e.at, e.ending, r.workflow AS skill, a.name AS agent, r.workflow,
           extract(epoch FROM r.ended_at - r.started_at)::float8 AS seconds, r.spent_cost::float8 AS cost,
           r.spent_tokens AS tokens
    FROM unnest(%s::uuid[], %s::text[], %s::timestamptz[]) AS e(run_id, ending, at)
    JOIN execution_run r ON r.id = e.run_id
    LEFT JOIN execution_agent a ON a.id = r.agent_id"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """How one attempt or run ended, when, and what it took."""

    count: str
    at: datetime
    ending: str
    subjects: tuple[str, ...]
    seconds: float | None
    cost: float
    tokens: float

    def took(self, measure: str) -> float | None:
        """Return what it took by a measure."""
        return {"seconds": self.seconds, "cost": self.cost, "tokens": self.tokens}[measure]


def collect() -> int:
    """Count what the log says since the last time, at most so many batches; returns how many events were read."""
    total = 0
    for _ in range(BATCHES_MOST):
        began_at = timezone.now()
        count = events.consume(READER, count_events, limit=BATCH)
        total += count
        if count < BATCH:
            _note_known(began_at)
            break
    return total


def count_events(batch: list[Event]) -> None:
    """Count some events, in the transaction that moves the cursor."""
    wanted: dict[str, list[tuple[str, OfLedger]]] = defaultdict(list)
    for objective in Objective.objects.filter(origin=Origin.LEDGER, is_enabled=True):
        indicator = OfLedger.model_validate(objective.indicator)
        wanted[indicator.of].append((objective.pk, indicator))
    if wanted:
        buckets.add(_minutes(_facts(batch), wanted))
    _note_known(max(event.at for event in batch))


def _note_known(moment: datetime) -> None:
    """Note up to when the log was read; what a concurrent pass has noted is not taken back."""
    of_ledger = Objective.objects.filter(origin=Origin.LEDGER, is_enabled=True).values("pk")
    states = ObjectiveState.objects.filter(objective_id__in=of_ledger)
    (states.filter(data_at__lt=moment) | states.filter(data_at=None)).update(data_at=moment)


def _minutes(facts: Iterable[Fact], wanted: dict[str, list[tuple[str, OfLedger]]]) -> list[Minute]:
    found: dict[tuple[str, datetime], list[float]] = defaultdict(lambda: [0, 0, 0.0])
    measured: set[str] = set()
    for fact in facts:
        for name, indicator in (one for subject in fact.subjects for one in wanted.get(subject, ())):
            if fact.count != indicator.count or fact.ending not in indicator.counted:
                continue
            value = None if indicator.measure is None else fact.took(indicator.measure)
            if indicator.measure is not None and value is None:
                continue
            place = found[name, buckets.minute_of(fact.at)]
            place[0] += _is_good(indicator, fact, value)
            place[1] += 1
            place[2] += value or 0.0
            measured |= {name} if value is not None else set()
    return [
        Minute(objective=name, at=at, good=int(good), total=int(total), sum_=sum_ if name in measured else None)
        for (name, at), (good, total, sum_) in found.items()
    ]


def _is_good(indicator: OfLedger, fact: Fact, value: float | None) -> bool:
    if indicator.threshold is not None and value is not None:
        return indicator.threshold.holds(value)
    return fact.ending in indicator.good


def _facts(batch: list[Event]) -> Iterator[Fact]:
    attempts = {(event.step_id, event.epoch): event.at for event in batch if _ends_attempt(event)}
    if attempts:
        keys = [[step for step, _ in attempts], [epoch for _, epoch in attempts], list(attempts.values())]
        yield from _as_facts("attempts", ledger.ask_in_transaction(_ATTEMPTS, keys))
    runs = [(event.run_id, _RUN_ENDINGS[event.kind], event.at) for event in batch if event.kind in _RUN_ENDINGS]
    if runs:
        yield from _as_facts("runs", ledger.ask_in_transaction(_RUNS, [list(one) for one in zip(*runs, strict=True)]))


def _ends_attempt(event: Event) -> bool:
    """Whether an attempt ended; a poison step fails besides, without another attempt."""
    return event.kind == "step.given_back" or (event.kind in _ENDINGS and bool(event.data.get("attempt")))


def _as_facts(count: str, rows: Iterable[Any]) -> Iterator[Fact]:
    known = skills.all_skills()
    for row in rows:
        called = known[row.skill].options.calls if row.skill in known else ()
        named = dict.fromkeys((f"skill:{row.skill}", f"agent:{row.agent}", f"workflow:{row.workflow}"))
        yield Fact(
            count=count,
            at=row.at,
            ending=row.ending,
            subjects=(*named, *(f"service:{service}" for service in called)),
            seconds=row.seconds,
            cost=row.cost or 0.0,
            tokens=row.tokens or 0,
        )
