"""The stream: read from before its group, taken over from the dead, given up after so many tries, never the truth."""

import json
import os
import signal
import time
import uuid
from datetime import timedelta

import psutil
import pytest
import redis
from django.db import transaction
from django.utils import timezone

from config import substrate
from execution import ids
from execution.models import CycleState, Event
from recovery import dead_letters, queue, redis_server, stream
from recovery.exceptions import NotFound
from recovery.models import DeadLetter, RecoveryCandidate
from tests.hands import MARKS, side_by_side
from tests.recovery.stream_rows import candidates, evaluate, open_count

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


def work():
    """Do one pass with the noting evaluator."""
    return stream.work(evaluate=evaluate)


def deaths(letter):
    """Return how often the log tells of a letter's death."""
    return Event.objects.filter(kind="letter.died", data__letter=str(letter.pk)).count()


def make_idle(server, entry_id, consumer="dead:1", *, deliveries=1, idle_ms=61_000):
    """Let a consumer hold an entry since long ago, delivered so often."""
    stream.make_group(server)
    server.xgroup_createconsumer(stream.key(), stream.GROUP, consumer)
    server.execute_command(
        "XCLAIM", stream.key(), stream.GROUP, consumer, 0, entry_id, "IDLE", idle_ms, "RETRYCOUNT", deliveries, "FORCE"
    )


def read_all(server, consumer="dead:1"):
    """Deliver all to a consumer that does nothing."""
    stream.make_group(server)
    found = server.xreadgroup(stream.GROUP, consumer, {stream.key(): ">"}, count=1000)
    return [entry_id for _, entries in found for entry_id, _ in entries]


class TestAdd:
    def test_after_the_commit(self, server):
        """What is rolled back is never added; what commits is."""
        one, other = candidates(2)
        with transaction.atomic():
            stream.add([one])
            transaction.set_rollback(True)
        with transaction.atomic():
            stream.add([other])
            assert server.xlen(stream.key()) == 0
        assert [fields for _, fields in server.xrange(stream.key())] == [{"candidate": str(other)}]

    def test_full_stream_takes_no_more(self, server, settings):
        """Nothing is trimmed to make room: the newest stay out, and the database claim finds them."""
        settings.CELERIAC = settings.CELERIAC | {"stream_most": 3}
        wanted = candidates(5)
        stream.add(wanted[:2])
        stream.add(wanted[2:])
        assert [fields["candidate"] for _, fields in server.xrange(stream.key())] == [str(one) for one in wanted[:3]]
        work()
        assert open_count() == 2
        stream.add(wanted[3:])
        work()
        assert open_count() == 0

    def test_frozen_redis_costs_a_fraction_of_a_second(self, server):
        """A Redis that hangs is asked once, for a quarter of a second, and then not for some seconds."""
        pid = server.info()["process_id"]
        wanted = candidates(40)
        os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            for one in wanted:
                stream.add([one])
            assert queue.push(wanted) == 40
            assert time.monotonic() - began < len(wanted) * redis_server.HURRY_SECONDS / 2, "it was not asked each time"
        finally:
            os.kill(pid, signal.SIGCONT)
        assert open_count() == 40
        assert RecoveryCandidate.objects.filter(is_urgent=True).count() == 40

    def test_absent_redis_raises_nothing(self, settings):
        """No Redis, a dead one, or something else at its address: the caller goes on."""
        wanted = candidates(1)
        for url in ("", "redis://127.0.0.1:1/0", "unix:///nowhere/redis.sock"):
            settings.REDIS_URL = url
            redis_server.forget()
            stream.add(wanted)
            queue.push(wanted)
            assert work() == 0
            assert stream.tidy() == 0 if not url else True

    def test_full_redis(self, server):
        """A Redis without memory takes nothing more: what it holds is evaluated, and the rest found by the claim."""
        wanted = candidates(3)
        stream.make_group(server)
        stream.add(wanted[:2])
        server.config_set("maxmemory", 1)
        try:
            stream.add(wanted[2:])
            assert queue.push(wanted[2:]) == 1
            assert work() == 2
            assert server.xlen(stream.key()) == 0
        finally:
            server.config_set("maxmemory", 0)
        assert list(RecoveryCandidate.objects.filter(state="open").values_list("pk", "is_urgent")) == [
            (wanted[2], True)
        ]

    def test_redis_that_knows_no_streams(self, server):
        """A server that refuses, here because the key is something else, is as good as none."""
        server.set(stream.key(), "a text")
        stream.add(candidates(1))
        assert work() == 0
        assert open_count() == 1


