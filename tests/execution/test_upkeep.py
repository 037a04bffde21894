"""Passes are claimed once a tick, wait after an interruption, and hold each other up in nothing."""

from datetime import timedelta

import pytest
from django.utils import timezone

from execution import ids, ledger, runs, upkeep
from execution.models import ConcurrencyKey, CycleState, Event, Step, Timer, Worker
from tests import liveness_skills as skills

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("grown_server")]


def tick(seconds=1.0, gap=10.0):
    """Claim a tick of a pass."""
    words = ["test", timedelta(seconds=seconds), timedelta(seconds=gap)]
    return ledger.ask("SELECT * FROM execution_tick_v1(%s, %s, %s)", words)[0]


def claim(run, *, worker_id):
    """Claim a run's step for a worker that is not there."""
    return ledger.claim(run.id, ids.new(), worker_id=worker_id, pid=1)


def silent_worker(**facts):
    """Make the row of a worker whose lock nobody holds."""
    return Worker.objects.create(
        hostname="gone", pid=1, slot_count=2, lock_number=123, **{"pool": "prefork", "queues": ["default"]} | facts
    )


def test_tick_is_claimed_once():
    """A second caller in the same period learns when the next tick is due."""
    assert tick().is_mine
    second = tick()
    assert not second.is_mine
    assert 0 < second.next_seconds <= 1.0


def test_tick_remembers_an_interruption():
    """Only a tick after a gap says that ticks were resumed; the very first does not."""
    assert tick().resumed_at is None
    CycleState.objects.filter(name="test").update(ticked_at=timezone.now() - timedelta(seconds=5))
    assert tick().resumed_at is None
    CycleState.objects.filter(name="test").update(ticked_at=timezone.now() - timedelta(seconds=11))
    resumed = tick()
    assert timezone.now() - resumed.resumed_at < timedelta(seconds=10)
    CycleState.objects.filter(name="test").update(ticked_at=timezone.now() - timedelta(seconds=2))
    assert tick().resumed_at == resumed.resumed_at


def test_missing_lock_counts_in_the_second_sweep():
    """A worker's steps are given back when its lock is missing twice in a row."""
    worker = silent_worker()
    run = skills.quick.start()
    claim(run, worker_id=worker.id)
    assert upkeep.sweep() == 0
    assert upkeep.sweep() == 1
    assert Step.objects.get(pk=run.id).state == "ready"
    upkeep.sweep()
    worker.refresh_from_db()
    assert worker.gone_at is not None


def test_messages_of_a_dead_worker_are_sent_again():
    """What was rung for on the queues of a worker that is gone is rung for again, as if for the first time."""
    silent_worker(queues=["lost", "other"])
    lost, elsewhere = (skills.quick.start(queue=queue) for queue in ("lost", "elsewhere"))
    steps = Step.objects.filter(pk__in=[lost.id, elsewhere.id])
    steps.update(rung_at=timezone.now(), ring_count=4)
    upkeep.sweep()
    assert list(steps.exclude(rung_at=None).values_list("ring_count", flat=True)) == [4, 4]
    upkeep.sweep()
    assert list(steps.filter(rung_at=None).values_list("pk", "ring_count")) == [(lost.id, 0)]


def test_lock_that_is_held_again_counts_for_nothing():
    """A worker that has locked again before the second sweep keeps its steps."""
    worker = silent_worker()
    run = skills.quick.start()
    claim(run, worker_id=worker.id)
    assert upkeep.sweep() == 0
    with ledger.connect() as other:
        other.execute("SELECT pg_advisory_lock(7003, 123)")
        for _ in range(3):
            assert upkeep.sweep() == 0
    worker.refresh_from_db()
    assert worker.missing_count == 0


def test_interrupted_sweep_waits_one_lease():
    """After an interruption neither a missing lock nor an old lease counts for one lease."""
    worker = silent_worker()
    run = skills.quick.start()
    claim(run, worker_id=worker.id)
    Step.objects.filter(pk=run.id).update(lease_until=timezone.now() - timedelta(hours=1))
    for _ in range(3):
        assert upkeep.sweep(timezone.now() - timedelta(seconds=3)) == 0
    assert upkeep.sweep(timezone.now() - timedelta(seconds=7)) > 0


def test_keeper_that_lost_its_connection_judges_nobody():
    """Where a ticker's own connection was replaced, it does not sweep for one lease."""
    worker = silent_worker()
    run = skills.quick.start()
    claim(run, worker_id=worker.id)
    ticker = upkeep.Ticker()
    ticker.tick()
    ledger.close()
    for _ in range(4):
        CycleState.objects.filter(name=upkeep.TICK).update(ticked_at=timezone.now() - timedelta(seconds=2))
        ticker.tick()
    assert Step.objects.get(pk=run.id).state == "running"


