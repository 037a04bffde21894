"""Graduation's cycles for beat, installed by `migrate`."""

from __future__ import annotations

from typing import Any

from execution.schedule import Entry, install

SCHEDULE: tuple[Entry, ...] = ()


def install_after_migrate(**_: Any) -> None:
    """Install the schedule."""
    from django.apps import apps
    from django.db import connection

    if apps.is_installed("django_celery_beat") and "django_celery_beat_periodictask" in (
        connection.introspection.table_names()
    ):
        install(SCHEDULE)
