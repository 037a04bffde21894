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
    Entry(
        name="celeriac: outcomes of verdicts",
        task="graduation.find_outcomes",
        every=timedelta(seconds=60),
        description="Looks what became of verdicts, and how far what they were sure of was from that.",
    ),
    Entry(
        name="celeriac: retrospectives",
        task="graduation.look_back",
        every=timedelta(seconds=30),
        description="Looks back on incidents and snapshots, and recommends what a person may change.",
    ),
    Entry(
        name="celeriac: quality",
        task="graduation.score_outputs",
        every=timedelta(seconds=60),
        description="Scores a random sample of what agents put out, and compares who scores.",
    ),
    Entry(
        name="celeriac: graduation clean-up",
        task="graduation.clean_up",
        every=timedelta(hours=24),
        description="Removes old cases, scores, freezes and calls of the gate.",
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
