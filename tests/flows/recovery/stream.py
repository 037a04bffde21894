"""The stories of stream, express lane, dead letters, metrics and dispatcher: Redis is killed, frozen, emptied."""

import os
import shutil
import signal
import time
from importlib import reload

import psutil
import redis
from django.db import transaction
from psycopg.types.json import Jsonb

from config import substrate
from execution import ledger, metrics
from execution.models import CycleState, Event
from recovery import dead_letters, dispatcher, handlers, queue, redis_server, stream
from recovery import metrics as recovery_metrics
from recovery.exceptions import AlreadyDecided
from recovery.models import DeadLetter, Handling, RecoveryCandidate
from tests import handler_skills
from tests.flows.processes import Process
from tests.hands import side_by_side
from tests.recovery.stream_rows import candidates, evaluate, open_count


def client():
    """Return a client of the real Redis."""
    return redis.from_url(substrate.addresses().redis_url, decode_responses=True, protocol=2)


def kill_redis():
    """End Redis at once."""
    with client() as server:
        pid = server.info()["process_id"]
    os.kill(pid, signal.SIGKILL)
    process = psutil.Process(pid) if psutil.pid_exists(pid) else None
    if process is not None:
        psutil.wait_procs([process], timeout=10)


def start_redis(*, is_empty):
    """Start Redis again, with what it had on disk or with nothing."""
    if is_empty:
        folder = substrate.addresses().home / "redis"
        assert folder.is_dir()
        shutil.rmtree(folder)
    substrate.ensure()
    redis_server.forget()
    if is_empty:
        with client() as server:
            assert server.dbsize() == 0


def work():
    """Do one pass of the stream here."""
    redis_server.forget()
    return stream.work(evaluate=evaluate)


def claim():
    """Evaluate what is open, the urgent first, as the database claim does: it asks no Redis."""
    wanted = list(
        RecoveryCandidate.objects.filter(state="open").order_by("-is_urgent", "id").values_list("pk", flat=True)
    )
    return evaluate(wanted, source="claim", by="claimer") and wanted


def consumer(stage, mode, file):
    """Start a consumer that stops or dies where the mode says."""
    return stage.keep(Process(("tests.flows.consumer", mode, str(file)), log=stage.folder / f"{file.name}.log"))


def emptied_express_lane(stage):
    """21: Redis is killed and comes back empty; a taker is killed; Redis stays away: each candidate is evaluated, urgent first."""
    ordinary, urgent = candidates(2), candidates(2)
    queue.push(urgent)
    kill_redis()
    start_redis(is_empty=True)
    assert work() == 0, "the list is gone"
    assert claim()[:2] == sorted(urgent), "the database knows what is urgent"
    assert open_count() == 0

    taken = candidates(1)
    queue.push(taken)
    mark = stage.folder / "taken"
    taker = consumer(stage, "before", mark)
    stage.eventually(mark.exists, timeout=30)
    taker.kill()
    with client() as server:
        assert queue.length(server) == 0
        for key in server.keys(queue._alive("*")):
            server.delete(key)  # a minute passes
    assert stream.tidy() >= 1, "what it held goes on in the stream"
    work()
    assert open_count() == 0

    kill_redis()
    redis_server.forget()
    away = candidates(2)
    began = time.monotonic()
    queue.push(away)
    stream.add(away)
    assert time.monotonic() - began < redis_server.SILENT_SECONDS, "nobody waits for a Redis that is away"
    assert work() == 0
    assert sorted(claim()) == sorted(away)
    assert open_count() == 0
    start_redis(is_empty=False)
    assert set(ordinary + urgent + taken + away) == set(RecoveryCandidate.objects.values_list("pk", flat=True))


