"""What an app says of the things that wait for a person: matters, the sources they come from, and what is decided."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import DecimalField, OuterRef, Q, QuerySet, Subquery, TextField, UUIDField, Value
from django.utils.safestring import SafeString

from execution.admin.reasons import ReasonForm
from execution.models import Agent
from execution.room.parts import gathered

Rows = QuerySet[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a source tells of one row, without asking the database for more."""

    asks: str
    about: str = ""
    run_id: uuid.UUID | None = None
    url: str = ""
    """The page with all there is to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is unfolded before one decides: facts by name, and what else could be done."""

    facts: Mapping[str, str | SafeString] = field(default_factory=dict)
    alternatives: Sequence[Mapping[str, str]] = ()
    """One line each; all with the same names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One thing that a person may say to a matter."""

    name: str
    key: str
    permission: str
    effect: str
    """What it will do, in words."""
    act: Callable[..., str]
    """`act(row, by=..., reason=..., **given)` does it and says what was done."""
    form: type[ReasonForm] = ReasonForm
    is_grave: bool = False
    is_main: bool = False
    undo: Callable[..., str] | None = None
    """`undo(key, by=..., reason=...)` takes it back and says so."""
    final: str = ""
    """Why it cannot be taken back."""
    fits: Callable[[Any], bool] = lambda _: True

    @property
    def can_undo(self) -> bool:
        """Tell whether it can be taken back; a template would call `undo` itself."""
        return self.undo is not None

    @property
    def label(self) -> str:
        """The words on its button."""
        return self.name.replace("-", " ").capitalize()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One kind of thing that waits."""

    kind: str
    noun: str
    title: str
    promise: str
    """When something of this kind appears here."""
    permission: str
    rows: Callable[[], Rows]
    """What waits, marked by `waiting`, with all that `tell` reads."""
    tell: Callable[[Any], Told]
    evidence: Callable[[Any], Evidence]
    decisions: Sequence[Decision]
    became: Callable[[str], str] = lambda _: "it waits no more: somebody has decided it, or it has ended"
    """What has become of a matter that waits no more, by its key."""
    history: Callable[[Any], Any] = lambda row: row
    """The row in whose history a decision is kept."""
    stands_for: Mapping[str, Q] = field(default_factory=dict)
    """Matters of other kinds that are shown as this kind instead."""

    def decision(self, name: str) -> Decision | None:
        """Return the decision of this name."""
        return next((one for one in self.decisions if one.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matter:
    """One thing that waits for a person."""

    source: Source
    row: Any
    told: Told
    since: datetime
    cost: Decimal
    pattern: str
    agent: str = ""

    @property
    def kind(self) -> str:
        """Its source's kind."""
        return self.source.kind

    @property
    def key(self) -> str:
        """Its row's id."""
        return str(self.row.pk)

    @property
    def name(self) -> str:
        """What it is called in an address, a command and a document: `approval:0192…`."""
        return f"{self.kind}:{self.key}"

    @property
    def stamp(self) -> str:
        """Change when it asks anew, so that nobody decides what was not seen."""
        return self.since.isoformat()

    def decisions(self) -> list[Decision]:
        """Return what may be said to it as it is."""
        return [one for one in self.source.decisions if one.fits(self.row)]


def waiting(rows: Rows, *, since: Any, pattern: Any, cost: Any = None, agent: Any = None) -> Rows:
    """Mark rows with what every list of the inbox is ordered and filtered by."""
    marked = rows.annotate(
        inbox_since=since,
        inbox_pattern=pattern,
        inbox_cost=Value(Decimal(0), output_field=DecimalField()) if cost is None else cost,
        inbox_agent=Value(None, output_field=UUIDField()) if agent is None else agent,
    )
    named = Agent.objects.filter(pk=OuterRef("inbox_agent")).values("name")
    found: Rows = marked.annotate(inbox_agent_name=text("") if agent is None else Subquery(named))
    return found


def text(value: str) -> Value:
    """Return a fixed text as a column."""
    return Value(value, output_field=TextField())


def sources(user: Any = None) -> list[Source]:
    """Return what may wait, in the apps' order; for somebody, what that person may see."""
    found = gathered("WAITING")
    return [one for one in found if user is None or user.has_perm(one.permission)]


def source_of(kind: str) -> Source | None:
    """Return the source of a kind."""
    return next((one for one in gathered("WAITING") if one.kind == kind), None)


def rows_of(source: Source) -> Rows:
    """Return what waits of a source, without what another source shows instead."""
    rows = source.rows()
    for other in gathered("WAITING"):
        if source.kind in other.stands_for:
            rows = rows.exclude(other.stands_for[source.kind])
    return rows


def matter_of(source: Source, row: Any) -> Matter:
    """Return a marked row as a matter."""
    return Matter(
        source=source,
        row=row,
        told=source.tell(row),
        since=row.inbox_since,
        cost=row.inbox_cost or Decimal(0),
        pattern=row.inbox_pattern or "",
        agent=row.inbox_agent_name or "",
    )