class TestRead:
    def test_entries_from_before_the_group(self, server):
        """The group begins at 0."""
        stream.add(candidates(3))
        assert server.xinfo_groups(stream.key()) == []
        assert work() == 3
        assert open_count() == 0
        assert server.xlen(stream.key()) == 0

    def test_acknowledged_after_the_evaluation(self, server):
        """While an evaluator works, its entries are pending; afterwards they have left the stream."""
        stream.add(candidates(2))
        seen = []

        def look(wanted, *, source, by):
            figures = stream.figures(server)
            seen.append((figures.length, figures.pending, figures.lag, source, by))
            return evaluate(wanted, source=source, by=by)

        stream.work(evaluate=look)
        assert seen == [(2, 2, 0, "stream", stream.consumer_name())]
        figures = stream.figures(server)
        assert (figures.length, figures.pending, figures.lag) == (0, 0, 0)

    def test_one_that_fails_takes_no_other_along(self, server):
        """Of a batch that fails each is evaluated alone; the one that fails again stays pending."""
        wanted = candidates(5)
        stream.add(wanted)

        def fragile(asked, *, source, by):
            if wanted[2] in asked:
                raise ValueError("poison")
            return evaluate(asked, source=source, by=by)

        stream.work(evaluate=fragile)
        assert list(RecoveryCandidate.objects.filter(state="open").values_list("pk", flat=True)) == [wanted[2]]
        assert stream.figures(server).pending == 1

    @pytest.mark.parametrize("loss", ["flushall", "destroy"])
    def test_group_lost_in_mid_flight(self, server, loss):
        """The group is made anew, and what is added or still there is read."""
        stream.add(candidates(2))

        def losing(wanted, *, source, by):
            if loss == "flushall":
                server.flushall()
            else:
                server.xgroup_destroy(stream.key(), stream.GROUP)
            return evaluate(wanted, source=source, by=by)

        stream.work(evaluate=losing)
        stream.add(candidates(2))
        assert work() >= 2
        assert open_count() == 0
        assert stream.figures(server).length == 0

    def test_held_by_another_counts_as_done(self, server):
        """What somebody else evaluates just now is acknowledged; what failed here is not, though a lease is kept."""
        held, failed = candidates(2)
        stream.add([held, failed])
        rows = RecoveryCandidate.objects.filter(pk__in=[held, failed])
        rows.update(lease_until=timezone.now() + timedelta(seconds=60), claimed_by="claimer:1")
        rows.filter(pk=failed).update(last_error="ValueError: no")
        stream.work(evaluate=lambda wanted, *, source, by: set())
        assert [fields["candidate"] for _, fields in server.xrange(stream.key())] == [str(failed)]

    def test_names_are_unique(self):
        """No process has ever had another's name: neither the same number again nor the same host."""
        assert len({stream._name_of.__wrapped__(os.getpid()) for _ in range(100)}) == 100


