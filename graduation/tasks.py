"""Celery doorways: each calls one verb."""

from celery import shared_task


@shared_task(name="graduation.watch_envelopes", ignore_result=True)
def watch_envelopes() -> None:
    """Put back the envelopes whose time is over, and apply what was asked for."""
    from graduation import envelopes

    envelopes.WATCH.run()


@shared_task(name="graduation.find_outcomes", ignore_result=True)
def find_outcomes() -> None:
    """Look what became of verdicts."""
    from graduation.learn import outcomes

    outcomes.WATCH.run()


@shared_task(name="graduation.look_back", ignore_result=True)
def look_back() -> None:
    """Look back on what went wrong."""
    from graduation.learn import retrospectives

    retrospectives.WATCH.run()


@shared_task(name="graduation.score_outputs", ignore_result=True)
def score_outputs() -> None:
    """Score a sample of what agents put out."""
    from graduation import quality

    quality.WATCH.run()


@shared_task(name="graduation.clean_up", ignore_result=True)
def clean_up() -> None:
    """Remove what is old."""
    from graduation import retention

    retention.CLEAN_UP.run()
