"""Trends: how often patterns were seen lately, by the hour or the day, counted up to a bound each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import LiteralString

from django.utils import timezone

from execution import ledger

COUNTED_MOST = 1000
"""A bar that holds more is as high as this: what matters is whether it rises."""
DAY, HOUR = timedelta(days=1), timedelta(hours=1)

_COUNTS: LiteralString = """
    SELECT p.id, b.place, c.count FROM unnest(%s::bigint[]) AS p(id)
    CROSS JOIN generate_series(0, %s - 1) AS b(place)
    CROSS JOIN LATERAL (SELECT count(*) AS count FROM (
        SELECT FROM recovery_failurematch f WHERE f.pattern_id = p.id
        AND f.failed_at >= %s::timestamptz + b.place * %s::interval
        AND f.failed_at < %s::timestamptz + (b.place + 1) * %s::interval LIMIT %s) x) c
    ORDER BY p.id, b.place"""


def of(patterns: Sequence[int], *, bars: int, each: timedelta, now: datetime | None = None) -> dict[int, list[int]]:
    """Return for each pattern how many failures fell into each of the last spans, the oldest first."""
    start = (now or timezone.now()) - bars * each
    found: dict[int, list[int]] = {pattern: [] for pattern in patterns}
    for row in ledger.ask_in_transaction(_COUNTS, [list(patterns), bars, start, each, start, each, COUNTED_MOST]):
        found[row.id].append(row.count)
    return found


def said(counts: Sequence[int], each: str) -> str:
    """Say a trend in words."""
    total, last = sum(counts), counts[-1] if counts else 0
    more = " or more" if any(count >= COUNTED_MOST for count in counts) else ""
    return f"{total:,}{more} in the last {len(counts)} {each}s, {last:,} of them in the last {each}"
