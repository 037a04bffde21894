"""When what happened in a run: a row for each step, a bar for each attempt, and what lay between them.

A bar's colour and sign say how the attempt ended; a thin line after it says what the step then waited for, until it was
claimed again. What a step recorded is a tick. Everything is bounded: the first steps, the newest attempts and ticks.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest

from django.db import connection
from django.urls import reverse
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from execution import words
from execution.models import UNFINISHED, Attempt, Run, Step, Worker
from execution.why import said_error, shown_token

ROWS = 100
ATTEMPTS_EACH = 30
TICKS_EACH = 40
_ENTRIES = 25
"""Entries of lists that are told beside the steps of a graph, at most."""
_SIGNS = {"completed": "✓", "failed": "✕", "lost": "⚡", "crashed": "⚡", "cancelled": "■", "skipped": "■"}
_GAPS = {
    "suspended": ("wait", "waited"),
    "failed": ("retry", "waited to be tried again"),
    "lost": ("back", "given back until it was taken over"),
    "crashed": ("back", "given back until it was taken up again"),
}
_MARKS = (0, 25, 50, 75, 100)
LEGEND = {
    "running": "being performed",
    "completed": "completed",
    "suspended": "performed, then waits",
    "failed": "failed",
    "lost": "its worker was lost",
    "crashed": "its process died",
    "cancelled": "cancelled",
    "skipped": "skipped",
}
"""What the colour of a bar says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One step: its name, its page, and its track as a picture."""

    name: str
    url: str
    state: str
    track: SafeString


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What a page shows."""

    rows: list[Row]
    axis: list[tuple[str, str]]
    """Five moments from the opening to the end: how long after the opening, and the moment itself."""
    left_out_count: int
    legend: list[tuple[str, str]]
    """The kinds of bars that there are, and what they say."""


@dataclass(frozen=True, slots=True)
class _Span:
    """From the run's opening to its end, or to now."""

    start: datetime
    end: datetime

    def at(self, moment: datetime) -> float:
        """Return where a moment stands, in hundredths."""
        whole = (self.end - self.start).total_seconds() or 0.001
        return round(min(max((moment - self.start).total_seconds() / whole, 0), 1) * 100, 3)

    def axis(self) -> list[tuple[str, str]]:
        """Return the marks below which the bars stand."""
        whole = self.end - self.start
        return [
            (
                words.length(whole * mark / 100) if mark else "opened",
                words.moment(self.start + whole * mark / 100, self.end),
            )
            for mark in _MARKS
        ]


def of(run: Run, steps: Sequence[Step], now: datetime, *, with_entries: bool = True) -> Timeline:
    """Tell when a run's steps were performed; the steps come in their order, the entries of lists are looked up."""
    chosen = _with_entries(run, list(steps[:ROWS])) if with_entries else list(steps[:ROWS])
    ids = [step.id for step in chosen]
    span = _Span(run.created_at, max(run.ended_at or now, run.created_at))
    attempts, ticks = _attempts(ids), _ticks(ids)
    workers = {one.worker_id for found in attempts.values() for one in found}
    hosts = dict(Worker.objects.filter(pk__in=workers).values_list("id", "hostname")) if workers else {}
    rows = [_row(step, _Track(step, attempts.get(step.id, []), ticks.get(step.id, []), hosts, span)) for step in chosen]
    seen = {one.ending or "running" for found in attempts.values() for one in found}
    return Timeline(
        rows=rows,
        axis=span.axis(),
        left_out_count=max(0, run.step_count - len(rows)),
        legend=[(kind, text) for kind, text in LEGEND.items() if kind in seen],
    )


def _with_entries(run: Run, steps: list[Step]) -> list[Step]:
    """Put a few entries of lists after the list that they belong to."""
    lists = [step for step in steps if "items" in step.options]
    if not lists:
        return steps
    rows = Step.objects.filter(run_id=run.id, position__lt=0).defer("input", "output", "canvas", "error")
    entries = list(rows.order_by("position")[:_ENTRIES])
    found: list[Step] = []
    for step in steps:
        found.append(step)
        if "items" in step.options:
            first, count = step.options["items"]["first"], step.options["items"]["count"]
            found += [one for one in entries if first <= one.position < first + count]
    return found


