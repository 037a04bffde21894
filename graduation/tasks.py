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
