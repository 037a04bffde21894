"""The stories of locks, the outbox and webhooks."""

import contextlib
import json
from datetime import timedelta
from functools import partial

from django.db import connections
from django.test import override_settings
from django.utils import timezone
from psycopg.types.json import Jsonb

from execution import ids, ledger
from execution.models import CycleState
from recovery import locks, outbox, posting, webhooks
from recovery.models import Delivery, DistributedLock, OutboxEvent
from tests.flows import processes
from tests.flows.leader import NAME
from tests.hands import side_by_side
from tests.receivers import Receiver

QUICK = {"webhook_private_addresses": True, "webhook_lock_seconds": 1.5, "webhook_timeout_seconds": 8.0}


class Leader:
    """A process that leads, and what it has noted."""

    def __init__(self, stage, verb, name, **options):
        """Start it."""
        self._path = stage.folder / f"{name}.jsonl"
        command = ("tests.flows.leader", verb, str(self._path), json.dumps(QUICK | options))
        self.process = stage.keep(processes.Process(command, log=stage.folder / f"{name}.log"))
        self.freeze, self.wake, self.kill = self.process.freeze, self.process.wake, self.process.kill

    def noted(self, key):
        """Return the lines that tell of something."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return [found for found in map(json.loads, lines) if key in found]

    def log(self):
        """Return what it has logged."""
        return self.process.log_path.read_text()


@contextlib.contextmanager
def receiving(*names, **options):
    """Have a receiver with some endpoints."""
    receiver = Receiver()
    with override_settings(CELERIAC=QUICK):
        try:
            for name in names:
                made = webhooks.add(name, receiver.url(name), kinds=["signal.*"], **options)
                receiver.knows(name, made.secret)
            yield receiver
        finally:
            receiver.close()


def happen(run=None, **data):
    """Write an event."""
    sql = "SELECT execution_log_v1('signal.flow', %s, NULL, NULL, NULL, %s)"
    ledger.ask_in_transaction(sql, [run or ids.new(), Jsonb(data)])


def lock_row(name=NAME):
    """Return a lock's row."""
    return DistributedLock.objects.get(name=name)


def one_leader(stage):
    """16: of many that ask at once one leads; a frozen leader and a killed one are succeeded under a higher token."""
    answers = side_by_side(*(partial(locks.acquire, "crowd", ttl_seconds=30) for _ in range(16)))
    assert len([one for one in answers if one]) == 1
    first = Leader(stage, "hold", "first")
    stage.eventually(lambda: first.noted("acquired"))
    second = Leader(stage, "hold", "second")
    first.freeze()
    stage.eventually(lambda: second.noted("acquired"), message="a frozen leader is succeeded")
    first.wake()
    stage.eventually(lambda: first.noted("refused"), message="it learns that it was")
    assert second.noted("acquired")[0]["acquired"] == first.noted("acquired")[0]["acquired"] + 1
    second.kill()
    third = Leader(stage, "hold", "third")
    stage.eventually(lambda: third.noted("acquired"), message="a killed leader is succeeded")
    assert third.noted("acquired")[0]["acquired"] == 3
    assert (lock_row().acquired_count, lock_row().lost_count) == (3, 2)


def only_its_holder_releases(stage):
    """17: a leader that was frozen past its time releases nothing of its successor's, whatever it knows."""
    first = Leader(stage, "hold", "first")
    stage.eventually(lambda: first.noted("acquired"))
    first.freeze()
    successor = stage.eventually(lambda: locks.acquire(NAME, ttl_seconds=60))
    first.wake()
    stage.eventually(lambda: first.noted("refused"))
    assert first.noted("refused")[0]["released"] is False
    for stranger in (
        locks.Lock(name=NAME, holder="somebody", token=successor.token),
        locks.Lock(name=NAME, holder=successor.holder, token=successor.token - 1),
    ):
        assert not locks.release(stranger)
    assert lock_row().holder == successor.holder
    answers = side_by_side(*(partial(locks.release, successor) for _ in range(8)))
    assert answers.count(True) == 1, "and once"


def late_extension(stage):
    """18: a leader that was frozen past its time is refused more of it, though nobody else has asked for the lock."""
    first = Leader(stage, "hold", "first")
    stage.eventually(lambda: first.noted("acquired"))
    first.freeze()
    stage.eventually(lambda: lock_row().until < timezone.now(), message="its time has run out")
    token = lock_row().token
    first.wake()
    stage.eventually(lambda: first.noted("refused"))
    assert first.noted("refused")[0]["extended"] is False
    assert lock_row().token == token, "nobody has had it in between"
    again = locks.acquire(NAME, ttl_seconds=60)
    assert again.token == token + 1


def claimed_once_in_order(stage):
    """19: claims at once share no row; leaders are killed in mid-delivery again and again, and the order of each run stays."""
    with receiving("shop", is_ordered=True) as receiver:
        runs = [ids.new() for _ in range(12)]
        for number in range(5):
            for run in runs:
                happen(run, number=number)
        while outbox.publish():
            pass
        lock = locks.acquire(outbox.LOCK, ttl_seconds=60)
        claimed = side_by_side(*(partial(outbox.claim, lock, limit=3, each=20) for _ in range(8)))
        found = [parcel for parcels in claimed for parcel in parcels]
        found += outbox.claim(lock, each=20)
        assert len({one.message.id for one in found}) == len(found), "each in one hand"
        assert {one.message.body["data"]["run_id"] for one in found} == {str(run) for run in runs}
        assert {one.message.body["data"]["number"] for one in found} == {0}
        locks.release(lock)
        _forget_leases()
        receiver.behave("shop", wait=0.02)
        for turn in range(4):
            leader = Leader(stage, "deliver", f"leader-{turn}")
            before = len(receiver.seen)
            stage.eventually(lambda before=before: len(receiver.seen) >= before + 6, timeout=30)
            leader.kill()
            _forget_leases()
        last = Leader(stage, "deliver", "last")
        stage.eventually(lambda: not OutboxEvent.objects.exclude(state="delivered").exists(), timeout=40)
        last.kill()
        for run in runs:
            numbers = [one.body["data"]["number"] for one in receiver.seen if one.body["data"]["run_id"] == str(run)]
            assert numbers == sorted(numbers), "again at most, never out of order"
            assert set(numbers) == set(range(5))
        assert not receiver.refused


