"""Celery doorways: each calls one verb."""

from celery import shared_task


@shared_task(name="graduation.watch_envelopes", ignore_result=True)
def watch_envelopes() -> None:
    """Put back the envelopes whose time is over, and apply what was asked for."""
    from graduation import envelopes

    envelopes.WATCH.run()