class TestTakeOver:
    def test_idle_above_a_minute(self, server):
        """What a consumer has held for a minute is taken over; what it has held for less is its own."""
        wanted = candidates(2)
        stream.add(wanted)
        first, second = read_all(server)
        make_idle(server, first)
        make_idle(server, second, idle_ms=30_000)
        assert work() == 1
        assert open_count() == 1

    def test_cursor_is_followed_to_its_end(self, server):
        """However many were left, one pass takes them all over."""
        stream.add(candidates(25))
        for entry_id in read_all(server):
            make_idle(server, entry_id)
        assert work() == 25
        assert open_count() == 0
        assert stream.figures(server).length == 0

    def test_each_alone(self, server):
        """Suspects are evaluated one by one."""
        stream.add(candidates(3))
        for entry_id in read_all(server):
            make_idle(server, entry_id)
        sizes = []

        def look(wanted, *, source, by):
            sizes.append(len(wanted))
            return evaluate(wanted, source=source, by=by)

        stream.work(evaluate=look)
        assert sizes == [1, 1, 1]

    def test_one_that_kills_counts_against_no_other(self, server):
        """What stands behind an entry that ends its evaluator has not been delivered with it."""
        stream.add(candidates(3))
        entries = read_all(server)
        for entry_id in entries:
            make_idle(server, entry_id)

        def die(wanted, *, source, by):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stream.work(evaluate=die)
        pending = server.xpending_range(stream.key(), stream.GROUP, "-", "+", 10)
        assert [row["times_delivered"] for row in pending] == [2, 1, 1]

    def test_entry_that_was_deleted_is_let_go(self, server):
        """An entry that somebody deleted does not stay pending for ever."""
        stream.add(candidates(2))
        first, second = read_all(server)
        server.xdel(stream.key(), first)
        for entry_id in (first, second):
            make_idle(server, entry_id)
        work()
        assert stream.figures(server).pending == 0

    def test_idle_consumers_are_removed(self, server):
        """Who was not heard of for long and holds nothing is removed; who holds something never is."""
        stream.add(candidates(1))
        (held,) = read_all(server, "holder:1")
        server.xgroup_createconsumer(stream.key(), stream.GROUP, "gone:1")
        consumer = stream.Consumer(server, evaluate)
        assert consumer.retire_others() == 0
        assert consumer.retire_others(idle_seconds=-1) == 1
        assert [one["name"] for one in server.xinfo_consumers(stream.key(), stream.GROUP)] == ["holder:1"]
        make_idle(server, held, "holder:1")
        assert work() == 1
        assert consumer.retire_others(idle_seconds=-1) == 1

    def test_consumer_that_reads_before_its_removal_is_kept(self, server):
        """Between the look and the removal it may be given an entry: removing it would drop that."""
        stream.add(candidates(1))
        read_all(server, "late:1")
        assert server.eval(stream._RETIRE, 1, stream.key(), stream.GROUP, "late:1") == 0
        assert stream.figures(server).pending == 1


