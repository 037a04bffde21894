"""How one kind of row is found by id, by the beginning or end of its id, by name or by tag.

What an index serves is looked up in the whole table. The end of an id, and words that no index serves, are compared
among the newest rows only, so that a search costs the same beside a million runs.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.apps import apps
from django.db import connection
from django.db.models import QuerySet
from django.urls import reverse

from execution import ids
from execution.admin.lists import NEWEST, any_of, as_uuid, newest
from execution.room.parts import Found, Search

MOST = 5
"""Of one kind."""
WORDS_NEWEST = 20_000
BEGINNING = re.compile(r"[0-9a-f-]{6,36}", re.IGNORECASE)
END = re.compile(r"[0-9a-f]{6,12}", re.IGNORECASE)
SHORTENED = "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One model that is searched."""

    model: str
    noun: str
    icon: str
    tell: Callable[[Any], str] = lambda _: ""
    """What is said of a row beside its name, from the row alone."""
    title: Callable[[Any], str] = str
    ids: Sequence[str] = ("pk",)
    """Indexed columns that hold an id; the first is the primary key."""
    has_end: bool = False
    """Whether the end of its id is looked for."""
    names: Sequence[str] = ()
    """Lookups that an index serves, or whose table is small."""
    words: Sequence[str] = ()
    """Lookups that no index serves."""
    also: Callable[[str], Iterable[uuid.UUID]] | None = None
    """Primary keys that are found in a way of their own."""
    unread: Sequence[str] = ()
    """Large columns that are left in the database."""


def search(kind: Kind) -> Search:
    """Return the search of a kind, for who may view it."""
    app, name = kind.model.split(".")
    return Search(permission=f"{app}.view_{name}", find=partial(_found, kind))


def _found(kind: Kind, term: str) -> list[Found]:
    rows: dict[Any, Any] = {}
    for some in _matching(kind, _rows(kind), term):
        rows |= {row.pk: row for row in some}
        if len(rows) >= MOST:
            break
    return [_shown(kind, row) for row in list(rows.values())[:MOST]]


def _rows(kind: Kind) -> QuerySet[Any]:
    rows: QuerySet[Any] = apps.get_model(kind.model)._default_manager.defer(*kind.unread)  # noqa: SLF001 - Django's name
    return rows.order_by("-pk")


def _matching(kind: Kind, rows: QuerySet[Any], term: str) -> Iterator[QuerySet[Any]]:
    """Yield the rows that fit: by id, by its beginning, by its end, by name, by word."""
    wanted = as_uuid(term)
    if wanted is not None:
        if kind.ids:
            yield rows.filter(any_of(kind.ids, wanted))[:MOST]
    elif kind.ids and (span := _span(term)):
        yield rows.filter(pk__gte=span[0], pk__lte=span[1])[:MOST]
    end = term.removeprefix(SHORTENED)
    if kind.has_end and END.fullmatch(end):
        yield rows.filter(pk__in=_ending(rows, end))
    if kind.also is not None and (keys := list(kind.also(term))):
        yield rows.filter(pk__in=keys)
    if kind.names and wanted is None:
        yield rows.filter(any_of(kind.names, term))[:MOST]
    if kind.words and wanted is None:
        yield newest(rows, WORDS_NEWEST).filter(any_of(kind.words, term))[:MOST]


def _span(term: str) -> tuple[uuid.UUID, uuid.UUID] | None:
    """Return the ids that begin so; None where the term is no beginning of one, or too short to mean one."""
    try:
        return ids.span(term) if BEGINNING.fullmatch(term) else None
    except ValueError:
        return None


def _ending(rows: QuerySet[Any], end: str) -> list[uuid.UUID]:
    """Return the newest ids that end so."""
    table = connection.ops.quote_name(rows.model._meta.db_table)  # noqa: SLF001 - Django's documented name
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id FROM (SELECT id FROM {table} ORDER BY id DESC LIMIT %s) x "  # noqa: S608 - a table of ours
            "WHERE right(id::text, %s) = %s LIMIT %s",
            [NEWEST, len(end), end.lower(), MOST],
        )
        return [row[0] for row in cursor.fetchall()]


def _shown(kind: Kind, row: Any) -> Found:
    said = kind.tell(row)
    app, name = kind.model.split(".")
    return Found(
        title=kind.title(row),
        description=f"{kind.noun}, {said}" if said else kind.noun,
        url=reverse(f"admin:{app}_{name}_change", args=[row.pk]),
        icon=kind.icon,
        kind=kind.noun,
        key=str(row.pk),
    )