def entries_before_the_group(stage):
    """22: entries written before the group, before its loss, and while Redis restarts or hangs are read, or found by the claim."""
    first = candidates(3)
    stream.add(first)
    with client() as server:
        assert server.xinfo_groups(stream.key()) == []
        assert work() == 3
        assert open_count() == 0

        stream.add(candidates(2))
        server.xgroup_destroy(stream.key(), stream.GROUP)
        assert work() == 2, "only what was not acknowledged is read again"

        stream.add(candidates(2))
        server.config_set("appendfsync", "always")
        stream.add(candidates(1))
    kill_redis()
    start_redis(is_empty=False)
    assert work() == 3
    assert open_count() == 0

    with client() as server:
        pid = server.info()["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        wanted, began = candidates(3), time.monotonic()
        for one in wanted:
            stream.add([one])
        assert time.monotonic() - began < 1, "a Redis that hangs costs its caller a fraction of a second"
    finally:
        os.kill(pid, signal.SIGCONT)
    work()
    claim()
    assert open_count() == 0

    stream.add(candidates(2))
    seen = []

    def flushed(wanted, *, source, by):
        with client() as flushing:
            flushing.flushall()
        seen.extend(wanted)
        return evaluate(wanted, source=source, by=by)

    redis_server.forget()
    stream.work(evaluate=flushed)
    assert len(seen) == 2
    stream.add(candidates(1))
    assert work() == 1
    assert open_count() == 0


def killed_consumers(stage):
    """23: one is killed before its evaluation, one after the commit and before the acknowledgement, one is frozen past its time."""
    crew = {}
    for mode in ("before", "after"):
        stream.add(candidates(1))
        crew[mode] = consumer(stage, mode, stage.folder / mode)
        stage.eventually((stage.folder / mode).exists, timeout=30)
    stream.add(candidates(1))
    crew["frozen"] = consumer(stage, "before", stage.folder / "frozen")
    stage.eventually((stage.folder / "frozen").exists, timeout=30)
    crew["frozen"].freeze()
    crew["before"].kill()
    crew["after"].kill()
    evaluated = RecoveryCandidate.objects.get(state="waiting")
    with client() as server:
        assert stream.figures(server).pending == 3
        assert work() == 0, "within its time nobody takes what another holds"

        _let_a_minute_pass(server)
        assert work() == 3
        assert stream.figures(server).length == 0
        assert open_count() == 0
        once = RecoveryCandidate.objects.get(pk=evaluated.pk)
        assert (once.evaluated_at, once.claimed_by) == (evaluated.evaluated_at, evaluated.claimed_by), "evaluated once"
        assert RecoveryCandidate.objects.filter(claimed_by=stream.consumer_name()).count() == 2
        crew["frozen"].wake()
        crew["frozen"].kill()
        assert stream.Consumer(server, evaluate).retire_others(idle_seconds=-1) == 3
    assert not DeadLetter.objects.exists()


def _let_a_minute_pass(server):
    """Let what is pending have been so for longer; its holders and its count of deliveries stay."""
    for row in server.xpending_range(stream.key(), stream.GROUP, "-", "+", 100):
        held = ("XCLAIM", stream.key(), stream.GROUP, row["consumer"], 0, row["message_id"])
        server.execute_command(*held, "IDLE", 61_000, "RETRYCOUNT", row["times_delivered"], "JUSTID")


def poison_entry(stage):
    """24: an entry kills each evaluator, and the last one dies between letter and acknowledgement; replayed twice at once."""
    poison, *others = candidates(4)
    file = stage.folder / "poison"
    file.write_text(str(poison))
    stream.add([poison, *others])
    os.environ |= {"CELERIAC_STREAM_IDLE_SECONDS": "0.2", "CELERIAC_STREAM_TRIES": "3"}
    try:
        for death in range(1, 4):
            victim = consumer(stage, "dies", file)
            victim.process.wait(60)
            assert victim.process.returncode == -signal.SIGKILL, f"death {death}"
            _wait_until_idle(stage)
        undertaker = consumer(stage, "buries", stage.folder / "buried")
        undertaker.process.wait(60)
        assert (stage.folder / "buried").exists()
        _wait_until_idle(stage)
        last = consumer(stage, "works", stage.folder / "none")
        assert last.process.wait(60) == 0
    finally:
        del os.environ["CELERIAC_STREAM_IDLE_SECONDS"], os.environ["CELERIAC_STREAM_TRIES"]
    letter = DeadLetter.objects.get()
    assert letter.body == {"candidate": str(poison)}
    assert letter.tries > 3
    assert "3 deliveries ended without an answer" in letter.reason
    assert Event.objects.filter(kind="letter.died", data__letter=str(letter.pk)).count() == 1
    assert RecoveryCandidate.objects.get(state="open").pk == poison, "its neighbours were evaluated"
    with client() as server:
        assert stream.figures(server) == stream.Figures(length=0, pending=0, dead=0)
        answers = side_by_side(*[lambda: _replayed(letter)] * 4)
        assert sorted(answers) == [False, False, False, True]
        assert stream.figures(server).length == 1
    work()
    assert open_count() == 0
    assert DeadLetter.objects.count() == 1


def _wait_until_idle(stage):
    """Wait until what is pending may be taken over."""
    with client() as server:
        stage.eventually(lambda: server.xpending_range(stream.key(), stream.GROUP, "-", "+", 1, idle=250))


def _replayed(letter):
    try:
        dead_letters.replay(DeadLetter.objects.get(pk=letter.pk), by="ann")
    except AlreadyDecided:
        return False
    return True


def metrics_without_redis(stage):
    """25: Redis frozen, then dead, the totals' row gone: the page tells the rest, the pass goes on, evaluation too."""
    stream.add(candidates(2))
    page = metrics.text().decode()
    assert "recovery_stream_length 2.0" in page
    with client() as server:
        pid = server.info()["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        page = metrics.text().decode()
        assert time.monotonic() - began < 10
        assert "recovery_outbox_pending" in page
        assert "recovery_stream_length 2.0" not in page
    finally:
        os.kill(pid, signal.SIGCONT)
    kill_redis()
    redis_server.forget()
    CycleState.objects.filter(pk=recovery_metrics.STATE).delete()
    page = metrics.text().decode()
    assert "recovery_dead_letter_length 0.0" in page
    assert "celeriac_workers" in page
    assert recovery_metrics.SAMPLE.run() == 0
    assert CycleState.objects.get(pk=recovery_metrics.STATE).error_count == 0
    claim()
    assert open_count() == 0
    start_redis(is_empty=True)
    assert "recovery_stream_length 0.0" in metrics.text().decode()


def lost_publications(stage):
    """27: a viewer dies, Redis is killed with all its messages, an attendant is killed: every handler does all its work, once."""
    reload(handler_skills)
    folder = str(stage.folder)
    worker = stage.worker(queues="celeriac", skills="tests.handler_skills")
    with client() as server, server.pubsub() as viewer:
        viewer.subscribe(dispatcher.channel())
        assert viewer.get_message(timeout=5)["type"] == "subscribe"
        _happen(5, folder)
        _nudge_until(stage, lambda: len(_noted(stage)) == 5)
        heard = [viewer.get_message(timeout=1) for _ in range(5)]
        assert [message["type"] for message in heard] == ["message"] * 5
    kill_redis()
    _happen(5, folder)
    start_redis(is_empty=True)
    _happen(5, folder)
    _nudge_until(stage, lambda: len(_noted(stage)) == 15)
    attendants = [one for one in worker.children if "recovery.handling_process" in " ".join(one.cmdline())]
    assert attendants
    for one in attendants:
        one.kill()
    _happen(5, folder)
    _nudge_until(stage, lambda: len(_noted(stage)) == 20)
    events = Event.objects.filter(kind="tests.quick", data__folder=folder).values_list("pk", flat=True)
    assert sorted(_noted(stage)) == sorted(str(one) for one in events), "each once"
    done = Handling.objects.filter(handler="tests.quick", event__data__folder=folder, state="done")
    stage.eventually(lambda: done.count() == 20)


def _happen(count, folder):
    for _ in range(count):
        with transaction.atomic():
            ledger.ask_in_transaction(
                "SELECT execution_log_v1('tests.quick', NULL, NULL, NULL, NULL, %s)", [Jsonb({"folder": folder})]
            )


def _noted(stage):
    """Return the ids of the events that the handler has noted."""
    path = stage.folder / "quick"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def _nudge_until(stage, condition):
    """Send the dispatcher's task, as beat does, until something is so."""

    def nudged():
        handlers.nudge("recovery.dispatch")
        return condition()

    stage.eventually(nudged, timeout=60, every=0.5)


STORIES = {
    21: emptied_express_lane,
    22: entries_before_the_group,
    23: killed_consumers,
    24: poison_entry,
    25: metrics_without_redis,
    27: lost_publications,
}
