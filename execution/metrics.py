"""Prometheus metrics, read from the ledger by the process that is asked for them.

Nothing is counted where steps are performed, so that it makes no difference which process of which pool performed
them. Totals are folded from the log, by cursor, into one row; present figures come from bounded, indexed queries, and
where there is more than a bound they are estimated. Telemetry is write-only: losing it changes no behaviour.
An installed app adds figures of its own by a module `metrics` with PARTS.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import structlog
from django.apps import apps
from django.db import OperationalError, connection, transaction
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from execution import conf, events, upkeep
from execution.models import CycleState, Event, EventReader

log = structlog.get_logger(__name__)

STATE = "execution.metrics"
BATCH = 1000
FOLD_SECONDS = 1.0
COUNTED_MOST = 50_000
NAMES_MOST = 500
OTHER = "other"

SKILL_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
WORKFLOW_BUCKETS = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 48 * 3600, 96 * 3600)

_ENDINGS = frozenset(
    {
        "step.completed",
        "step.skipped",
        "step.suspended",
        "step.failed",
        "step.retrying",
        "step.parked",
        "step.cancelled",
    }
)
_RUN_ENDINGS = {"run.completed": "completed", "run.failed": "failed", "run.cancelled": "cancelled"}

Counts = dict[str, dict[str, int]]


@dataclass(slots=True, kw_only=True)
class Totals:
    """What was folded so far; JSON by `stored` and `of`."""

    opened: dict[str, int] = field(default_factory=dict)
    runs: Counts = field(default_factory=dict)
    run_seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    attempts: Counts = field(default_factory=dict)
    attempt_seconds: dict[str, list[float]] = field(default_factory=dict)
    cost: Decimal = Decimal(0)
    tokens: int = 0
    memory: Counts = field(default_factory=dict)

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Totals:
        """Read totals as they were stored."""
        known = {name: value for name, value in stored.items() if name in cls.__dataclass_fields__}
        return cls(**{**known, "cost": Decimal(known.get("cost", "0"))})

    def stored(self) -> dict[str, Any]:
        """Return the totals as JSON."""
        given = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**given, "cost": str(self.cost)}


def text() -> bytes:
    """Return all metrics in Prometheus's text form."""
    registry = CollectorRegistry()
    registry.register(Ledger())
    return generate_latest(registry)


class Ledger:
    """What a scrape collects."""

    def describe(self) -> list[Metric]:
        """Name nothing ahead: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Return every metric."""
        unwanted = () if conf.current().workflow_metrics else ("celeriac_workflow_",)
        for part in (_totals, _active, _ready_steps, _other_steps, _of_workers, _of_clocks, _of_log):
            yield from (metric for metric in _bounded(part) if not metric.name.startswith(unwanted))
        for part in _parts_of_apps():
            yield from _of_extension(part)


def _bounded(part: Callable[[], Iterator[Metric]]) -> list[Metric]:
    """Return some of the metrics, or none of them where the database takes too long over one."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '2s'")
            return list(part())
    except OperationalError as error:
        connection.ensure_connection()
        log.warning("metrics.left_out", part=part.__name__, error=str(error).strip())
        return []


def _parts_of_apps() -> Iterator[Callable[[], Iterator[Metric]]]:
    for app in apps.get_app_configs():
        if app.name != "execution" and find_spec(f"{app.name}.metrics") is not None:
            yield from getattr(import_module(f"{app.name}.metrics"), "PARTS", ())


def _of_extension(part: Callable[[], Iterator[Metric]]) -> list[Metric]:
    """Return what an app above adds, or none of it where it cannot say: its trouble is not the ledger's."""
    try:
        return _bounded(part)
    except Exception:
        log.exception("metrics.left_out", part=part.__name__)
        return []


def _totals() -> Iterator[Metric]:
    return of_totals(fold())


# Totals, folded from the log


def fold(seconds: float = FOLD_SECONDS) -> Totals:
    """Count what the log holds beyond the cursor, for so long at most; side by side only one does."""
    CycleState.objects.get_or_create(pk=STATE)
    with transaction.atomic():
        row = CycleState.objects.select_for_update(skip_locked=True).filter(pk=STATE).first()
        if row is None:
            return Totals.of(CycleState.objects.get(pk=STATE).state)
        totals, cursor = Totals.of(row.state), events.Cursor.of(row.state.get("cursor", {}))
        ends_at, touched = time.monotonic() + seconds, 0
        while True:
            batch = events.read(cursor, limit=BATCH)
            add(totals, batch.events)
            touched, cursor = touched + len(batch.events), batch.cursor
            if not batch.events or time.monotonic() > ends_at:
                break
        row.state = {**totals.stored(), "cursor": cursor.stored()}
        row.touched_count += touched
        row.save(update_fields=["state", "touched_count"])
        return totals


