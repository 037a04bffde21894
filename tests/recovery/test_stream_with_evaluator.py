"""Stream, express lane and database claim with the real evaluator: one evaluation, whichever way a candidate comes."""

from datetime import timedelta

import pytest
import redis
from django.utils import timezone

from config import substrate
from recovery import evaluator, queue, redis_server, stream
from recovery.models import DeadLetter, RecoveryCandidate
from tests.hands import MARKS
from tests.recovery import failed

pytestmark = MARKS


@pytest.fixture
def server():
    """The real Redis."""
    redis_server.forget()
    with redis.from_url(substrate.addresses().redis_url, decode_responses=True, protocol=2) as client:
        yield client


def test_opened_candidates_come_by_the_stream(hands, server):
    """What is opened is in the stream after the commit, and is evaluated by it."""
    failed.opened(2)
    assert stream.figures(server).length == 2
    assert stream.work() == 2
    rows = RecoveryCandidate.objects.all()
    assert ({row.source for row in rows}, {row.state for row in rows}) == ({"stream"}, {"waiting"})
    assert stream.figures(server).length == 0


def test_urgent_one_comes_by_the_express_lane(hands, server):
    """The same candidate stands in the stream too, and is evaluated once."""
    _, urgent = failed.opened(2)
    queue.push([urgent.pk])
    stream.work()
    assert RecoveryCandidate.objects.get(pk=urgent.pk).source == "express"
    assert RecoveryCandidate.objects.exclude(pk=urgent.pk).get().source == "stream"
    assert stream.figures(server).length == 0


def test_without_redis_the_claim_evaluates(hands, settings):
    """With Redis stopped every candidate is evaluated all the same."""
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    failed.opened(3)
    assert stream.work() == 0
    assert evaluator.evaluate_next(source="claim", by="claimer") == 3


def test_held_by_the_claim_is_left_to_it(hands, server):
    """The stream lets go of what the claim holds; should that die, the claim takes it again."""
    failed.opened(1)
    RecoveryCandidate.objects.update(claimed_by="claimer", lease_until=timezone.now() + timedelta(seconds=60))
    stream.work()
    assert stream.figures(server).length == 0
    RecoveryCandidate.objects.update(lease_until=timezone.now())
    assert evaluator.evaluate_next(source="claim", by="another") == 1


def test_evaluation_that_fails_each_time_is_a_dead_letter(hands, server, settings, monkeypatch):
    """What the evaluator has noted as its error is the letter's reason."""
    settings.CELERIAC = settings.CELERIAC | {"stream_tries": 2}
    failed.opened(1)
    monkeypatch.setattr(evaluator, "_proposal", lambda *_: 1 / 0)
    stream.work()
    assert stream.figures(server).pending == 1
    RecoveryCandidate.objects.update(lease_until=timezone.now())
    (row,) = server.xpending_range(stream.key(), stream.GROUP, "-", "+", 1)
    held = ("XCLAIM", stream.key(), stream.GROUP, "dead:1", 0, row["message_id"])
    server.execute_command(*held, "IDLE", 61_000, "JUSTID")
    stream.work()
    assert "ZeroDivisionError" in DeadLetter.objects.get().reason
