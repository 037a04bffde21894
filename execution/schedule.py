"""The app's cycles for beat: installed by `migrate`, editable in the admin, never changed again once they are there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

QUEUE = "celeriac"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One periodic task."""

    name: str
    task: str
    description: str
    every: timedelta = timedelta(0)
    cycle: str = ""
    """The name of the cycle that the task runs, where it is not the task's own."""
    at: str = ""
    """The time of day, `02:00` in Celery's time zone, of what is done daily; instead of `every`."""


SCHEDULE = (
    Entry(
        name="celeriac: clean up",
        task="execution.clean_up",
        every=timedelta(hours=24),
        description="Removes what is old, and keeps the log's partitions ahead.",
    ),
    Entry(
        name="celeriac: sessions",
        task="execution.watch_sessions",
        cycle="execution.sessions",
        every=timedelta(seconds=10),
        description="Ends sessions that were not used for their time to live, and pauses their runs.",
    ),
    Entry(
        name="celeriac: memory",
        task="execution.update_memory",
        cycle="execution.memory",
        every=timedelta(seconds=10),
        description="Applies the memory rules to runs that have ended; removes what has expired.",
    ),
    Entry(
        name="celeriac: provenance",
        task="execution.record_provenance",
        cycle="execution.provenance",
        every=timedelta(seconds=10),
        description="Records how each finished step came about.",
    ),
    Entry(
        name="celeriac: refresh topology",
        task="execution.refresh_topology",
        every=timedelta(minutes=1),
        description="Counts the calls that the log tells of, and keeps a snapshot of what depends on what.",
    ),
    Entry(
        name="celeriac: trends",
        task="execution.sample_trends",
        every=timedelta(minutes=1),
        description="Keeps a sample of what was opened, ended and spent, for the room's charts.",
    ),
)


def of_apps() -> list[Entry]:
    """Return the cycles of every installed app: those of its module `schedule`, where it has one."""
    from django.apps import apps

    names = [f"{app.name}.schedule" for app in apps.get_app_configs()]
    found = [getattr(import_module(name), "SCHEDULE", ()) for name in names if find_spec(name) is not None]
    return [entry for entries in found for entry in entries if isinstance(entry, Entry)]


def install(entries: Iterable[Entry]) -> int:
    """Add what is missing to django-celery-beat's table, where there is one; returns how many entries were added."""
    from django.apps import apps
    from django.db import connection

    if not apps.is_installed("django_celery_beat"):
        return 0
    from django_celery_beat.models import PeriodicTask

    if PeriodicTask._meta.db_table not in connection.introspection.table_names():  # noqa: SLF001 - Django's documented name
        return 0
    added = 0
    for entry in entries:
        if PeriodicTask.objects.filter(name=entry.name).exists():
            continue
        PeriodicTask.objects.create(
            name=entry.name, task=entry.task, queue=QUEUE, description=entry.description, **_when(entry)
        )
        added += 1
    return added


@cache
def _cycles() -> dict[str, str]:
    """Return the cycle of each task that an installed app schedules, by the task's name."""
    return {entry.task: entry.cycle or entry.task for entry in of_apps()}


def cycle_of(task: str) -> str:
    """Return the name of the cycle that a scheduled task runs; nothing for a task that is not of ours."""
    return _cycles().get(task, "")


def _when(entry: Entry) -> dict[str, Any]:
    """Return an entry's interval or crontab, as django-celery-beat keeps it."""
    from django.conf import settings
    from django_celery_beat.models import CrontabSchedule, IntervalSchedule

    if not entry.at:
        seconds = int(entry.every.total_seconds())
        return {"interval": IntervalSchedule.objects.get_or_create(every=seconds, period=IntervalSchedule.SECONDS)[0]}
    hour, minute = (str(int(part)) for part in entry.at.split(":"))
    zone = getattr(settings, "CELERY_TIMEZONE", None) or settings.TIME_ZONE
    daily = {"day_of_week": "*", "day_of_month": "*", "month_of_year": "*"}
    return {"crontab": CrontabSchedule.objects.get_or_create(hour=hour, minute=minute, timezone=zone, **daily)[0]}


def install_after_migrate(**_: Any) -> None:
    """Install the schedule, make the first partitions, and notice a restored database."""
    from django.db import connection

    tables = set(connection.introspection.table_names())
    if "execution_event" in tables:
        from execution import events, ledger

        events.note_generation()
        ledger.once_connected(events.make_partitions)
    install(SCHEDULE)
