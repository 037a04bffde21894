"""Celery doorways: each calls one verb."""

from celery import shared_task


@shared_task(name="recovery.work_on_candidates", ignore_result=True)
def work_on_candidates() -> None:
    """Evaluate what no stream has brought, and apply what is approved."""
    from recovery import candidates

    candidates.WORKER.run()


@shared_task(name="recovery.measure_outcomes", ignore_result=True)
def measure_outcomes() -> None:
    """Tell candidates what became of their runs."""
    from recovery import outcomes

    outcomes.WATCH.run()
