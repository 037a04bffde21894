"""Celery doorways: each calls one verb."""

from celery import shared_task

from recovery import workflows  # noqa: F401 - every worker knows the steps of incidents


@shared_task(name="recovery.deliver_outbox", ignore_result=True)
def deliver_outbox() -> None:
    """Send the webhooks that are due."""
    from recovery import courier

    courier.CYCLE.run()


@shared_task(name="recovery.clean_up_outbox", ignore_result=True)
def clean_up_outbox() -> None:
    """Remove the webhooks that were delivered long ago."""
    from recovery import courier

    courier.CLEAN_UP.run()


@shared_task(name="recovery.work_stream", ignore_result=True)
def work_stream() -> None:
    """Evaluate what the express lane and the stream hold."""
    from recovery import stream

    stream.WATCH.run()


@shared_task(name="recovery.dispatch", ignore_result=True)
def dispatch() -> None:
    """Give new events to their handlers."""
    from recovery import dispatcher

    dispatcher.WATCH.run()


@shared_task(name="recovery.sample_metrics", ignore_result=True)
def sample_metrics() -> None:
    """Count what recovery has done, and look after the stream."""
    from recovery import metrics

    metrics.SAMPLE.run()


@shared_task(name="recovery.forget_handled", ignore_result=True)
def forget_handled() -> None:
    """Remove what was handled long ago."""
    from recovery import handling

    handling.FORGET.run()


@shared_task(name="recovery.forget_dead_letters", ignore_result=True)
def forget_dead_letters() -> None:
    """Remove dead letters that were decided long ago."""
    from recovery import dead_letters

    dead_letters.FORGET.run()


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
