"""Recovery's figures: on the one page of metrics, from tables and from Redis, and harmless when either is away."""

import os
import signal
import time
from datetime import timedelta

import pytest
import redis
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from config import substrate
from execution import doctor, ids, metrics
from execution.doctor import findings
from execution.models import CycleState, Event
from recovery import dead_letters, dispatcher, handling, redis_server, stream
from recovery import metrics as recovery_metrics
from recovery.doctor import queues
from recovery.models import (
    DistributedLock,
    FailurePatternExport,
    HandlerSwitch,
    Handling,
    RecoveryCandidate,
    Stage,
    SuggestionProvenance,
)
from tests.hands import MARKS
from tests.recovery.stream_rows import candidates, evaluate

pytestmark = MARKS


@pytest.fixture(autouse=True)
def _asked_anew():
    """Forget what an earlier test has made of Redis."""
    redis_server.forget()


@pytest.fixture
def server():
    """The real Redis."""
    with redis.from_url(substrate.addresses().redis_url, decode_responses=True, protocol=2) as client:
        yield client


def scrape():
    """Return every sample of recovery's as {(name, label values): value}."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels, reverse=True))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if sample.name.startswith("recovery_")
    }


def looked():
    """Return the doctor's findings about recovery, by id."""
    return {finding.id: finding for finding in findings.made(queues.LOOKS)}


def decided(candidate_id, source, decision, *, age=60):
    """Write a decision as the evaluator does, so many seconds ago."""
    RecoveryCandidate.objects.filter(pk=candidate_id).update(source=source, decision=decision)
    moment = timezone.now() - timedelta(seconds=age)
    row = SuggestionProvenance(candidate_id=candidate_id, stage=Stage.DECIDED, actor="rule")
    row.pk = ids.uuid.UUID(int=(int(moment.timestamp() * 1000) << 80) | (ids.new().int & (2**80 - 1)))
    row.save(force_insert=True)


def test_every_figure(server):
    """Each name is on the page with what the tables and Redis say."""
    wanted = candidates(4)
    stream.add(wanted[:3])
    stream.make_group(server)
    server.xreadgroup(stream.GROUP, "somebody", {stream.key(): ">"}, count=1)
    dead_letters.send(server, queue="stream", original_id="1-1", body={}, reason="r", tries=5)
    dead_letters.keep(queue="stream", original_id="1-2", body={}, reason="r", tries=5)
    decided(wanted[0], "stream", "automatic")
    decided(wanted[1], "stream", "approved")
    decided(wanted[2], "claim", "approved")
    decided(wanted[3], "claim", "approved", age=0)
    DistributedLock.objects.create(name="outbox", acquired_count=7, lost_count=2)
    FailurePatternExport.objects.create(
        night=timezone.now().date(),
        name="x",
        digest="d",
        size=500,
        state="uploaded",
        attempt_count=3,
        failure_count=2,
        uploaded_at=timezone.now(),
    )
    recovery_metrics.SAMPLE.run()
    found = scrape()
    assert {name: found[(f"recovery_{name}",)] for name in (
        "stream_length", "stream_pending", "stream_lag", "dead_letter_length", "outbox_pending", "outbox_lag_seconds",
        "export_bytes_total", "export_attempts_total", "export_failures_total", "outbox_published_total",
        "outbox_delivered_total", "outbox_failed_total", "outbox_dead_total",
    )} == {
        "stream_length": 3, "stream_pending": 1, "stream_lag": 2, "dead_letter_length": 2, "outbox_pending": 0,
        "outbox_lag_seconds": 0, "export_bytes_total": 500, "export_attempts_total": 3, "export_failures_total": 2,
        "outbox_published_total": 0, "outbox_delivered_total": 0, "outbox_failed_total": 0, "outbox_dead_total": 0,
    }  # fmt: skip
    assert found[("recovery_lock_acquired_total", "outbox")] == 7
    assert found[("recovery_lock_lost_total", "outbox")] == 2
    assert found[("recovery_candidates_total", "stream", "automatic")] == 1
    assert found[("recovery_candidates_total", "stream", "approved")] == 1
    assert found[("recovery_candidates_total", "claim", "approved")] == 1, "what is not settled yet is counted later"
    assert found[("recovery_candidates_waiting", "open")] == 4


def test_decisions_are_counted_once():
    """However often the pass runs, a decision counts once."""
    (wanted,) = candidates(1)
    decided(wanted, "claim", "approved")
    state = {}
    assert recovery_metrics.fold(state) == 1
    assert recovery_metrics.fold(state) == 0
    assert state["candidates"] == {"claim": {"approved": 1}}


