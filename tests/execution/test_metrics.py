"""Metrics come from the ledger: the same whichever process performed, counted once, bounded."""

import os
from decimal import Decimal

import pytest
from django.db import connection
from prometheus_client.parser import text_string_to_metric_families

from execution import ids, ledger, metrics, runs
from execution.ledger import Record
from execution.models import CycleState, Event, EventReader
from tests.execution import seen

SKILLS = "tests.skills,tests.execution.seen"
pytestmark = pytest.mark.django_db(transaction=True)


def scrape():
    """Return every sample as {(name, labels): value}."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def value(samples, name, **labels):
    """Return one sample's value."""
    return samples.get((name, tuple(sorted(labels.items()))))


def claimed(run):
    """Claim a run's step as a worker does."""
    return ledger.claim(run.id, ids.new(), worker_id=ids.new(), pid=os.getpid())


def test_totals_from_prefork_children(workers, eventually):
    """What pool processes performed is counted by workflow, ending and kind, with durations, money and tokens."""
    workers("counted", skills=SKILLS, concurrency=2)
    for run in [runs.start(seen.spend), runs.start(seen.spend), runs.start(seen.twice)]:
        runs.wait(run, timeout=20)
    failing = runs.start(seen.fail)
    eventually(lambda: runs.get(failing.id).is_ended)
    found = scrape()
    assert value(found, "celeriac_runs_total", workflow="seen.spend", state="completed") == 2
    assert value(found, "celeriac_runs_opened_total", workflow="seen.twice") == 1
    assert value(found, "celeriac_runs_total", workflow="seen.fail", state="failed") == 1
    assert value(found, "celeriac_workflow_errors_total", kind="permanent") == 1
    assert value(found, "celeriac_skill_attempts_total", skill="seen.twice", ending="suspended") == 1
    assert value(found, "celeriac_skill_attempts_total", skill="seen.twice", ending="completed") == 1
    assert value(found, "celeriac_skill_duration_seconds_count", skill="seen.twice") == 2
    assert value(found, "celeriac_skill_duration_seconds_bucket", skill="seen.spend", le="+Inf") == 2
    assert value(found, "celeriac_workflow_duration_seconds_count", workflow="seen.spend") == 2
    assert value(found, "celeriac_cost_total") == 0.5
    assert value(found, "celeriac_tokens_total") == 200
    assert value(found, "celeriac_workers") == 1
    assert value(found, "celeriac_worker_slots", use="free") == 2
    assert value(found, "celeriac_ready_steps", queue="default") == 0
    assert value(found, "celeriac_upkeep_tick_age_seconds") < 30
    assert scrape()[("celeriac_cost_total", ())] == 0.5


def test_totals_are_folded_once():
    """A second scrape counts nothing again, and reads only what is new."""
    runs.start_many(seen.quick, [{"number": number} for number in range(5)])
    assert metrics.fold().opened == {"seen.quick": 5}
    touched = CycleState.objects.get(pk=metrics.STATE).touched_count
    assert metrics.fold().opened == {"seen.quick": 5}
    runs.start(seen.quick)
    assert metrics.fold().opened == {"seen.quick": 6}
    assert CycleState.objects.get(pk=metrics.STATE).touched_count == touched + 1


def test_fold_is_bounded(monkeypatch):
    """A scrape folds for a short time only; the next one goes on where it stopped."""
    monkeypatch.setattr(metrics, "BATCH", 3)
    runs.start_many(seen.quick, [{"number": number} for number in range(10)])
    seen_so_far = [metrics.fold(seconds=0).opened["seen.quick"] for _ in range(4)]
    assert seen_so_far == [3, 6, 9, 10]


def test_late_costs_are_counted_once():
    """What a lost worker had already spent is counted, and once, whether it is told before or after the scrape."""
    early, late = runs.start(seen.spend), runs.start(seen.spend)
    for run, scrapes_between in ((early, False), (late, True)):
        claim = claimed(run)
        spent = Record(token="a", kind="spend", position=1, cost=Decimal("0.10"), tokens=1)
        ledger.record(claim.step_id, claim.epoch, [spent])
        ledger.give_back(claim.step_id, claim.epoch, ending="lost", reason="worker died")
        if scrapes_between:
            metrics.fold()
        ledger.overdraw(claim.step_id, claim.attempt_id, "b", cost=Decimal("0.05"), tokens=2)
    totals = metrics.fold()
    assert (totals.cost, totals.tokens) == (Decimal("0.30"), 6)
    assert totals.attempts == {"seen.spend": {"lost": 2}}


def test_present_figures():
    """Active runs by state, ready steps by queue, waiting steps by reason, running steps and late timers are shown."""
    runs.start(seen.quick, queue="slow")
    claimed(runs.start(seen.quick))
    runs.pause(runs.start(seen.wait))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO execution_timer (id, kind, due_at) VALUES (%s, 'sleep', now() - interval '90 s')",
            [ids.new()],
        )
    found = scrape()
    assert value(found, "celeriac_workflow_active", state="pending") == 1
    assert value(found, "celeriac_workflow_active", state="running") == 1
    assert value(found, "celeriac_workflow_active", state="paused") == 1
    assert value(found, "celeriac_ready_steps", queue="slow") == 1
    assert value(found, "celeriac_running_steps") == 1
    assert value(found, "celeriac_waiting_steps", reason="paused") == 1
    assert 89 < value(found, "celeriac_timer_lateness_seconds") < 120


def test_event_lag():
    """A reader that stands still falls behind by the age of its first unread event; one that has read all does not."""
    EventReader.objects.create(name="slow")
    runs.start(seen.quick)
    found = scrape()
    assert 0 < value(found, "celeriac_event_lag_seconds", reader="slow") < 60
    assert value(found, "celeriac_event_lag_seconds", reader=metrics.STATE) == 0
    assert Event.objects.count() == 1


def test_names_are_bounded(monkeypatch):
    """Beyond so many names, further ones are counted together."""
    monkeypatch.setattr(metrics, "NAMES_MOST", 1)
    runs.start(seen.quick)
    runs.start(seen.wait)
    runs.start(seen.twice)
    assert metrics.fold().opened == {"seen.quick": 1, metrics.OTHER: 2}


def test_counts_are_estimated_above_a_bound(monkeypatch):
    """A count stops at its bound; what is beyond is the planner's estimate."""
    runs.start_many(seen.quick, [{"number": number} for number in range(50)])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE execution_step")
    monkeypatch.setattr(metrics, "COUNTED_MOST", 10)
    assert 10 <= metrics.counted("execution_step WHERE state = 'ready'") <= 100


def test_one_part_that_takes_too_long(monkeypatch):
    """A figure that the database does not give in time is left out; the others are there."""

    def slow():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 50; SELECT pg_sleep(5)")
        yield None

    slow.__name__ = "slow"
    monkeypatch.setattr(metrics, "_of_workers", slow)
    found = scrape()
    assert value(found, "celeriac_workers") is None
    assert value(found, "celeriac_timer_lateness_seconds") == 0
