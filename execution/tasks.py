"""Celery doorways: each calls one verb."""

from celery import shared_task

from execution import lanes  # noqa: F401 - every worker can carry out jobs
from execution.workflows import nodes, parts  # noqa: F401 - every worker knows the shipped library, and what holds graphs


@shared_task(name="execution.clean_up", ignore_result=True)
def clean_up() -> None:
    """Remove what is old."""
    from execution import retention

    retention.CLEAN_UP.run()


@shared_task(name="execution.watch_sessions", ignore_result=True)
def watch_sessions() -> None:
    """End the sessions that were not used, and pause their runs."""
    from execution import sessions

    sessions.WATCH.run()


@shared_task(name="execution.update_memory", ignore_result=True)
def update_memory() -> None:
    """Let runs that have ended change what their agents remember."""
    from execution import memory_rules

    memory_rules.WATCH.run()


@shared_task(name="execution.record_provenance", ignore_result=True)
def record_provenance() -> None:
    """Record how the steps came about that have finished."""
    from execution import provenance

    provenance.WATCH.run()


@shared_task(name="execution.refresh_topology", ignore_result=True)
def refresh_topology() -> None:
    """Count what was seen, and keep a snapshot."""
    from execution.topology import snapshots

    snapshots.REFRESH.run()


@shared_task(name="execution.sample_trends", ignore_result=True)
def sample_trends() -> None:
    """Keep a sample of what was opened, ended and spent."""
    from execution import trends

    trends.SAMPLE.run()
