"""How many runs there are of each state, and what ready steps wait for: one statement, counted up to a bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from execution import trends
from execution.doctor.database import rows

COUNTED_MOST = 10_000

_COUNTS = {
    "running": "execution_run WHERE state = 'running'",
    "pending": "execution_run WHERE state = 'pending'",
    "parked": "execution_run WHERE state = 'parked'",
    "paused": "execution_run WHERE state = 'paused'",
    "failed": "execution_run WHERE state = 'failed'",
    "performed": "execution_step WHERE state = 'running'",
    "unrung": "execution_step WHERE state = 'ready' AND rung_at IS NULL",
    "rung": "execution_step WHERE state = 'ready' AND rung_at IS NOT NULL",
    "any": "execution_run",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number with what it counts, where it leads, and what else is to be said."""

    title: str
    value: str
    url: str
    note: str = ""
    state: str = ""


def read(request: HttpRequest) -> dict[str, Any]:  # noqa: ARG001 - a panel takes it
    """Return the figures; none where nothing has ever run."""
    counts = counted()
    if not counts["any"]:
        return {"figures": []}
    ready = counts["unrung"] + counts["rung"]
    since = trends.today()
    return {
        "figures": [
            _of("Running", counts["running"], "running", note=f"{_steps(counts['performed'])} in workers' hands"),
            _of("Not begun", counts["pending"], "pending", note=f"{_steps(ready)} for the next free worker"),
            _of("Parked", counts["parked"], "parked", note="a person must decide", state="parked"),
            _of("Paused", counts["paused"], "paused", note="by a person, until resumed"),
            _of("Failed", counts["failed"], "failed", note=_today(since), state="failed"),
        ]
    }


def counted() -> dict[str, int]:
    """Return how many there are of each, up to the bound."""
    parts = (
        f"(SELECT count(*) FROM (SELECT 1 FROM {source} LIMIT {1 if name == 'any' else COUNTED_MOST}) x)"  # noqa: S608 - ours
        for name, source in _COUNTS.items()
    )
    return dict(zip(_COUNTS, rows(f"SELECT {', '.join(parts)}")[0], strict=True))


def bounded(count: int) -> str:
    """Say a count that was not counted beyond the bound."""
    return f"{count:,}" if count < COUNTED_MOST else f"{COUNTED_MOST:,}+"


def _steps(count: int) -> str:
    return f"{bounded(count)} {'step' if count == 1 else 'steps'}"


def _of(title: str, count: int, run_state: str, *, note: str, state: str = "") -> Figure:
    url = f"{reverse('admin:execution_run_changelist')}?state__exact={run_state}"
    return Figure(title=title, value=bounded(count), url=url, note=note, state=state if count else "")


def _today(since: trends.Happened | None) -> str:
    return f"{since.failed:,} today" if since else "until retried"
