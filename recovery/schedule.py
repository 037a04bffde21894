"""Recovery's cycles for beat, installed by `migrate`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from execution.schedule import Entry, install

SCHEDULE: tuple[Entry, ...] = (
    Entry(
        name="celeriac: correlation",
        task="recovery.correlate",
        every=timedelta(seconds=10),
        description="Keeps what goes wrong together as windows, and makes a snapshot of each.",
    ),
    Entry(
        name="celeriac: incidents",
        task="recovery.watch_incidents",
        every=timedelta(seconds=30),
        description="Opens incidents about grave snapshots and breaches, and notices those that have ended.",
    ),
    Entry(
        name="celeriac: topology drift",
        task="recovery.compare_topology",
        every=timedelta(hours=1),
        description="Compares what is declared with what was seen.",
    ),
    Entry(
        name="celeriac: contract divergence",
        task="recovery.compare_contracts",
        every=timedelta(hours=1),
        description="Compares what services promise with what was measured.",
    ),
)


def install_after_migrate(**_: Any) -> None:
    """Install the schedule."""
    from django.apps import apps
    from django.db import connection

    if apps.is_installed("django_celery_beat") and "django_celery_beat_periodictask" in (
        connection.introspection.table_names()
    ):
        install(SCHEDULE)
