"""Celery doorways: each calls one verb."""

from celery import shared_task


@shared_task(name="recovery.take_in_failures", ignore_result=True)
def take_in_failures() -> None:
    """Take in what failed."""
    from recovery import failures

    failures.WATCH.run()


@shared_task(name="recovery.aggregate_failures", ignore_result=True)
def aggregate_failures() -> None:
    """Propose patterns for what no pattern knows."""
    from recovery import aggregation

    aggregation.NIGHTLY.run()


@shared_task(name="recovery.tidy_failures", ignore_result=True)
def tidy_failures() -> None:
    """Remove old failures, and export what was cut off."""
    from recovery import aggregation

    aggregation.TIDY.run()


@shared_task(name="recovery.upload_exports", ignore_result=True)
def upload_exports() -> None:
    """Upload the exports that wait for their storage."""
    from recovery import uploads

    uploads.UPLOADS.run()