def _attempts(step_ids: list[uuid.UUID]) -> dict[uuid.UUID, list[Attempt]]:
    """Return the newest attempts of each step, in their order."""
    sql = (
        "SELECT a.* FROM unnest(%s::uuid[]) AS s(id) CROSS JOIN LATERAL (SELECT x.* FROM execution_attempt x "
        "WHERE x.step_id = s.id ORDER BY x.epoch DESC LIMIT %s) a ORDER BY a.epoch"
    )
    found: dict[uuid.UUID, list[Attempt]] = {}
    for attempt in Attempt.objects.raw(sql, [step_ids, ATTEMPTS_EACH]):
        found.setdefault(attempt.step_id, []).append(attempt)
    return found


def _ticks(step_ids: list[uuid.UUID]) -> dict[uuid.UUID, list[tuple[datetime, str]]]:
    """Return the newest checkpoints of each step: when, and which."""
    sql = (
        "SELECT s.id, c.saved_at, c.token FROM unnest(%s::uuid[]) AS s(id) CROSS JOIN LATERAL ("
        "SELECT x.saved_at, x.token FROM execution_checkpoint x WHERE x.step_id = s.id AND NOT x.is_scoped "
        "AND x.kind <> 'append' ORDER BY x.position DESC LIMIT %s) c"
    )
    found: dict[uuid.UUID, list[tuple[datetime, str]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(sql, [step_ids, TICKS_EACH])
        for step_id, saved_at, token in cursor.fetchall():
            found.setdefault(step_id, []).append((saved_at, token))
    return found


def _row(step: Step, track: _Track) -> Row:
    return Row(
        name=step.name,
        url=reverse("admin:execution_step_change", args=[step.id]),
        state=step.state,
        track=mark_safe("".join(track.drawn())),  # noqa: S308 - every text in it is escaped
    )


@dataclass(frozen=True, slots=True)
class _Track:
    """The bars, lines and ticks of one step."""

    step: Step
    attempts: list[Attempt]
    ticks: list[tuple[datetime, str]]
    hosts: dict[uuid.UUID, str]
    span: _Span

    def drawn(self) -> Iterator[str]:
        """Yield the track as SVG."""
        told = "; ".join(self._told(attempt) for attempt in self.attempts) or "not performed yet"
        yield f'<svg class="room-track" role="img" aria-label="{escape(f"{self.step.name}: {told}"[:500])}">'
        for attempt, after in zip_longest(self.attempts, self.attempts[1:]):
            yield from self._gap(attempt, after)
            yield from self._bar(attempt)
        for moment, token in self.ticks:
            title = escape(f"{shown_token(token)} recorded after {words.length(moment - self.span.start)}")
            yield f'<rect class="tick" x="{self.span.at(moment)}%" y="2"><title>{title}</title></rect>'
        yield "</svg>"

    def _bar(self, attempt: Attempt) -> Iterator[str]:
        kind = attempt.ending or "running"
        left, right = self.span.at(attempt.started_at), self.span.at(attempt.ended_at or self.span.end)
        yield (
            f'<rect class="bar is-{kind}" x="{left}%" y="5" width="{max(right - left, 0.01):.3f}%" height="12" rx="2">'
            f"<title>{escape(self._told(attempt))}</title></rect>"
        )
        if kind in _SIGNS and kind != "completed":
            yield f'<text class="end is-{kind}" x="{right}%" y="15">{_SIGNS[kind]}</text>'

    def _gap(self, attempt: Attempt, after: Attempt | None) -> Iterator[str]:
        """Draw what lay between an attempt and the next, or lies between it and now."""
        if attempt.ended_at is None or attempt.ending not in _GAPS:
            return
        if after is None and self.step.state not in UNFINISHED:
            return
        kind, told = _GAPS[attempt.ending]
        end = after.started_at if after is not None else self.span.end
        if after is None and self.step.waiting:
            told = f"waits for {self.step.get_waiting_display().lower()}"
        left, right = self.span.at(attempt.ended_at), self.span.at(end)
        title = escape(f"{told}: {words.length(end - attempt.ended_at)}")
        yield f'<line class="gap is-{kind}" x1="{left}%" x2="{right}%" y1="11" y2="11"><title>{title}</title></line>'

    def _told(self, attempt: Attempt) -> str:
        """Say what became of an attempt, how long it took, and who performed it."""
        lasted = words.length((attempt.ended_at or self.span.end) - attempt.started_at)
        host = self.hosts.get(attempt.worker_id)
        text = f"{LEGEND.get(attempt.ending or 'running', attempt.ending)} after {lasted}" + (
            f", by {host}" if host else ""
        )
        return f"{text}: {said_error(attempt.error)}" if attempt.error else text
