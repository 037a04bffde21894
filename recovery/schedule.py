"""Recovery's cycles for beat, installed by `migrate`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from execution.schedule import Entry, install

SCHEDULE: tuple[Entry, ...] = (
    Entry(
        name="celeriac: outbox",
        task="recovery.deliver_outbox",
        cycle="recovery.outbox",
        every=timedelta(seconds=2),
        description="Makes webhooks of new events, and delivers what is due.",
    ),
    Entry(
        name="celeriac: outbox clean-up",
        task="recovery.clean_up_outbox",
        cycle="recovery.outbox.clean_up",
        every=timedelta(hours=24),
        description="Removes webhooks that were delivered or given up long ago.",
    ),
    Entry(
        name="celeriac: recovery stream",
        task="recovery.work_stream",
        cycle="recovery.stream",
        every=timedelta(seconds=1),
        description="Evaluates what the express lane and the stream hold, and keeps dead letters.",
    ),
    Entry(
        name="celeriac: dispatcher",
        task="recovery.dispatch",
        cycle="recovery.dispatcher",
        every=timedelta(seconds=1),
        description="Gives new events to their handlers, and publishes them for live views.",
    ),
    Entry(
        name="celeriac: recovery metrics",
        task="recovery.sample_metrics",
        cycle="recovery.metrics",
        every=timedelta(seconds=15),
        description="Counts what recovery has done, looks after the stream's consumers, and tells when it lags.",
    ),
    Entry(
        name="celeriac: forget what was handled",
        task="recovery.forget_handled",
        every=timedelta(hours=1),
        description="Removes what handlers did with events of long ago.",
    ),
    Entry(
        name="celeriac: forget dead letters",
        task="recovery.forget_dead_letters",
        at="03:30",
        description="Removes dead letters that were replayed or dismissed long ago.",
    ),
    Entry(
        name="celeriac: take in failures",
        task="recovery.take_in_failures",
        cycle="recovery.failures",
        every=timedelta(seconds=1),
        description="Takes in what failed, with its fingerprint and pattern, and opens candidates.",
    ),
    Entry(
        name="celeriac: aggregate failures",
        task="recovery.aggregate_failures",
        cycle="recovery.aggregate",
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
    Entry(
        name="celeriac: candidates",
        task="recovery.work_on_candidates",
        cycle="recovery.candidates",
        every=timedelta(seconds=10),
        description="Evaluates the candidates that no stream has brought, and applies what is approved.",
    ),
    Entry(
        name="celeriac: outcomes",
        task="recovery.measure_outcomes",
        cycle="recovery.outcomes",
        every=timedelta(seconds=10),
        description="Tells candidates what became of their runs, and counts it.",
    ),
    Entry(
        name="celeriac: correlation",
        task="recovery.correlate",
        cycle="recovery.correlation",
        every=timedelta(seconds=10),
        description="Keeps what goes wrong together as windows, and makes a snapshot of each.",
    ),
    Entry(
        name="celeriac: incidents",
        task="recovery.watch_incidents",
        cycle="recovery.incidents",
        every=timedelta(seconds=30),
        description="Opens incidents about grave snapshots and breaches, and notices those that have ended.",
    ),
    Entry(
        name="celeriac: topology drift",
        task="recovery.compare_topology",
        cycle="recovery.topology_drift",
        every=timedelta(hours=1),
        description="Compares what is declared with what was seen.",
    ),
    Entry(
        name="celeriac: contract divergence",
        task="recovery.compare_contracts",
        cycle="recovery.contract_divergence",
        every=timedelta(hours=1),
        description="Compares what services promise with what was measured.",
    ),
)


def install_after_migrate(**_: Any) -> None:
    """Install the schedule, the shipped actions, and the lock on what must be earned."""
    from django.db import connection

    if "recovery_suggestionaction" in connection.introspection.table_names():
        from recovery import autonomy, playbook

        playbook.install()
        autonomy.lock_until_earned()
    install(SCHEDULE)
