"""Celery doorways: each calls one verb."""

from celery import shared_task


@shared_task(name="graduation.watch_envelopes", ignore_result=True)
def watch_envelopes() -> None:
    """Put back the envelopes whose time is over, and apply what was asked for."""
    from graduation import envelopes

    envelopes.WATCH.run()


@shared_task(name="graduation.watch_ladder", ignore_result=True)
def watch_ladder() -> None:
    """Let agents fall, or be offered a rise, by what became of their decisions."""
    from graduation import ladder

    ladder.WATCH.run()


@shared_task(name="graduation.evaluate", ignore_result=True)
def evaluate() -> None:
    """Evaluate where each agent and the whole system stand."""
    from graduation import evaluator

    evaluator.WATCH.run()
