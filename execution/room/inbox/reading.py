"""Reading the inbox: what waits, a page at a time, and how many of which kind and pattern.

One statement finds the places of a page among all kinds, each kind by its own index and no further than a page; the
rows are then read by their ids. Counts stop at a bound. Nothing here grows with what does not wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Q, TextField
from django.db.models.functions import Cast
from django.utils.dateparse import parse_datetime

from execution.admin.lists import as_uuid
from execution.models import Agent
from execution.room.inbox.parts import Matter, Rows, Source, matter_of, rows_of, text

PAGE = 50
COUNTED_MOST = 1_000
"""How many of one kind are counted."""
PATTERNS_MOST = 12
ORDERS = ("oldest", "costliest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants to see: all, or what fits; from the beginning, or after a place."""

    kind: str = ""
    pattern: str = ""
    agent: str = ""
    order: str = ORDERS[0]
    after: str = ""
    until: datetime | None = None
    """Nothing that began to wait later."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a matter stands in the list."""

    kind: str
    key: str
    since: datetime
    cost: Decimal

    def __str__(self) -> str:
        return f"{self.cost}~{self.since.isoformat()}~{self.kind}~{self.key}"

    @classmethod
    def of(cls, written: str) -> Place | None:
        """Read a place as an address has it; None where it is none."""
        try:
            cost, since, kind, key = written.split("~")
            moment = parse_datetime(since)
            return cls(kind, key, moment, Decimal(cost)) if moment and as_uuid(key) else None
        except (ValueError, InvalidOperation):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One page of the inbox; `after` leads to the next."""

    matters: list[Matter] = field(default_factory=list)
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """How much waits of one pattern."""

    kind: str
    pattern: str
    count: int


def listing(sources: Sequence[Source], wish: Wish, *, limit: int = PAGE) -> Listing:
    """Return one page of what waits."""
    places = _places(_wanted(sources, wish), wish, limit + 1)
    page = places[:limit]
    return Listing(matters=_matters(sources, page), after=str(page[-1]) if len(places) > limit else "")


def matching(source: Source, wish: Wish) -> Rows:
    """Return what waits of a source and fits."""
    rows = rows_of(source)
    if wish.pattern:
        rows = rows.filter(inbox_pattern=wish.pattern)
    if wish.until:
        rows = rows.filter(inbox_since__lte=wish.until)
    if wish.agent:
        rows = rows.filter(inbox_agent__in=Agent.objects.filter(name=wish.agent).values("pk"))
    return rows


def _wanted(sources: Iterable[Source], wish: Wish) -> list[Source]:
    return [one for one in sources if not wish.kind or one.kind == wish.kind]


# Places


def _places(sources: Sequence[Source], wish: Wish, limit: int) -> list[Place]:
    """Return where the page's matters stand, in order."""
    after = Place.of(wish.after) if wish.after else None
    by_cost = ["-inbox_cost"] if wish.order == "costliest" else []
    parts = [
        _beyond(matching(source, wish), source, after, by_cost=bool(by_cost))
        .order_by(*by_cost, "inbox_since", "pk")
        .values_list(text(source.kind), Cast("pk", TextField()), "inbox_since", "inbox_cost")[:limit]
        for source in sources
    ]
    found = [Place(kind, key, since, cost or Decimal(0)) for kind, key, since, cost in _union("SELECT *", parts)]
    found.sort(key=lambda one: (-one.cost if by_cost else 0, one.since, one.kind, one.key))
    return found[:limit]


def _beyond(rows: Rows, source: Source, after: Place | None, *, by_cost: bool) -> Rows:
    """Return the rows that stand behind a place, where kinds of one moment stand in the order of their names."""
    if after is None:
        return rows
    behind = Q(inbox_since__gt=after.since)
    if source.kind > after.kind:
        behind |= Q(inbox_since=after.since)
    elif source.kind == after.kind:
        behind |= Q(inbox_since=after.since, pk__gt=after.key)
    return rows.filter(Q(inbox_cost__lt=after.cost) | Q(inbox_cost=after.cost) & behind if by_cost else behind)


def _matters(sources: Iterable[Source], places: Sequence[Place]) -> list[Matter]:
    """Read the rows of a page, kind by kind; one that was decided meanwhile is left out."""
    found: dict[tuple[str, str], Matter] = {}
    for source in sources:
        keys = [place.key for place in places if place.kind == source.kind]
        if keys:
            rows = rows_of(source).filter(pk__in=keys)
            found |= {(source.kind, str(row.pk)): matter_of(source, row) for row in rows}
    return [found[place.kind, place.key] for place in places if (place.kind, place.key) in found]


# Counts


def groups(sources: Sequence[Source], wish: Wish | None = None) -> list[Group]:
    """Return how much waits of each kind and pattern, the most first; each kind is counted up to a bound."""
    parts = [
        matching(source, wish or Wish()).values_list(text(source.kind), "inbox_pattern")[:COUNTED_MOST]
        for source in sources
    ]
    rows = _union("SELECT x.kind, coalesce(x.pattern, ''), count(*)", parts, "GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2")
    return [Group(kind=kind, pattern=pattern, count=count) for kind, pattern, count in rows]


def by_kind(found: Iterable[Group]) -> Counter[str]:
    """Add the groups of each kind up."""
    counts: Counter[str] = Counter()
    for group in found:
        counts[group.kind] += group.count
    return counts


def count(sources: Sequence[Source]) -> int:
    """Return how much waits, each kind counted up to a bound: for the badge, in one statement."""
    parts = [rows_of(source).order_by().values_list(text(source.kind), text(""))[:COUNTED_MOST] for source in sources]
    return sum(int(row[0]) for row in _union("SELECT count(*)", parts))


def _union(select: str, parts: Iterable[Rows], rest: str = "") -> list[Any]:
    """Ask several queries at once; those that can find nothing are left out."""
    written: list[str] = []
    given: list[Any] = []
    for part in parts:
        try:
            sql, parameters = part.query.sql_with_params()
        except EmptyResultSet:
            continue
        written.append(f"({sql})")
        given += parameters
    if not written:
        return []
    with connection.cursor() as cursor:
        cursor.execute(f"{select} FROM ({' UNION ALL '.join(written)}) AS x(kind, pattern) {rest}", given)
        return list(cursor.fetchall())
