"""Recovery's cycles for beat, installed by `migrate`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from execution.schedule import Entry, install

SCHEDULE: tuple[Entry, ...] = (
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