class TestDeadLetters:
    def test_after_so_many_deliveries(self, server):
        """An evaluation that fails each time ends as a dead letter, with its reason; the original has left the stream."""
        (wanted,) = candidates(1)
        stream.add([wanted])

        def fail(asked, *, source, by):
            raise ValueError("no rule fits")

        for delivery in range(1, 6):
            assert DeadLetter.objects.count() == 0
            stream.work(evaluate=fail)
            for row in server.xpending_range(stream.key(), stream.GROUP, "-", "+", 10):
                make_idle(server, row["message_id"], deliveries=delivery)
        letter = DeadLetter.objects.get()
        assert (letter.queue, letter.tries, letter.body) == ("stream", 5, {"candidate": str(wanted)})
        assert letter.reason == "ValueError: no rule fits"
        assert stream.figures(server) == stream.Figures(length=0, pending=0, dead=0)
        assert deaths(DeadLetter.objects.get()) == 1

    def test_evaluator_that_dies_each_time(self, server):
        """After five deaths it is given up without being tried again."""
        stream.add(candidates(1))
        (entry_id,) = read_all(server)
        make_idle(server, entry_id, deliveries=5)
        stream.work(evaluate=lambda *_, **__: pytest.fail("it is not evaluated again"))
        assert "5 deliveries ended without an answer" in DeadLetter.objects.get().reason

    def test_evaluated_by_another_way_is_no_dead_letter(self, server):
        """What was settled meanwhile is acknowledged, however often it was delivered."""
        (wanted,) = candidates(1)
        stream.add([wanted])
        (entry_id,) = read_all(server)
        make_idle(server, entry_id, deliveries=9)
        evaluate([wanted], source="claim", by="claimer")
        work()
        assert not DeadLetter.objects.exists()
        assert stream.figures(server).length == 0

    def test_unreadable_entry_dies_at_once(self, server):
        """An entry that names no candidate needs no second look."""
        server.xadd(stream.key(), {"candidate": "nonsense"})
        server.xadd(stream.key(), {"other": "field"})
        stream.add(candidates(1))
        work()
        assert open_count() == 0
        assert {letter.reason.partition(":")[0] for letter in DeadLetter.objects.all()} == {"it names no candidate"}
        assert DeadLetter.objects.count() == 2

    def test_candidate_that_is_not_there(self, server, settings):
        """An entry whose candidate is unknown is given up, and its letter says so."""
        settings.CELERIAC = settings.CELERIAC | {"stream_tries": 1}
        stream.add([ids.new()])
        work()
        assert DeadLetter.objects.get().reason == "there is no such candidate"

    def test_decided_letters_leave_after_a_while(self):
        """What was replayed or dismissed long ago is removed, so many at once; what waits stays, however old it is."""
        long_ago = timezone.now() - timedelta(days=31)
        for name in ("waits", "replayed", "dismissed", "lately"):
            dead_letters.keep(queue="stream", original_id=name, body={}, reason="r", tries=5)
        rows = DeadLetter.objects
        rows.update(died_at=long_ago)
        rows.filter(original_id__in=["replayed", "dismissed"]).update(replayed_at=long_ago, replayed_by="ann")
        rows.filter(original_id="lately").update(replayed_at=timezone.now() - timedelta(days=29), is_dismissed=True)
        assert [dead_letters.forget(limit=1) for _ in range(3)] == [1, 1, 0]
        assert set(rows.values_list("original_id", flat=True)) == {"waits", "lately"}

    def test_passes_that_forget_do_each_other_no_harm(self):
        """Two at once remove each letter once; by the task that beat sends."""
        from recovery import tasks

        DeadLetter.objects.bulk_create(
            DeadLetter(queue="q", original_id=str(n), body={}, replayed_at=timezone.now() - timedelta(days=31))
            for n in range(50)
        )
        assert sum(side_by_side(dead_letters.forget, dead_letters.forget)) == 50
        tasks.forget_dead_letters()
        assert CycleState.objects.get(pk=dead_letters.FORGET.name).error_count == 0

    def test_crash_between_letter_and_acknowledgement(self, server):
        """The entry is buried again; there is one dead letter."""
        stream.add(candidates(1))
        (entry_id,) = read_all(server)
        make_idle(server, entry_id, deliveries=5)
        fields = server.xrange(stream.key())[0][1]
        for _ in range(2):
            dead_letters.send(server, queue="stream", original_id=entry_id, body=fields, reason="first", tries=5)
        work()
        assert DeadLetter.objects.count() == 1
        assert deaths(DeadLetter.objects.get()) == 1
        assert stream.figures(server) == stream.Figures(length=0, pending=0, dead=0)

    def test_archive_that_dies_before_it_removes(self, server):
        """What is kept already is not kept twice."""
        dead_letters.send(server, queue="stream", original_id="1-1", body={"candidate": "x"}, reason="r", tries=5)
        (entry,) = server.xrange(dead_letters.key())
        dead_letters._keep_sent(*entry)
        assert dead_letters.archive(server) == 0
        assert DeadLetter.objects.count() == 1
        assert server.xlen(dead_letters.key()) == 0

    def test_garbage_in_their_stream_is_kept(self, server):
        """Whatever somebody wrote there becomes a letter, and stands in nobody's way."""
        server.xadd(dead_letters.key(), {"body": "no json", "tries": "many"})
        assert dead_letters.archive(server) == 1
        assert DeadLetter.objects.get().body == {"text": "no json"}

    @pytest.mark.parametrize("body", ["{}", "[1]", '{"handling": 7}', '{"handling": "x"}', '"text"'])
    def test_garbage_cannot_be_replayed(self, server, body):
        """A letter that claims to be a handler's, and names nothing that it did, is refused in words and stays."""
        server.xadd(dead_letters.key(), {"queue": "handler:shop.tell", "body": body})
        dead_letters.archive(server)
        letter = DeadLetter.objects.get()
        with pytest.raises(NotFound, match="dismiss the letter"):
            dead_letters.replay(letter, by="ann")
        assert list(dead_letters.waiting()) == [letter]

    def test_garbage_that_no_database_holds(self, server):
        """Bytes, NUL, half a character, numbers too large: kept as a text, and in nobody's way."""
        with redis.from_url(substrate.addresses().redis_url) as raw:
            raw.xadd(stream.key(), {b"candidate": b"\xff\xfe\x00"})
            raw.xadd(dead_letters.key(), {b"body": b'{"a": "\\u0000"}', b"reason": b"\xff\x00"})
            raw.xadd(dead_letters.key(), {b"body": b'{"a": "\\ud800"}'})
            raw.xadd(dead_letters.key(), {b"queue": b"q" * 500, b"tries": b"9" * 40})
            raw.xadd(dead_letters.key(), {b"tries": b"9" * 5000})
            raw.xadd(dead_letters.key(), {b"tries": "²".encode()})
            raw.xadd(dead_letters.key(), {b"body": b"[" * 100_000})
            raw.lpush(queue.key(), b"\xff\x00")
        stream.add(candidates(1))
        work()
        assert open_count() == 0
        assert DeadLetter.objects.count() == 8
        assert stream.figures(server) == stream.Figures(length=0, pending=0, dead=0)