def add(totals: Totals, found: Sequence[Event]) -> None:
    """Add some events to the totals."""
    closed: dict[uuid.UUID, str] = {}
    for event in found:
        if event.kind == "run.opened":
            _raise(totals.opened, _name(totals.opened, event.data.get("workflow", "")))
        elif event.kind in _RUN_ENDINGS and event.run_id is not None:
            closed[event.run_id] = _add_ending(totals, event)
        elif event.kind == "memory.updated":
            operation = totals.memory.setdefault(event.data.get("operation", ""), {})
            _raise(operation, event.data.get("outcome", ""))
        elif event.kind == "budget.overdrawn":
            totals.cost += Decimal(str(event.data.get("cost") or 0))
            totals.tokens += int(event.data.get("tokens") or 0)
    _add_attempts(totals, sorted({(e.step_id, e.epoch) for e in found if _ends_attempt(e)}))
    _add_durations(totals, closed)


def _add_ending(totals: Totals, event: Event) -> str:
    workflow = _name(totals.runs, event.data.get("workflow", ""))
    _raise(totals.runs.setdefault(workflow, {}), _RUN_ENDINGS[event.kind])
    if event.kind == "run.failed":
        _raise(totals.errors, str((event.data.get("error") or {}).get("kind") or "unknown"))
    return workflow


def _ends_attempt(event: Event) -> bool:
    """Tell whether an attempt ended; a poison step fails besides, without another attempt."""
    return event.kind == "step.given_back" or (event.kind in _ENDINGS and bool(event.data.get("attempt")))


def _add_attempts(totals: Totals, ended: Sequence[tuple[uuid.UUID | None, int | None]]) -> None:
    """Add the attempts that ended; what a lost one spent late is told by an event of its own."""
    if not ended:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.skill, t.ending, extract(epoch FROM t.ended_at - t.started_at)::float8, "
            "t.cost - coalesce(l.cost, 0), t.tokens - coalesce(l.tokens, 0) "
            "FROM unnest(%s::uuid[], %s::int[]) AS e(step_id, epoch) "
            "JOIN execution_attempt t ON t.step_id = e.step_id AND t.epoch = e.epoch "
            "JOIN execution_step s ON s.id = e.step_id "
            "LEFT JOIN LATERAL (SELECT sum(c.cost) AS cost, sum(c.tokens) AS tokens FROM execution_checkpoint c "
            "WHERE c.step_id = t.step_id AND c.token >= 'late:' || t.id || ':' AND c.token < 'late:' || t.id || ';' "
            "AND c.kind = 'late') l ON t.ending IN ('lost', 'crashed')",
            [[step for step, _ in ended], [epoch for _, epoch in ended]],
        )
        for skill, ending, seconds, cost, tokens in cursor.fetchall():
            name = _name(totals.attempts, skill)
            _raise(totals.attempts.setdefault(name, {}), ending or "unknown")
            _observe(totals.attempt_seconds, name, seconds, SKILL_BUCKETS)
            totals.cost += cost
            totals.tokens += int(tokens)


def _add_durations(totals: Totals, closed: dict[uuid.UUID, str]) -> None:
    if not closed:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, extract(epoch FROM ended_at - started_at)::float8 FROM execution_run WHERE id = ANY(%s)",
            [list(closed)],
        )
        for run_id, seconds in cursor.fetchall():
            _observe(totals.run_seconds, closed[run_id], seconds, WORKFLOW_BUCKETS)


