"""Graduation's cycles for beat, installed by `migrate`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from execution.schedule import Entry, install

SCHEDULE = (
    Entry(
        name="celeriac: envelopes",
        task="graduation.watch_envelopes",
        cycle="graduation.envelopes",
        every=timedelta(seconds=1),
        description="Puts back the envelopes whose time is over, and applies what was asked for.",
    ),
    Entry(
        name="celeriac: collect",
        task="graduation.collect",
        every=timedelta(seconds=60),
        description="Counts what objectives count, and finds where each stands.",
    ),
    Entry(
        name="celeriac: measure",
        task="graduation.measure",
        every=timedelta(seconds=60),
        description="Measures what agents decide against their objectives.",
    ),
    Entry(
        name="celeriac: drift",
        task="graduation.watch_drift",
        cycle="graduation.drift",
        every=timedelta(minutes=30),
        description="Watches rates, latency and cost for drift.",
    ),
    Entry(
        name="celeriac: forget buckets",
        task="graduation.forget_buckets",
        every=timedelta(hours=24),
        description="Removes the counts of minutes that no objective's period needs.",
    ),
    Entry(
        name="celeriac: ladder",
        task="graduation.watch_ladder",
        cycle="graduation.ladder",
        every=timedelta(seconds=60),
        description="Tells agents' trials what became of their decisions: they fall, or are offered a rise.",
    ),
    Entry(
        name="celeriac: graduation",
        task="graduation.evaluate",
        cycle="graduation.evaluator",
        every=timedelta(minutes=15),
        description="Evaluates where each agent and the whole system stand, and what that unlocks.",
    ),
    Entry(
        name="celeriac: outcomes of verdicts",
        task="graduation.find_outcomes",
        cycle="graduation.outcomes",
        every=timedelta(seconds=60),
        description="Looks what became of verdicts, and how far what they were sure of was from that.",
    ),
    Entry(
        name="celeriac: retrospectives",
        task="graduation.look_back",
        cycle="graduation.retrospectives",
        every=timedelta(seconds=30),
        description="Looks back on incidents and snapshots, and recommends what a person may change.",
    ),
    Entry(
        name="celeriac: quality",
        task="graduation.score_outputs",
        cycle="graduation.quality",
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
    """Install the schedule, and lock what must be earned."""
    from django.db import connection

    if "graduation_graduationstatus" in connection.introspection.table_names():
        from graduation import lockouts

        lockouts.install()
    install(SCHEDULE)
