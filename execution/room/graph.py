"""A run's graph as a picture: what it is made of, how each step stands, and what a list has got done.

The entries of a list are no boxes of their own: the list's box counts them. A run of more than `MOST` steps is drawn up
to there; as each step comes after what it needs, what is drawn is whole.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe

from execution.models import Need, Run, Step
from execution.workflows import svg

MOST = 1000
COUNTED = 10_000
"""Entries of one list that are counted, at most."""
LIST = "execution.foreach"
_KINDS = {
    "execution.approval": ("gate", "approval"),
    "execution.signal": ("gate", "signal"),
    "execution.check": ("gate", "check"),
    "execution.sleep": ("sleep", "sleep"),
    "execution.workflow": ("workflow", "workflow"),
    "execution.outputs": ("skill", "what the run returns"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What a page shows of a graph."""

    drawn: SafeString
    legend: list[tuple[str, int, SafeString]]
    """Each state with its count and its sign."""
    left_out_count: int


def steps_of(run: Run, *, most: int = MOST) -> list[Step]:
    """Return a run's steps in their order, without the entries of lists and without what may be large."""
    rows = Step.objects.filter(run_id=run.id, position__gte=0).defer("input", "output", "canvas", "error")
    return list(rows.order_by("position", "id")[:most])


def picture(run: Run, steps: Sequence[Step]) -> Picture:
    """Draw a run's steps."""
    names = {step.id: step.name for step in steps}
    counts = entry_counts(run, steps)
    nodes = {step.name: _node(step, counts.get(step.id)) for step in steps}
    states = Counter(step.state for step in steps)
    return Picture(
        drawn=_safe(svg.part(f"graph of {run.workflow}", nodes, _needs(names))),
        legend=[(state, states[state], _safe(svg.sign(state))) for state in svg.SIGNS if states[state]],
        left_out_count=max(0, run.step_count - len(steps) - sum(one.total() for one in counts.values())),
    )


def _safe(drawn: str) -> SafeString:
    return mark_safe(drawn)  # noqa: S308 - every text in it was escaped where it was drawn


def _needs(names: dict[uuid.UUID, str]) -> dict[str, list[str]]:
    """Return what each of these steps needs among them; a single one needs nothing."""
    found: dict[str, list[str]] = {name: [] for name in names.values()}
    if len(names) > 1:
        rows = Need.objects.filter(step_id__in=list(names), needed_id__in=list(names))
        for step_id, needed_id in rows.order_by("id").values_list("step_id", "needed_id"):
            found[names[step_id]].append(names[needed_id])
    return found


def _node(step: Step, entries: Counter[str] | None) -> svg.Node:
    kind, label = _KINDS.get(step.skill, ("skill", step.skill))
    if step.skill == LIST:
        label = _of_list(step, entries)
    return svg.Node(
        label=label,
        kind=kind,
        is_list=step.skill == LIST,
        state=step.state,
        url=reverse("admin:execution_step_change", args=[step.id]),
    )


def _of_list(step: Step, entries: Counter[str] | None) -> str:
    """Say what a list performs, and how much of it is done."""
    each = step.options.get("graph", {}).get("each", {}).get("part", {}).get("skill", "")
    if not entries:
        return f"each: {each}"
    done = entries["completed"] + entries["skipped"]
    failed = f", {entries['failed']:,} failed" if entries["failed"] else ""
    return f"{done:,} of {entries.total():,} done{failed}"


def entry_counts(run: Run, steps: Sequence[Step]) -> dict[uuid.UUID, Counter[str]]:
    """Return how many entries of each list are in each state, counted up to a bound."""
    lists = [(step.id, step.options["items"]) for step in steps if step.skill == LIST and "items" in step.options]
    if not lists:
        return {}
    sql = (
        "SELECT l.id, s.state, count(*) FROM unnest(%s::uuid[], %s::int[], %s::int[]) AS l(id, first, count) "
        "CROSS JOIN LATERAL (SELECT x.state FROM execution_step x WHERE x.run_id = %s AND x.position >= l.first "
        "AND x.position < l.first + l.count ORDER BY x.position LIMIT %s) s GROUP BY l.id, s.state"
    )
    with connection.cursor() as cursor:
        columns: list[Any] = [[one[0] for one in lists], [one[1]["first"] for one in lists]]
        cursor.execute(sql, [*columns, [one[1]["count"] for one in lists], run.id, COUNTED])
        found: dict[uuid.UUID, Counter[str]] = {}
        for step_id, state, count in cursor.fetchall():
            found.setdefault(step_id, Counter())[state] = count
        return found
