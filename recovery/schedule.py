"""Recovery's cycles for beat, installed by `migrate`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from execution.schedule import Entry, install

SCHEDULE: tuple[Entry, ...] = (
    Entry(
        name="celeriac: take in failures",
        task="recovery.take_in_failures",
        every=timedelta(seconds=1),
        description="Takes in what failed, with its fingerprint and pattern, and opens candidates.",
    ),
    Entry(
        name="celeriac: aggregate failures",
        task="recovery.aggregate_failures",
        at="02:00",
        description="Proposes patterns for what failed often and no pattern knows, and exports them.",
    ),
    Entry(
        name="celeriac: tidy failures",
        task="recovery.tidy_failures",
        every=timedelta(hours=1),
        description="Removes failures that are old enough; exports the nights that were cut off.",
    ),
    Entry(
        name="celeriac: exports",
        task="recovery.upload_exports",
        every=timedelta(minutes=3),
        description="Uploads exports that wait for their storage, and removes kept bytes that are old.",
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