def test_pass_that_fails_holds_up_no_other(monkeypatch):
    """An error in one pass is counted, and the others are done."""
    monkeypatch.setattr(upkeep, "sweep", lambda _: 1 / 0)
    run = skills.quick.start(start_at=timezone.now() + timedelta(hours=1))
    Timer.objects.filter(step_id=run.id).update(due_at=timezone.now() - timedelta(seconds=1))
    upkeep.Ticker().tick()
    assert CycleState.objects.get(name=upkeep.TICK).error_count == 1
    assert Timer.objects.get(step_id=run.id).fired_at is not None


def test_timer_that_cannot_open_holds_up_no_other():
    """A custom timer with a broken opening is cancelled and logged; the ones behind it fire."""
    past = timezone.now() - timedelta(seconds=5)
    Timer.objects.create(kind="custom", due_at=past, opening={"template": {}, "id": "no uuid", "input": ""}, name="bad")
    run = skills.quick.start(start_at=timezone.now() + timedelta(hours=1))
    Timer.objects.filter(step_id=run.id).update(due_at=timezone.now())
    upkeep.wake()
    assert Timer.objects.get(name="bad").cancelled_at is not None
    assert Event.objects.filter(kind="timer.failed").count() == 1
    assert Timer.objects.get(step_id=run.id).fired_at is not None


def test_timers_fire_in_due_order_and_once():
    """A batch takes the earliest, and the next one the rest."""
    due = timezone.now() - timedelta(seconds=10)
    started = [skills.quick.start(start_at=timezone.now() + timedelta(hours=1)) for _ in range(6)]
    for place, run in enumerate(started):
        Timer.objects.filter(step_id=run.id).update(due_at=due - timedelta(seconds=place))
        Step.objects.filter(pk=run.id).update(wake_at=due - timedelta(seconds=place))
    rows = ledger.ask("SELECT * FROM execution_wake_v1(2)")
    assert (rows[0].fired, rows[0].woken) == (2, 2)
    assert [Step.objects.get(pk=run.id).state for run in started] == ["waiting"] * 4 + ["ready"] * 2
    assert upkeep.wake() == 4
    assert upkeep.wake() == 0


def test_keys_with_room_are_mended():
    """Steps that wait for a key that nobody holds any more are woken, as many as fit."""
    ConcurrencyKey.objects.create(name="liveness", limit_count=2)
    started = [skills.keyed.start(folder="") for _ in range(5)]
    Step.objects.all().update(state="waiting", waiting="key", rung_at=None)
    upkeep.fold()
    ready = Step.objects.filter(state="ready").order_by("id").values_list("id", flat=True)
    assert list(ready) == sorted(run.id for run in started)[:2]


def test_give_back_is_refused_for_another_claim():
    """Only the claim that is meant is given back."""
    run = skills.quick.start()
    held = claim(run, worker_id=ids.new())
    assert upkeep.give_back(run.id, held.epoch + 1, "test") == 0
    assert upkeep.give_back(run.id, held.epoch, "test") == 1
    assert upkeep.give_back(run.id, held.epoch, "test") == 0


def test_cancelled_step_that_is_given_back_is_cancelled():
    """A lost step whose run was cancelled is not performed again."""
    run = skills.quick.start()
    held = claim(run, worker_id=ids.new())
    runs.cancel(run)
    upkeep.give_back(run.id, held.epoch, "test")
    run.refresh_from_db()
    assert run.state == "cancelled"


@pytest.mark.parametrize(
    ("pool", "ending", "reason", "deaths"),
    [
        ("prefork", "crashed", "its process died", 3),
        ("prefork", "lost", "worker died", None),
        ("threads", "lost", "worker died", 4),
        ("threads", "lost", "worker stopped", None),
        ("threads", "lost", "its lease ran out", None),
    ],
)
def test_only_fair_evidence_makes_poison(pool, ending, reason, deaths):
    """A child's death counts, and a worker's only where it is the process and the step was alone in it."""
    worker = silent_worker(pool=pool)
    run = skills.quick.start()
    for count in range(1, 7):
        held = claim(run, worker_id=worker.id)
        verdict = ledger.give_back(run.id, held.epoch, ending=ending, reason=reason)
        assert (verdict == "poison") == (deaths is not None and count >= deaths)
    assert (claim(run, worker_id=worker.id).options.get("doom") is not None) == (deaths is not None)
