"""Celery doorways: each calls one verb."""

from celery import shared_task


@shared_task(name="recovery.upload_exports", ignore_result=True)
def upload_exports() -> None:
    """Upload the exports that wait for their storage."""
    from recovery import uploads

    uploads.UPLOADS.run()
