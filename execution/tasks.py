"""Celery doorways: each calls one verb."""

from celery import shared_task

from execution.workflows import nodes  # noqa: F401 - every worker knows the shipped library


@shared_task(name="execution.clean_up", ignore_result=True)
def clean_up() -> None:
    """Remove what is old."""
    from execution import retention

    retention.CLEAN_UP.run()


@shared_task(name="execution.refresh_topology", ignore_result=True)
def refresh_topology() -> None:
    """Count what was seen, and keep a snapshot."""
    from execution.topology import snapshots

    snapshots.REFRESH.run()
