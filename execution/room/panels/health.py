"""How the machinery stands: workers, upkeep, beat and its cycles, the database, the broker and Redis."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from execution import upkeep, words
from execution.doctor import work
from execution.doctor.database import rows
from execution.doctor.findings import ERROR, OK, Finding, error, made, ok, warning
from execution.room import servers

BEAT_SILENT = timedelta(minutes=3)
STATES = {OK: "healthy", "warning": "warning", ERROR: "failed"}
_TITLES = {
    "workers": "Workers",
    "upkeep": "Upkeep",
    "beat": "Beat",
    "cycles": "Cycles",
    "database": "Database",
    "broker": "Broker",
    "redis": "Redis",
    "servers": "Servers",
}


def read(request: HttpRequest) -> dict[str, Any]:  # noqa: ARG001 - a panel takes it
    """Return one line for each part, the worst that was found of it."""
    found = [*made((work.workers, work.keepers, cycles, database)), *servers.WATCH.findings()]
    worst: dict[str, Finding] = {}
    for finding in found:
        part = finding.id.partition(".")[0]
        if part not in worst or _rank(finding) > _rank(worst[part]):
            worst[part] = finding
    return {
        "lines": [
            {
                "title": _TITLES.get(part, part.capitalize()),
                "state": STATES[one.level],
                "text": one.text,
                "mend": one.mend,
            }
            for part, one in worst.items()
        ]
    }


def cycles() -> list[Finding]:
    """Look when beat last started anything, and which cycles fail."""
    from execution import metrics

    found = rows("SELECT name, ticked_at, last_error FROM execution_cyclestate WHERE ticked_at IS NOT NULL")
    return [_beat([at for name, at, _ in found if name not in (upkeep.TICK, metrics.STATE)]), *_failing(found)]


def database() -> list[Finding]:
    """Tell which database answers, and how many are connected to it."""
    version, count = rows(
        "SELECT current_setting('server_version'), "
        "(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database())"
    )[0]
    return [ok("database.answers", f"PostgreSQL {version.split()[0]} answers, {words.counted(count, 'connection')}")]


def _beat(ticks: list[datetime]) -> Finding:
    mend = "celery -A <project> beat, and a worker of the queue 'celeriac' that does what it starts"
    if not ticks:
        return warning("beat.never", "beat has never started anything", mend)
    age = timezone.now() - max(ticks)
    if age > BEAT_SILENT:
        return error("beat.silent", f"nothing that beat starts was done for {words.length(age)}", mend)
    return ok("beat.ticks", f"its last cycle began {words.length(age)} ago")


def _failing(found: list[tuple[str, datetime, str]]) -> list[Finding]:
    failing = sorted(name for name, _, last_error in found if last_error)
    if not failing:
        return [
            ok("cycles.errors", f"no error in {words.counted(len(found), 'cycle')}" if found else "none has run yet")
        ]
    text = f"the last pass failed of {words.listed(failing)}"
    return [error("cycles.errors", text, "Open the cycle for its error; it is tried again by itself.")]


def _rank(finding: Finding) -> int:
    return [OK, "warning", ERROR].index(finding.level)