class TestExpressLane:
    def test_before_the_stream(self, server):
        """What an operator wants now is evaluated first, the oldest first."""
        ordinary, urgent = candidates(2), candidates(2)
        stream.add(ordinary)
        assert queue.push(urgent) == 2
        asked = []

        def look(wanted, *, source, by):
            asked.append((source, list(wanted)))
            return evaluate(wanted, source=source, by=by)

        stream.work(evaluate=look)
        assert asked[0][0] == "express"
        assert sorted(asked[0][1]) == sorted(urgent)
        assert asked[1] == ("stream", ordinary)
        assert not server.keys(f"{queue.key()}:{stream.consumer_name()}")

    def test_empty_redis_loses_nothing(self, server):
        """The database knows what is urgent before Redis is told."""
        wanted = candidates(2)
        queue.push(wanted)
        server.flushall()
        assert work() == 0
        assert RecoveryCandidate.objects.filter(is_urgent=True, state="open").count() == 2

    def test_failed_goes_on_in_the_stream(self, server):
        """What the lane could not do is tried by the stream, where deliveries are counted."""
        queue.push(candidates(1))
        calls = []

        def fail_once(wanted, *, source, by):
            calls.append(source)
            if source == "express":
                raise ValueError("not now")
            return evaluate(wanted, source=source, by=by)

        stream.work(evaluate=fail_once)
        assert calls == ["express", "stream"]
        assert open_count() == 0

    def test_dead_consumer_gives_back(self, server):
        """What a killed consumer had taken goes on in the stream; who still lives keeps what it holds."""
        wanted = candidates(2)
        queue.push(wanted)
        assert len(queue._take(server, "dead:1", 1)) == 1
        assert queue.give_back(server) == 0
        server.delete(queue._alive("dead:1"))
        assert queue.give_back(server) == 1
        assert queue.give_back(server) == 0
        work()
        assert open_count() == 0

    def test_what_an_interrupted_pass_left_is_done_with_the_next(self, server):
        """The same process finishes what it had taken before an error."""
        queue.push(candidates(2))
        queue._take(server, stream.consumer_name(), 1)
        work()
        assert open_count() == 0

    def test_nonsense_becomes_a_letter(self, server):
        """An item that names no candidate is kept once."""
        server.lpush(queue.key(), "nonsense", "nonsense")
        work()
        letter = DeadLetter.objects.get()
        assert (letter.queue, letter.body) == ("express", {"item": "nonsense"})

    def test_evaluated_candidates_are_not_made_urgent(self):
        """There is nothing to hurry."""
        wanted = candidates(1)
        evaluate(wanted, source="claim", by="x")
        assert queue.push(wanted) == 0


def test_restarted_empty(server, eventually):
    """Redis is killed and comes back empty, while entries wait: the pass goes on, and what is added then is read."""
    stream.add(candidates(2))
    stream.make_group(server)
    pid = server.info()["process_id"]
    folder = server.config_get("dir")["dir"]
    assert folder.startswith(str(substrate.addresses().home))
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert work() == 0
    substrate.ensure()
    server.flushall()
    redis_server.forget()
    stream.add(candidates(1))
    assert work() == 1
    assert open_count() == 2, "the database claim takes these"


def test_ids_are_texts_in_redis(server):
    """What stands in Redis is plain JSON-able text."""
    (wanted,) = candidates(1)
    stream.add([wanted])
    ((_, fields),) = server.xrange(stream.key())
    assert uuid.UUID(json.loads(json.dumps(fields))["candidate"]) == wanted