def _raise(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def _name(known: dict[str, Any], name: str) -> str:
    """Return a name for a label; beyond so many different ones they are counted together."""
    return name if name in known or len(known) < NAMES_MOST else OTHER


def _observe(kept: dict[str, list[float]], name: str, seconds: float | None, bounds: Sequence[float]) -> None:
    """Add a duration: counts by bucket, then those above all bounds, then the sum."""
    if seconds is None:
        return
    figures = kept.setdefault(name, [0] * (len(bounds) + 1) + [0.0])
    place = next((index for index, bound in enumerate(bounds) if seconds <= bound), len(bounds))
    figures[place] += 1
    figures[-1] += seconds


def of_totals(totals: Totals) -> Iterator[Metric]:
    """Return the totals as metrics."""
    yield counter("celeriac_runs_opened", "Runs opened.", ["workflow"], [((w,), n) for w, n in totals.opened.items()])
    yield counter("celeriac_runs", "Runs ended, by how.", ["workflow", "state"], _pairs(totals.runs))
    yield _histogram(
        "celeriac_workflow_duration_seconds",
        "From a run's first claim to its end, waits included.",
        "workflow",
        totals.run_seconds,
        WORKFLOW_BUCKETS,
    )
    yield counter(
        "celeriac_workflow_errors",
        "Runs failed, by kind of error.",
        ["kind"],
        [((k,), n) for k, n in totals.errors.items()],
    )
    yield counter("celeriac_skill_attempts", "Attempts ended, by how.", ["skill", "ending"], _pairs(totals.attempts))
    yield _histogram(
        "celeriac_skill_duration_seconds",
        "How long attempts took.",
        "skill",
        totals.attempt_seconds,
        SKILL_BUCKETS,
    )
    currency = conf.current().currency
    yield counter(
        "celeriac_cost", f"Money spent by attempts that have ended, in {currency}.", [], [((), float(totals.cost))]
    )
    yield counter("celeriac_tokens", "Tokens spent by attempts that have ended.", [], [((), totals.tokens)])
    yield counter(
        "celeriac_memory_updates",
        "Changes of memories, by how they ended.",
        ["operation", "outcome"],
        _pairs(totals.memory),
    )


def _pairs(counts: Counts) -> list[tuple[tuple[str, ...], float]]:
    return [((first, second), count) for first, found in counts.items() for second, count in found.items()]


def counter(name: str, text: str, labels: list[str], values: Sequence[tuple[tuple[str, ...], float]]) -> Metric:
    """Return one total with its values by label."""
    family = CounterMetricFamily(name, text, labels=labels)
    for given, value in sorted(values):
        family.add_metric(given, value)
    return family


def gauge(name: str, text: str, labels: list[str], values: Sequence[tuple[tuple[str, ...], float]]) -> Metric:
    """Return one present figure with its values by label."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for given, value in sorted(values):
        family.add_metric(given, value)
    return family


def _histogram(name: str, text: str, label: str, kept: dict[str, list[float]], bounds: Sequence[float]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=[label])
    for given, figures in sorted(kept.items()):
        buckets, count = [], 0.0
        for bound, here in zip([*map(str, bounds), "+Inf"], figures[:-1], strict=True):
            count += here
            buckets.append((bound if bound == "+Inf" else str(float(bound)), count))
        family.add_metric([given], buckets, sum_value=figures[-1])
    return family


# Present figures


def counted(source: str, parameters: Sequence[Any] = ()) -> float:
    """Count the rows of a FROM clause; above a bound, by the planner's estimate."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM (SELECT 1 FROM {source} LIMIT %s) x", [*parameters, COUNTED_MOST])  # noqa: S608 - ours
        found = int(cursor.fetchone()[0])
        if found < COUNTED_MOST:
            return found
        cursor.execute(f"EXPLAIN (FORMAT JSON) SELECT 1 FROM {source}", parameters)  # noqa: S608 - ours
        plan = cursor.fetchone()[0]
    plan = json.loads(plan) if isinstance(plan, str) else plan
    return max(found, float(plan[0]["Plan"]["Plan Rows"]))


def _active() -> Iterator[Metric]:
    states = ("pending", "running", "paused", "parked")
    yield gauge(
        "celeriac_workflow_active",
        "Runs that have not ended.",
        ["state"],
        [((state,), counted("execution_run WHERE state = %s", [state])) for state in states],
    )


def _ready_steps() -> Iterator[Metric]:
    yield gauge(
        "celeriac_ready_steps",
        "Steps that may be claimed.",
        ["queue"],
        [((queue,), _ready(queue)) for queue in _queues()],
    )


def _other_steps() -> Iterator[Metric]:
    yield gauge(
        "celeriac_running_steps",
        "Steps being performed.",
        [],
        [((), counted("execution_step WHERE state = 'running'"))],
    )
    yield gauge("celeriac_waiting_steps", "Steps that wait, by reason.", ["reason"], _waiting())


def _ready(queue: str) -> float:
    source = "execution_step WHERE state = 'ready' AND rung_at IS {} AND queue = %s"
    return counted(source.format("NULL"), [queue]) + counted(source.format("NOT NULL"), [queue])


def _queues() -> list[str]:
    """Return the queues that are consumed, and those that hold ready steps, by hopping through the indexes."""
    found: set[str] = set()
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT q FROM execution_worker w, unnest(w.queues) q WHERE w.gone_at IS NULL")
        found.update(row[0] for row in cursor.fetchall())
        for rung in ("NULL", "NOT NULL"):
            source = (
                f"SELECT min(s.queue) AS queue FROM execution_step s WHERE s.state = 'ready' AND s.rung_at IS {rung}"  # noqa: S608 - ours
            )
            cursor.execute(
                f"WITH RECURSIVE hop AS (({source}) UNION ALL SELECT ({source} AND s.queue > hop.queue) "  # noqa: S608 - ours
                "FROM hop WHERE hop.queue IS NOT NULL) SELECT queue FROM hop WHERE queue IS NOT NULL LIMIT 500"
            )
            found.update(row[0] for row in cursor.fetchall())
    return sorted(found)


def _waiting() -> list[tuple[tuple[str, ...], float]]:
    """Return how many steps wait for what; of more than a bound, a part is looked at and scaled up."""
    condition = "state IN ('blocked', 'waiting', 'parked')"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT waiting, count(*) FROM (SELECT CASE WHEN state = 'blocked' THEN 'needs' ELSE waiting END "  # noqa: S608 - ours
            f"AS waiting FROM execution_step WHERE {condition} LIMIT %s) x GROUP BY waiting",
            [COUNTED_MOST],
        )
        rows = [(str(row[0] or "unknown"), float(row[1])) for row in cursor.fetchall()]
    looked_at = sum(count for _, count in rows)
    scale = counted(f"execution_step WHERE {condition}") / looked_at if looked_at >= COUNTED_MOST else 1.0
    return [((reason,), count * scale) for reason, count in rows]


def _of_workers() -> Iterator[Metric]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), coalesce(sum(slot_count), 0), coalesce(sum(free_count), 0) FROM execution_worker "
            "WHERE gone_at IS NULL AND seen_at > clock_timestamp() - interval '10 seconds'"
        )
        count, slots, free = cursor.fetchone()
    yield gauge("celeriac_workers", "Workers seen within ten seconds.", [], [((), count)])
    yield gauge("celeriac_worker_slots", "Their pool slots.", ["use"], [(("free",), free), (("busy",), slots - free)])


