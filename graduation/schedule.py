"""Graduation's cycles for beat, installed by `migrate`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from execution.schedule import Entry, install

SCHEDULE = (
    Entry(
        name="celeriac: envelopes",
        task="graduation.watch_envelopes",
        every=timedelta(seconds=1),
        description="Puts back the envelopes whose time is over, and applies what was asked for.",
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