def test_absent_redis_leaves_its_figures_out(settings):
    """Without Redis the page has everything else, and the pass goes on."""
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    dead_letters.keep(queue="stream", original_id="1-2", body={}, reason="r", tries=5)
    found = scrape()
    assert ("recovery_stream_length",) not in found
    assert found[("recovery_dead_letter_length",)] == 1
    assert recovery_metrics.SAMPLE.run() == 0
    assert CycleState.objects.get(pk=recovery_metrics.STATE).error_count == 0
    assert [one.level for one in findings.made([queues.stream_of_candidates])] == []


def test_frozen_redis_delays_a_scrape_briefly(server):
    """A Redis that hangs costs a scrape a fraction of a second."""
    pid = server.info()["process_id"]
    metrics.text()
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        list(recovery_metrics.of_stream())
        assert time.monotonic() - began < redis_server.PASS_SECONDS, "it is asked with less patience than by a pass"
    finally:
        os.kill(pid, signal.SIGCONT)


def test_figures_that_fail_take_no_others_along(monkeypatch):
    """What an app above cannot say is left out; the ledger's own figures stay."""
    monkeypatch.setattr(stream, "figures", lambda _: 1 / 0)
    page = metrics.text().decode()
    assert "celeriac_workers" in page
    assert "recovery_stream_length" not in page
    assert "recovery_outbox_pending" in page


def test_queries_of_a_scrape_are_pinned(django_assert_num_queries):
    """A scrape asks so often, whatever the tables hold."""
    with django_assert_num_queries(10):
        for part in recovery_metrics.PARTS:
            list(part())


def test_lag_is_told_once(server, settings):
    """The stream is half full: the log says so once, and once more when it has caught up; the doctor warns."""
    settings.CELERIAC = settings.CELERIAC | {"stream_most": 4}
    stream.add(candidates(3))
    state = {}
    for _ in range(2):
        recovery_metrics.sample(state)
    assert looked()["recovery.stream"].level == doctor.WARNING
    stream.add(candidates(1))
    assert looked()["recovery.stream"].level == doctor.ERROR
    stream.work(evaluate=evaluate)
    for _ in range(2):
        recovery_metrics.sample(state)
    kinds = list(Event.objects.filter(kind__startswith="stream.", data__most=4).values_list("kind", flat=True))
    assert kinds == ["stream.lagging", "stream.caught_up"]
    assert looked()["recovery.stream"].level == doctor.OK


def test_doctor_names_what_waits(server):
    """Stuck entries, dead letters, handlers that are off or not there, questions: each with how to mend it."""
    found = looked()
    assert {finding.level for finding in found.values()} == {doctor.OK}
    stream.add(candidates(1))
    stream.make_group(server)
    ((_, ((entry_id, _),)),) = server.xreadgroup(stream.GROUP, "dead:1", {stream.key(): ">"})
    server.execute_command("XCLAIM", stream.key(), stream.GROUP, "dead:1", 0, entry_id, "IDLE", 400_000)
    dead_letters.keep(queue="stream", original_id="1-2", body={}, reason="r", tries=5)
    HandlerSwitch.objects.create(handler="tests.off", is_enabled=False)
    old = timezone.now() - timedelta(minutes=10)
    for state in ("pending", "waiting"):
        Handling.objects.create(handler="tests.gone", event_id=ids.new(), kind="a.b", event={}, state=state, due_at=old)
    found = looked()
    assert "dead:1" in found["recovery.stream_pending"].text
    assert "1 dead letter: 1 of stream" in found["recovery.dead_letters"].text
    assert "tests.off" in found["recovery.handlers_off"].text
    assert "1 of tests.gone" in found["recovery.handlers_late"].text
    assert "1 question of handlers waits" in found["recovery.questions"].text
    assert {"recovery.stream", "recovery.dead_letters"} <= {one.id for one in doctor.examine()}


def test_cycles_are_scheduled():
    """Each doorway calls its cycle."""
    from recovery import schedule, tasks

    for entry in schedule.SCHEDULE:
        getattr(tasks, entry.task.removeprefix("recovery."))
    tasks.work_stream()
    tasks.sample_metrics()
    tasks.forget_handled()
    names = {stream.WATCH.name, recovery_metrics.SAMPLE.name, handling.FORGET.name}
    assert CycleState.objects.filter(pk__in=names, tick_count=1, error_count=0).count() == 3
    assert dispatcher.WATCH.name == "recovery.dispatcher"