def _of_clocks() -> Iterator[Metric]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0)::float8 FROM (SELECT due_at "
            "FROM execution_timer WHERE fired_at IS NULL AND cancelled_at IS NULL AND due_at <= clock_timestamp() "
            "ORDER BY due_at, id LIMIT 1) t"
        )
        lateness = cursor.fetchone()[0]
        cursor.execute(
            "SELECT name, extract(epoch FROM clock_timestamp() - ticked_at)::float8, error_count "
            "FROM execution_cyclestate WHERE ticked_at IS NOT NULL"
        )
        cycles = cursor.fetchall()
    ages = {name: age for name, age, _ in cycles}
    yield gauge(
        "celeriac_timer_lateness_seconds",
        "Age of the oldest timer that is due and has not fired.",
        [],
        [((), lateness)],
    )
    yield gauge(
        "celeriac_upkeep_tick_age_seconds",
        "Time since any worker last did the upkeep; absent before the first.",
        [],
        [((), ages[upkeep.TICK])] if upkeep.TICK in ages else [],
    )
    yield gauge(
        "celeriac_cycle_age_seconds", "Time since a cycle last ran.", ["cycle"], [((n,), a) for n, a in ages.items()]
    )
    yield counter(
        "celeriac_cycle_errors", "Passes of a cycle that failed.", ["cycle"], [((n,), e) for n, _, e in cycles]
    )


def _of_log() -> Iterator[Metric]:
    horizon = events.horizon()
    blocker = horizon["blocker"] or {}
    yield gauge(
        "celeriac_horizon_lag_seconds",
        "Age of the oldest writing transaction, and who holds it: cursors stand behind it.",
        ["application", "database"],
        [((str(blocker.get("application") or ""), str(blocker.get("database") or "")), horizon["lag_seconds"])],
    )
    readers = dict(EventReader.objects.values_list("name", "cursor"))
    readers[STATE] = CycleState.objects.values_list("state__cursor", flat=True).filter(pk=STATE).first() or {}
    yield gauge(
        "celeriac_event_lag_seconds",
        "Age of the oldest event that a reader has not read.",
        ["reader"],
        [((name,), events.lag_seconds(events.Cursor.of(cursor))) for name, cursor in readers.items()],
    )
    overrun = EventReader.objects.values_list("name", "is_overrun")
    yield gauge(
        "celeriac_event_reader_overrun",
        "1: events were dropped that it had not read.",
        ["reader"],
        [((n,), int(o)) for n, o in overrun],
    )
