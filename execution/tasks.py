"""Celery doorways: each calls one verb."""

from celery import shared_task

from execution import lanes  # noqa: F401 - every worker can carry out jobs
from execution.workflows import nodes, parts  # noqa: F401 - every worker knows the shipped library, and what holds graphs


@shared_task(name="execution.clean_up", ignore_result=True)
def clean_up() -> None:
    """Remove what is old."""
    from execution import retention

    retention.CLEAN_UP.run()
