"""Celery doorways: each calls one verb."""

from celery import shared_task


@shared_task(name="graduation.watch_envelopes", ignore_result=True)
def watch_envelopes() -> None:
    """Put back the envelopes whose time is over, and apply what was asked for."""
    from graduation import envelopes

    envelopes.WATCH.run()


@shared_task(name="graduation.collect", ignore_result=True)
def collect() -> None:
    """Count what objectives count, and find where each stands."""
    from graduation.observe import collect as collecting

    collecting.COLLECT.run()


@shared_task(name="graduation.measure", ignore_result=True)
def measure() -> None:
    """Measure what agents decide against their objectives."""
    from graduation.observe import collect as collecting

    collecting.MEASURE.run()


@shared_task(name="graduation.watch_drift", ignore_result=True)
def watch_drift() -> None:
    """Watch rates, latency and cost for drift."""
    from graduation.observe import drifting

    drifting.WATCH.run()


@shared_task(name="graduation.forget_buckets", ignore_result=True)
def forget_buckets() -> None:
    """Remove the counts of minutes that no objective's period needs."""
    from graduation.observe import collect as collecting

    collecting.FORGET.run()


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
