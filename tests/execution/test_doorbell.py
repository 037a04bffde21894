"""One message a ready step, never more than a window, in the ledger's order; and never an error for a broker that is away."""

import time
from datetime import timedelta

import pytest
from celery import Celery
from django.utils import timezone
from kombu.exceptions import OperationalError

from execution import doorbell, ids, ledger, runs
from execution.models import Agent, Breaker, Step, Worker
from tests import liveness_skills as skills

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _fresh_rooms(monkeypatch):
    """Begin with no memory of queues or of a broker that was away."""
    monkeypatch.setattr(doorbell, "_rooms", doorbell._Rooms())


@pytest.fixture
def sent(monkeypatch):
    """Collect what would be sent."""
    rings = []
    monkeypatch.setattr(doorbell, "_send", lambda _app, _producer, ring: rings.append(ring))
    return rings


def feed(free=0, window=500):
    """Choose what to ring for in the default queue."""
    return ledger.ask("SELECT * FROM execution_feed_v1(%s, %s, %s)", [["default"], [free], window])


def slots(count):
    """Make a living worker with so many slots, so that the window is as wide as asked."""
    Worker.objects.create(hostname="wide", pid=1, queues=["default"], slot_count=count, lock_number=1, holds_lock=False)


def test_start_rings_after_the_commit(sent):
    """A start sends one message named after its step."""
    run = skills.quick.start()
    assert [(ring.step_id, ring.skill) for ring in sent] == [(run.id, "liveness.quick")]


def test_broker_away_raises_nothing_and_is_left_alone(monkeypatch):
    """After one failure the next starts do not try, and nothing is marked as rung."""
    tries = []

    def fail(*_):
        tries.append(1)
        raise OperationalError("away")

    monkeypatch.setattr(doorbell, "_send", fail)
    for number in range(5):
        skills.quick.start(number=number)
    assert len(tries) == 1
    assert Step.objects.filter(rung_at=None, state="ready").count() == 5


def test_broker_away_keeps_nobody_waiting():
    """Who starts a run while nothing answers at the broker's address goes on at once."""
    app = Celery(broker="redis+socket:///nowhere/redis.sock", set_as_current=False)
    began = time.monotonic()
    assert (
        doorbell.publish([doorbell.Ring(step_id=ids.new(), skill="liveness.quick", queue="default", priority=0)], app)
        == 0
    )
    assert time.monotonic() - began < 10


def test_ring_stops_at_the_window(sent):
    """Of many steps that become ready at once only so many are rung for."""
    opened = [skills.quick.start(number=number).id for number in range(30)]
    Step.objects.all().update(rung_at=None)
    sent.clear()
    doorbell.ring_for(opened)
    doorbell.ring_for(opened)
    assert len(sent) == 20
    assert len({ring.step_id for ring in sent}) == 20


def test_feed_takes_the_most_urgent_first_and_agents_in_turn(sent):
    """Priority decides, then the agent with the fewest messages outstanding."""
    for name in ("a", "b"):
        Agent.objects.create(name=name)
    runs.start_many(skills.quick, [{"number": n} for n in range(50)], agent="a")
    runs.start_many(skills.quick, [{"number": n} for n in range(3)], agent="b")
    Step.objects.all().update(rung_at=None)
    urgent = skills.quick.start(number=1, agent="a", priority=5)
    Step.objects.filter(pk=urgent.id).update(rung_at=None)
    chosen = [Step.objects.get(pk=row.step_id) for row in feed()]
    assert len(chosen) == 20
    assert chosen[0].id == urgent.id
    assert [step.agent.name for step in chosen].count("b") == 3


def test_feed_counts_what_the_broker_holds(sent):
    """Messages that lead to nothing any more take room as well."""
    runs.start_many(skills.quick, [{"number": n} for n in range(50)])
    Step.objects.all().update(rung_at=None)
    rows = ledger.ask("SELECT * FROM execution_feed_v1(%s, %s, %s, %s)", [["default"], [0], 20, [15]])
    assert len(rows) == 5


@pytest.mark.parametrize(("held", "again"), [(0, 20), (15, 5), (20, 0)])
def test_ringing_again_stays_within_the_window(sent, held, again):
    """What seems stuck is rung for again as far as the messages that the broker still holds leave room."""
    runs.start_many(skills.quick, [{"number": n} for n in range(20)])
    Step.objects.all().update(rung_at=timezone.now() - timedelta(minutes=1))
    rows = ledger.ask("SELECT * FROM execution_feed_v1(%s, %s, %s, %s)", [["default"], [2], 20, [held]])
    assert len(rows) == again


def test_feed_rings_for_as_many_as_a_key_lets_in(sent):
    """What a full key would refuse waits without a message; the next one is rung for when one ends."""
    slots(100)
    runs.start_many(skills.keyed, [{"folder": ""} for _ in range(50)])
    Step.objects.all().update(rung_at=None)
    assert len(feed()) == 2
    assert Step.objects.filter(waiting="key").count() == 48
    held = ledger.claim(
        Step.objects.exclude(rung_at=None).order_by("id").first().id, ids.new(), worker_id=ids.new(), pid=1
    )
    ended = ledger.finish(held, "completed")
    assert len(ended.ready) == 1


@pytest.mark.parametrize(("probe", "rung"), [("future", 0), ("due", 1)])
def test_feed_passes_an_open_breaker_by(sent, probe, rung):
    """While a breaker is open nothing is rung for; when its cool-down is over one step is, as its probe."""
    probe_at = timezone.now() + timedelta(minutes=1 if probe == "future" else -1)
    Breaker.objects.create(name="liveness-broken", state="open", probe_at=probe_at)
    runs.start_many(skills.broken, [{} for _ in range(50)])
    Step.objects.all().update(rung_at=None)
    assert len(feed()) == rung
    assert Step.objects.filter(waiting="breaker").count() == 50 - rung


def test_turn_prefers_priority_then_the_next_agent(sent):
    """A message gives way to a more urgent step, and to the agent whose turn it is; never to its own agent's."""
    agents = [Agent.objects.create(name=name) for name in ("a", "b", "c")]
    mine = [skills.quick.start(number=1, agent=agent.name) for agent in agents for _ in range(2)]
    a, b, c = mine[0], mine[2], mine[4]
    known = ["liveness.quick"]

    def turn(step, last):
        return ledger.turn(step.id, agents[last].id, known)

    assert turn(a, 0) == b.id
    assert turn(a, 1) == c.id
    assert turn(a, 2) is None
    assert turn(c, 1) is None
    Step.objects.filter(pk=c.id).update(rung_at=None)
    urgent = skills.quick.start(number=1, agent="a", priority=1)
    assert turn(b, 0) == urgent.id
    assert turn(urgent, 0) is None
    assert ledger.turn(b.id, agents[0].id, ["another.skill"]) is None


def test_lines_are_seen():
    """One agent's backlog is one line, whatever its length; another agent or priority is a second."""
    seen = lambda: ledger.ask("SELECT execution_has_lines_v1('default') AS v")[0].v  # noqa: E731
    assert not seen()
    runs.start_many(skills.quick, [{"number": n} for n in range(50)])
    assert not seen()
    skills.quick.start(number=1, priority=3)
    assert seen()
