"""The app's cycles for beat: installed by `migrate`, editable in the admin, never changed again once they are there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

QUEUE = "celeriac"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One periodic task."""

    name: str
    task: str
    every: timedelta
    description: str


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
        every=timedelta(seconds=10),
        description="Ends sessions that were not used for their time to live, and pauses their runs.",
    ),
    Entry(
        name="celeriac: memory",
        task="execution.update_memory",
        every=timedelta(seconds=10),
        description="Applies the memory rules to runs that have ended; removes what has expired.",
    ),
    Entry(
        name="celeriac: provenance",
        task="execution.record_provenance",
        every=timedelta(seconds=10),
        description="Records how each finished step came about.",
    ),
    Entry(
        name="celeriac: refresh topology",
        task="execution.refresh_topology",
        every=timedelta(minutes=1),
        description="Counts the calls that the log tells of, and keeps a snapshot of what depends on what.",
    ),
)


def install(entries: Iterable[Entry]) -> int:
    """Add what is missing to django-celery-beat's table; returns how many entries were added."""
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    added = 0
    for entry in entries:
        if PeriodicTask.objects.filter(name=entry.name).exists():
            continue
        interval, _ = IntervalSchedule.objects.get_or_create(
            every=int(entry.every.total_seconds()), period=IntervalSchedule.SECONDS
        )
        PeriodicTask.objects.create(
            name=entry.name, task=entry.task, interval=interval, queue=QUEUE, description=entry.description
        )
        added += 1
    return added


def install_after_migrate(**_: Any) -> None:
    """Install the schedule, make the first partitions, and notice a restored database."""
    from django.apps import apps
    from django.db import connection

    tables = set(connection.introspection.table_names())
    if "execution_event" in tables:
        from execution import events, ledger

        events.note_generation()
        ledger.once_connected(events.make_partitions)
    if apps.is_installed("django_celery_beat") and "django_celery_beat_periodictask" in tables:
        install(SCHEDULE)