def _forget_leases():
    """Let the time pass until the leases of who was killed have run out."""
    past = timezone.now() - timedelta(seconds=1)
    DistributedLock.objects.filter(until__isnull=False).update(until=past)
    _forget_row_leases()


def _forget_row_leases():
    past = timezone.now() - timedelta(seconds=1)
    held = OutboxEvent.objects.filter(state="pending", lease_token__isnull=False)
    held.update(lease_until=past, due_at=past)


def stale_completion(stage):
    """20: a leader is frozen in mid-delivery past its time, and succeeded; when it wakes its completion is refused."""
    with receiving("shop") as receiver:
        receiver.behave("shop", wait=1.0)
        first = Leader(stage, "deliver", "first")
        stage.eventually(lambda: first.noted("begun"))
        happen()
        stage.eventually(lambda: receiver.seen, message="the message has arrived, and waits for its answer")
        first.freeze()
        successor = Leader(stage, "usurp", "successor")
        stage.eventually(lambda: successor.noted("acquired"))
        lease = OutboxEvent.objects.get().lease_token
        first.wake()
        stage.eventually(lambda: "outbox.completion_refused" in first.log(), message="its completion is refused")
        left = OutboxEvent.objects.get()
        assert (left.state, left.try_count, left.lease_token) == ("pending", 0, lease), "by the lock's token alone"
        assert not Delivery.objects.exists()
        first.kill()
        successor.kill()
        _forget_leases()
        last = Leader(stage, "deliver", "last")
        stage.eventually(lambda: OutboxEvent.objects.filter(state="delivered").exists())
        last.kill()
        assert Delivery.objects.count() == 1
        assert len(set(receiver.ids("shop"))) == 1, "twice, under one id"
        _claimed_again()


def _claimed_again():
    """Refuse a completion under the right lock, of a row that was claimed again since."""
    happen()
    outbox.publish()
    _forget_leases()
    lock = locks.acquire(outbox.LOCK, ttl_seconds=60)
    stale = outbox.claim(lock)
    _forget_row_leases()
    assert len(outbox.claim(lock)) == 1
    assert outbox.complete(lock, [outbox.judge(stale[0], posting.Answer(status=200))]) == set()


def one_tick_of_two_beats(stage):
    """26: two beats tell two workers to deliver, twice as often as due: each tick runs once, one leads, each message goes once."""
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    with receiving("shop") as receiver:
        environment = {"CELERIAC_WEBHOOK_PRIVATE_ADDRESSES": "true"}
        stage.workers.start_all(2, queues="celeriac", concurrency=2, environment=environment)
        every_second, _ = IntervalSchedule.objects.get_or_create(every=1, period=IntervalSchedule.SECONDS)
        PeriodicTask.objects.update_or_create(
            name="outbox",
            defaults={"task": "recovery.deliver_outbox", "interval": every_second, "queue": "celeriac"},
        )
        began = timezone.now()
        beats = [stage.keep(processes.start_beat(stage.folder, number)) for number in (1, 2)]
        count = 0
        ticks = CycleState.objects.filter(name="recovery.outbox", tick_count__gte=5)
        while not ticks.exists():
            happen(number=count)
            count += 1
            stage.eventually(lambda count=count: len(receiver.seen) >= count, timeout=40, every=0.1)
            connections.close_all()
        for beat in beats:
            beat.kill()
        elapsed = (timezone.now() - began).total_seconds()
        state = CycleState.objects.get(name="recovery.outbox")
        assert state.tick_count <= elapsed / 1.8 + 1, "one in two seconds"
        assert state.error_count == 0, state.last_error
        assert len(receiver.ids("shop")) == len(set(receiver.ids("shop"))) == count, "each once"
        sent = sum(beat.log_path.read_text().count("recovery.deliver_outbox") for beat in beats)
        assert sent > state.tick_count, "both beats were sending"


def killed_between_post_and_completion(stage):
    """31: the deliverer is killed after the POST and before the completion; the message comes again, verified, with its id."""
    with receiving("shop", "other") as receiver:
        receiver.behave("shop", wait=30)
        for number in range(3):
            leader = Leader(stage, "deliver", f"killed-{number}")
            if not number:
                happen()
            stage.eventually(lambda number=number: len(receiver.of("shop")) > number, timeout=20)
            stage.eventually(lambda: receiver.of("other"), message="nobody waits for the one that hangs")
            leader.kill()
            _forget_leases()
        assert OutboxEvent.objects.get(endpoint__name="shop").try_count == 0, "nobody has completed it"
        receiver.behave("shop")
        last = Leader(stage, "deliver", "last")
        stage.eventually(lambda: not OutboxEvent.objects.exclude(state="delivered").exists(), timeout=20)
        last.kill()
        assert len(receiver.of("shop")) == 4
        assert len({*receiver.ids("shop"), *receiver.ids("other")}) == 1, "the event's id, at every endpoint and try"
        assert not receiver.refused


STORIES = {
    16: one_leader,
    17: only_its_holder_releases,
    18: late_extension,
    19: claimed_once_in_order,
    20: stale_completion,
    26: one_tick_of_two_beats,
    31: killed_between_post_and_completion,
}
