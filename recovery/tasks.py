"""Celery doorways: each calls one verb."""

from celery import shared_task

from recovery import workflows  # noqa: F401 - every worker knows the steps of incidents


@shared_task(name="recovery.correlate", ignore_result=True)
def correlate() -> None:
    """Keep what goes wrong together as windows and snapshots."""
    from recovery import correlation

    correlation.CORRELATE.run()


@shared_task(name="recovery.watch_incidents", ignore_result=True)
def watch_incidents() -> None:
    """Open what needs an answer, and notice what has ended."""
    from recovery import incidents

    incidents.WATCH.run()


@shared_task(name="recovery.compare_topology", ignore_result=True)
def compare_topology() -> None:
    """Compare what is declared with what was seen."""
    from recovery import drift

    drift.COMPARE.run()


@shared_task(name="recovery.compare_contracts", ignore_result=True)
def compare_contracts() -> None:
    """Compare what services promise with what was measured."""
    from recovery import contracts

    contracts.COMPARE.run()
