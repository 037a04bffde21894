"""Buckets: the counts of each minute, written once or again, and read as the few spans that somebody asks about.

Whoever reads gives the moments at which spans begin; the database adds up what lies between two of them, so that a
month of minutes costs one small answer. Where slices of time count, a slice that is over is one event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

from execution import ledger
from graduation import conf
from graduation.models import Bucket, Objective
from graduation.observe import burn
from graduation.observe.burn import Counts
from graduation.observe.indicators import PARTS

MINUTE = timedelta(minutes=1)
_BATCH = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """What was counted in one minute of one objective; `sum_` is of what was measured, where something was."""

    objective: str
    at: datetime
    good: int
    total: int
    sum_: float | None = None


def minute_of(moment: datetime) -> datetime:
    """Return the minute in which a moment lies."""
    return moment.replace(second=0, microsecond=0)


def add(minutes: Iterable[Minute]) -> int:
    """Add to what was counted in some minutes; for a caller that hands over each event once."""
    return _write(
        minutes,
        "good = b.good + excluded.good, total = b.total + excluded.total, value = CASE WHEN excluded.value IS NULL "
        "THEN b.value ELSE (coalesce(b.value, 0) * CASE WHEN b.value IS NULL THEN 0 ELSE b.total END "
        "+ excluded.value * excluded.total) / nullif(CASE WHEN b.value IS NULL THEN 0 ELSE b.total END "
        "+ excluded.total, 0) END",
    )


def put(minutes: Iterable[Minute]) -> int:
    """Write what some minutes hold in all, whatever was written before."""
    return _write(minutes, "good = excluded.good, total = excluded.total, value = excluded.value")


def _write(minutes: Iterable[Minute], update: str) -> int:
    rows = sorted(minutes, key=lambda one: (one.objective, one.at))
    if not rows:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO graduation_bucket AS b (objective_id, minute, good, total, value) "  # noqa: S608 - ours
            "SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::bigint[], %s::bigint[], %s::float8[]) "
            f"ON CONFLICT (objective_id, minute) DO UPDATE SET {update}",
            [
                [one.objective for one in rows],
                [one.at for one in rows],
                [one.good for one in rows],
                [one.total for one in rows],
                [None if one.sum_ is None or not one.total else one.sum_ / one.total for one in rows],
            ],
        )
    return len(rows)


def spans(objective: Objective, starts: Sequence[datetime], until: datetime) -> list[burn.Bucket]:
    """Return what was counted from each of these moments to the next, the last until a moment."""
    starts = sorted(starts)
    unit, parameters = _unit(objective, starts[0], until)
    rows = ledger.ask_in_transaction(
        f"SELECT width_bucket(u.at, %s::timestamptz[]) AS place, sum(u.good)::bigint AS good, "  # noqa: S608 - ours
        f"sum(u.total)::bigint AS total FROM ({unit}) u WHERE u.at >= %s AND u.at < %s GROUP BY 1 ORDER BY 1",
        [starts, *parameters, starts[0], until],
    )
    return [burn.Bucket(start_at=starts[row.place - 1], counts=Counts(good=row.good, total=row.total)) for row in rows]


def _unit(objective: Objective, start: datetime, until: datetime) -> tuple[str, list[object]]:
    """Return the SQL of what counts: each minute's events, or each slice that is over as one."""
    rows = "FROM graduation_bucket WHERE objective_id = %s AND minute >= %s AND minute < %s AND total > 0"
    if not objective.slices:
        return f"SELECT minute AS at, good, total {rows}", [objective.pk, start, until]
    length = timedelta(minutes=objective.slices["minutes"])
    least = objective.slices.get("target")
    counts, given = (
        (f"round({PARTS} * sum(good) / sum(total))::bigint AS good, {PARTS} AS total", [])
        if least is None
        else ("(sum(good) >= %s * sum(total))::int AS good, 1 AS total", [least])
    )
    sql = (
        f"SELECT date_bin(%s, minute, 'epoch'::timestamptz) AS at, {counts} {rows} GROUP BY 1 "
        "HAVING date_bin(%s, min(minute), 'epoch') + %s <= %s"
    )
    return sql, [length, *given, objective.pk, start, until, length, length, until]


def forget() -> int:
    """Remove the counts of minutes that are older than is kept, and than their objective's period; in batches."""
    before, removed = timezone.now() - timedelta(days=conf.current().bucket_days), 0
    for objective in Objective.objects.only("name", "period_days"):
        oldest = min(before, timezone.now() - timedelta(days=objective.period_days))
        while count := _forget(objective.pk, oldest):
            removed += count
    return removed


def _forget(objective: str, before: datetime) -> int:
    old = Bucket.objects.filter(objective_id=objective, minute__lt=before).order_by("minute").values("pk")[:_BATCH]
    return Bucket.objects.filter(pk__in=list(old.values_list("pk", flat=True))).delete()[0]
