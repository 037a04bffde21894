"""Workers are killed, frozen and cut; what they performed goes on elsewhere, once."""

import os
import signal
import threading
import time
from datetime import timedelta

import psutil
import pytest
import redis
from django.db import connection
from django.utils import timezone

from config import substrate
from execution import board as boards
from execution import ledger, runs, upkeep
from execution.exceptions import RunFailed
from execution.models import Agent, Attempt, Checkpoint, Event, Run, Step, Worker
from tests import liveness_skills as skills
from tests.patience import within

SKILLS = "tests.liveness_skills"
SHORT = {"lease_seconds": 3, "heartbeat_seconds": 1.0}
SHORT_ENVIRONMENT = {"CELERIAC_LEASE_SECONDS": "3", "CELERIAC_HEARTBEAT_SECONDS": "1"}


@pytest.fixture
def short_lease(settings):
    """Give steps a lease of three seconds; workers are told by their environment."""
    settings.CELERIAC = settings.CELERIAC | SHORT


def checkpoints(run, *, attempt=None):
    """Count what a run has recorded, in one attempt or in all."""
    rows = Checkpoint.objects.filter(step_id=run.id)
    return rows.filter(epoch=attempt).count() if attempt else rows.count()


def endings(run):
    """Return how the attempts of a run ended, in order."""
    return list(Attempt.objects.filter(run_id=run.id).order_by("epoch").values_list("ending", flat=True))


def step(run):
    """Return a run's only step."""
    return Step.objects.get(pk=run.id)


def keeper_of(worker):
    """Return the process of a worker's keeper."""
    return next(child for child in worker.children if "execution.keeper" in child.cmdline())


def performer_of(run):
    """Return the process that performs a run's step."""
    return Attempt.objects.filter(run_id=run.id).order_by("-epoch").first().pid


def wait_until_running(run, eventually, folder=None, name="*"):
    """Wait until a run's step is performed, and has left its mark."""
    eventually(lambda: Step.objects.filter(pk=run.id, state="running").exists())
    if folder is not None:
        eventually(lambda: list(folder.glob(name)))


KILLS = {
    "the whole group": lambda worker, _: worker.kill(),
    "the main process": lambda worker, _: worker.kill_main(),
    "a pool child": lambda _, run: os.kill(performer_of(run), signal.SIGKILL),
}


@within(4, busy=15)
@pytest.mark.parametrize("victim", KILLS)
def test_killed_work_goes_on_elsewhere(grown_server, workers, eventually, victim, bound):
    """What was killed goes on elsewhere within four seconds, from its last checkpoint, and nothing is done twice."""
    crew = [workers(skills=SKILLS, concurrency=1) for _ in range(2)]
    run = skills.work.start(count=150)
    eventually(lambda: checkpoints(run) > 5)
    KILLS[victim](next(worker for worker in crew if worker.pid == _main_of(run)), run)
    killed_at = time.monotonic()
    eventually(lambda: Attempt.objects.filter(run_id=run.id).count() == 2)
    second = Attempt.objects.filter(run_id=run.id).latest("epoch").epoch
    eventually(lambda: checkpoints(run, attempt=second), every=0.005)
    assert time.monotonic() - killed_at < bound
    done = run.wait(timeout=30)
    assert done == sorted(done)
    assert set(done) == {1, second}
    assert endings(run) == ["crashed" if victim == "a pool child" else "lost", "completed"]


def test_no_step_is_stuck_behind_one_that_was_quick_so_far(workers, eventually, tmp_path):
    """When a step takes long against all expectation, what was claimed with it is performed by others within seconds."""
    workers(skills=SKILLS, concurrency=2)
    started = runs.start_many(skills.surprise, ({"folder": str(tmp_path)} for _ in range(600)))
    eventually(lambda: list(tmp_path.glob("slow-*")))
    eventually(lambda: Run.objects.filter(state="completed").count() == len(started) - 1)
    slow = Step.objects.get(state="running")
    unbegun = Event.objects.filter(kind="step.given_back", data__reason="it was claimed and not begun")
    assert unbegun.count() >= 3
    (tmp_path / "open").touch()
    assert Run.objects.get(pk=slow.id).wait(timeout=30) == "slow"
    assert Event.objects.filter(kind="step.completed", run_id__in=started).count() == len(started)
    assert set(Step.objects.filter(pk__in=unbegun.values("step_id")).values_list("epoch", "crash_count")) == {(3, 0)}


def test_killed_keeper_is_replaced(workers, eventually):
    """A worker whose keeper is killed gets another before anything is taken from it."""
    worker = workers(skills=SKILLS, concurrency=1)
    workers(skills=SKILLS, concurrency=1)
    run = skills.work.start(count=250)
    eventually(lambda: checkpoints(run) > 5)
    for _ in range(2):
        victim = next(keeper for keeper in map(keeper_of, workers.crew) if keeper.ppid() == _main_of(run))
        victim.kill()
        eventually(lambda: not victim.is_running())  # noqa: B023
        eventually(lambda: any(_has_keeper(other, not_this=victim) for other in workers.crew))  # noqa: B023
    assert set(run.wait(timeout=30)) == {1}
    assert endings(run) == ["completed"]
    assert worker.is_alive


def _main_of(run):
    return psutil.Process(performer_of(run)).ppid()


def _has_keeper(worker, not_this):
    return any("execution.keeper" in child.cmdline() and child != not_this for child in worker.children)


def test_stopped_keeper_is_replaced(workers, eventually, settings):
    """A worker whose keeper is stopped gets another, and its step is not started a second time."""
    settings.CELERIAC = settings.CELERIAC | {"lease_seconds": 12}
    worker = workers(skills=SKILLS, concurrency=1, environment={"CELERIAC_LEASE_SECONDS": "12"})
    run = skills.work.start(count=300)
    eventually(lambda: checkpoints(run) > 5)
    keeper = keeper_of(worker)
    keeper.suspend()
    eventually(lambda: not keeper.is_running())
    assert set(run.wait(timeout=30)) == {1}
    assert endings(run) == ["completed"]


def test_killed_worker_leaves_no_board(workers, eventually):
    """The next worker on the host removes the board of one that was killed with its keeper."""
    victim = workers(skills=SKILLS, concurrency=1)
    eventually(lambda: Worker.objects.filter(gone_at=None).count() == 1)
    mine = Worker.objects.get().id
    assert mine in _boards()
    victim.kill()
    workers(skills=SKILLS, concurrency=1)
    eventually(lambda: mine not in _boards())


def _boards():
    return {board.worker_id for board in boards.on_this_host()}


FREEZES = {
    "the whole group": lambda worker, _: (worker.freeze, worker.wake),
    "the pool child": lambda _, run: (
        psutil.Process(performer_of(run)).suspend,
        psutil.Process(performer_of(run)).resume,
    ),
}


@pytest.mark.parametrize("victim", FREEZES)
def test_frozen_worker_changes_nothing_when_woken(workers, eventually, short_lease, tmp_path, victim):
    """Another worker takes over after the lease; the woken one's writes are refused, and its money is recorded."""
    agent = Agent.objects.create(name="spender", budget_cost=100)
    first = workers(skills=SKILLS, concurrency=1, environment=SHORT_ENVIRONMENT)
    run = skills.spender.start(folder=str(tmp_path), agent=agent, budget="10")
    eventually((tmp_path / "ready").exists)
    workers(skills=SKILLS, concurrency=1, environment=SHORT_ENVIRONMENT)
    freeze, wake = FREEZES[victim](first, run)
    freeze()
    assert run.wait(timeout=30) == "other"
    before = list(Checkpoint.objects.filter(step_id=run.id).exclude(kind="late").values())
    (tmp_path / "go").touch()
    wake()
    eventually((tmp_path / "tried").exists)
    eventually(lambda: Checkpoint.objects.filter(step_id=run.id, kind="late").exists())
    assert list(Checkpoint.objects.filter(step_id=run.id).exclude(kind="late").values()) == before
    assert not (tmp_path / "effect").exists()
    assert run.wait(timeout=5) == "other"
    assert endings(run) == ["lost", "completed"]
    run.refresh_from_db()
    assert (run.spent_cost, run.reserved_cost) == (pytest.approx(0.25), 0)
    assert Event.objects.filter(run_id=run.id, kind="budget.overdrawn").count() == 1


def test_frozen_main_process_does_not_stop_its_children(workers, eventually, short_lease):
    """A step whose pool child is healthy keeps its lease while the worker's main process is stopped."""
    worker = workers(skills=SKILLS, concurrency=1, environment=SHORT_ENVIRONMENT)
    workers(skills=SKILLS, concurrency=1, environment=SHORT_ENVIRONMENT)
    run = skills.work.start(count=400)
    eventually(lambda: checkpoints(run) > 5)
    main = psutil.Process(_main_of(run))
    main.suspend()
    assert set(run.wait(timeout=40)) == {1}
    main.resume()
    assert worker.is_alive


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_healthy_step_outlives_many_leases(workers, eventually, settings, tmp_path, pool):
    """A step that runs for several leases is started once, also while it holds the interpreter lock all the time."""
    settings.CELERIAC = settings.CELERIAC | {"lease_seconds": 6, "heartbeat_seconds": 1.0}
    lease = {"CELERIAC_LEASE_SECONDS": "6", "CELERIAC_HEARTBEAT_SECONDS": "1"}
    for _ in range(2):
        workers(skills=SKILLS, concurrency=1, pool=pool, environment=lease)
    writer = skills.work.start(count=200, pause=0.07)
    gripper = skills.grip.start(folder=str(tmp_path), seconds=13.0)
    assert gripper.wait(timeout=60) == "let go"
    assert set(writer.wait(timeout=60)) == {1}
    assert endings(gripper) == ["completed"]
    assert len(list(tmp_path.glob("grip-*"))) == 1


def test_database_restart_under_load_takes_nothing_away(workers, eventually, short_lease):
    """Workers wait for the database and go on: no step is given back because a lock or a lease was lost meanwhile."""
    if not substrate.addresses().embeds_postgres:
        pytest.skip("a server of one's own is not for a test to restart")
    for _ in range(2):
        workers(skills=SKILLS, concurrency=2, environment=SHORT_ENVIRONMENT)
    going = [skills.work.start(count=400) for _ in range(4)]
    for run in going:
        eventually(lambda: checkpoints(run) > 5)  # noqa: B023
    _restart_postgres(away_seconds=4)
    for run in going:
        assert set(run.wait(timeout=60)) == {1}
        assert endings(run) == ["completed"]


def _restart_postgres(*, away_seconds):
    """Stop this home's PostgreSQL as an operator would, and start it again after a while."""
    from config.substrate.postgres import Postgres

    connection.close()
    server = Postgres(addresses=substrate.addresses())
    identity = server.identity()
    os.kill(identity.pid, signal.SIGINT)
    deadline = time.monotonic() + 30
    while server.identity() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    resume_at = time.monotonic() + away_seconds
    while time.monotonic() < resume_at:
        time.sleep(0.05)
    substrate.ensure()


@pytest.mark.parametrize("what", ["CLAIM", "FINISH"])
def test_lost_answer_makes_no_immortal_step(workers, eventually, short_lease, tmp_path, what):
    """A claim whose answer was lost, and an ending that could not be written, are given back when the lease is over."""
    environment = SHORT_ENVIRONMENT | {f"LIVENESS_LOSE_{what}": str(tmp_path / "lost")}
    workers(skills=SKILLS, concurrency=1, environment=environment)
    run = skills.quick.start(number=7)
    assert run.wait(timeout=30) == 7
    assert endings(run) == ["lost", "completed"]


def test_poison_step_fails_alone(workers, eventually, tmp_path):
    """A step that kills its process three times in a row fails as poison; others are performed meanwhile."""
    workers(skills=SKILLS, concurrency=2)
    poison = skills.suicide.start(folder=str(tmp_path))
    others = [skills.work.start(count=50) for _ in range(3)]
    with pytest.raises(RunFailed) as failed:
        poison.wait(timeout=60)
    assert failed.value.error["type"] == "PoisonStep"
    assert len(list(tmp_path.glob("suicide-*"))) == 3
    for other in others:
        assert set(other.wait(timeout=60)) == {1}


def test_progress_between_deaths_is_no_poison(workers, eventually, tmp_path):
    """A step that saves something before each death goes on as often as it takes."""
    workers(skills=SKILLS, concurrency=1)
    run = skills.suicide.start(folder=str(tmp_path), deaths=5, save=True)
    assert run.wait(timeout=90) == 6


def test_deploys_are_no_crashes(grown_server, workers, eventually, tmp_path):
    """A step whose workers are killed and restarted again and again is never poison."""
    run = skills.hold.start(folder=str(tmp_path))
    for count in range(1, 5):
        worker = workers(skills=SKILLS, concurrency=1)
        eventually(lambda: len(list(tmp_path.glob("hold-*"))) == count)  # noqa: B023
        worker.kill()
    (tmp_path / "open").touch()
    workers(skills=SKILLS, concurrency=1)
    assert run.wait(timeout=40) == "held"
    assert step(run).crash_count == 0
    assert endings(run) == ["lost"] * 4 + ["completed"]


def test_suspects_of_a_thread_pool_are_retried_alone(grown_server, workers, eventually, tmp_path):
    """When a thread kills its worker the others are innocent: they complete alone, and it alone is poison."""
    inspected = runs.start(skills.suicide, {"folder": str(tmp_path / "poison")})
    others = [skills.hold.start(folder=str(tmp_path / "hold"), seconds=3.0) for _ in range(2)]
    for _ in range(8):
        worker = workers(skills=SKILLS, concurrency=4, pool="threads")
        eventually(lambda: not worker.is_alive or Run.objects.get(pk=inspected.id).is_ended, timeout=20)  # noqa: B023
        if Run.objects.get(pk=inspected.id).is_ended:
            break
    with pytest.raises(RunFailed, match="PoisonStep"):
        inspected.wait(timeout=20)
    for other in others:
        assert other.wait(timeout=40) == "held"
    messages = worker.log().count(" received")
    assert messages < 20, "what waits behind a step that has its process to itself is not sent over and over"


# Ending what must end


@within(1.5, busy=15)
def test_cancelled_skill_that_looks_stops_soon(workers, eventually, tmp_path, bound):
    """A skill without any context write sees within about a second that it is cancelled."""
    workers(skills=SKILLS, concurrency=1)
    run = skills.polite.start(folder=str(tmp_path))
    wait_until_running(run, eventually, tmp_path, "polite-*")
    cancelled_at = time.monotonic()
    runs.cancel(run)
    eventually((tmp_path / "stopped").exists)
    assert time.monotonic() - cancelled_at < bound
    eventually(lambda: Run.objects.get(pk=run.id).state == "cancelled")
    assert checkpoints(run) == 0


def test_cancelled_skill_that_does_not_look_is_killed(workers, eventually, tmp_path):
    """After the grace the process that performs it is killed, and only that one."""
    workers(skills=SKILLS, concurrency=2, environment={"CELERIAC_CANCEL_GRACE_SECONDS": "1.0"})
    deaf = skills.deaf.start(folder=str(tmp_path))
    other = skills.work.start(count=300)
    wait_until_running(deaf, eventually, tmp_path, "hold-*")
    eventually(lambda: checkpoints(other) > 3)
    victim = performer_of(deaf)
    runs.cancel(deaf)
    eventually(lambda: Run.objects.get(pk=deaf.id).state == "cancelled")
    eventually(lambda: not psutil.pid_exists(victim))
    assert set(other.wait(timeout=40)) == {1}


def test_kill_never_hits_the_next_step(workers, eventually, tmp_path):
    """Skills that end just when their grace is over are killed or end; what follows in their slot is not hit."""
    workers(skills=SKILLS, concurrency=2, environment={"CELERIAC_CANCEL_GRACE_SECONDS": "0.5"})
    short = [skills.hold.start(folder=str(tmp_path), seconds=0.9 + 0.02 * number) for number in range(30)]
    innocent = [skills.work.start(count=3, pause=0.01) for _ in range(60)]
    cancelled = set()

    def cancel_what_runs():
        for started in Step.objects.filter(skill="liveness.hold", state="running").exclude(pk__in=cancelled):
            runs.cancel(started.run_id)
            cancelled.add(started.id)
        return not Run.objects.filter(pk__in=[run.id for run in short]).unended().exists()

    eventually(cancel_what_runs, timeout=90)
    for run in innocent:
        run.wait(timeout=60)
    crashed = Attempt.objects.filter(ending__in=["crashed", "lost"]).values_list("run_id", flat=True)
    assert set(crashed) <= {run.id for run in short}
    assert len(set(crashed)) > 0


def test_stalled_attempt_is_ended(workers, eventually, tmp_path):
    """An attempt whose context is not touched for `stall_after` is ended, recorded, and tried again."""
    workers(skills=SKILLS, concurrency=1)
    run = skills.stall.start(folder=str(tmp_path))
    assert run.wait(timeout=30) == "attempt 3"
    assert endings(run) == ["crashed", "completed"]
    assert "not touched" in Attempt.objects.filter(run_id=run.id).earliest("epoch").error["message"]


@pytest.mark.parametrize("looks", [True, False])
def test_timebox_ends_a_skill(workers, eventually, tmp_path, looks):
    """A timebox ends its skill at the next context call, or by the keeper after a grace; it is not performed again."""
    workers(skills=SKILLS, concurrency=1, environment={"CELERIAC_CANCEL_GRACE_SECONDS": "1.0"})
    run = skills.brief.start(folder=str(tmp_path), looks=looks)
    with pytest.raises(RunFailed, match="TimeboxPassed"):
        run.wait(timeout=30)
    assert len(list(tmp_path.glob("brief-*"))) == 1


def test_deaf_thread_is_fenced_and_its_worker_recycled(workers, eventually, tmp_path):
    """A thread cannot be killed: its run is cancelled, and the worker ends when half of its slots are lost."""
    worker = workers(skills=SKILLS, concurrency=2, pool="threads", environment={"CELERIAC_CANCEL_GRACE_SECONDS": "1.0"})
    other = skills.work.start(count=1000)
    deaf = skills.deaf.start(folder=str(tmp_path))
    wait_until_running(deaf, eventually, tmp_path, "hold-*")
    eventually(lambda: checkpoints(other) > 3)
    runs.cancel(deaf)
    eventually(lambda: Run.objects.get(pk=deaf.id).state == "cancelled")
    eventually(lambda: not worker.is_alive, timeout=20)
    assert "worker.recycled" in worker.log()
    workers(skills=SKILLS, concurrency=2, pool="threads")
    eventually(lambda: Attempt.objects.filter(run_id=other.id).count() > 1)
    assert endings(other)[0] == "suspended"
    runs.cancel(other)


# While every slot is busy


@within(1.5, busy=10)
def test_upkeep_goes_on_while_every_slot_is_busy(grown_server, workers, eventually, tmp_path, bound):
    """With every slot of the fleet held and no beat, timers fire on time, and a crashed neighbour is found."""
    held = [skills.hold.start(folder=str(tmp_path), seconds=120.0) for _ in range(2)]
    survivor, victim = workers(skills=SKILLS, concurrency=1), workers(skills=SKILLS, concurrency=1)
    for run in held:
        wait_until_running(run, eventually)
    due = timezone.now() + timedelta(seconds=2)
    later = [skills.quick.start(number=number, start_at=due) for number in range(20)]
    eventually(lambda: Step.objects.filter(pk__in=[run.id for run in later], state="ready").count() == 20)
    assert max(Step.objects.get(pk=run.id).changed_at for run in later) - due < timedelta(seconds=bound)
    lost = Step.objects.get(worker_id=_worker_id(victim))
    killed_at = time.monotonic()
    victim.kill()
    eventually(lambda: Step.objects.get(pk=lost.id).state == "ready")
    assert time.monotonic() - killed_at < 2.5 + bound
    (tmp_path / "open").touch()
    for run in [*held, *later]:
        run.wait(timeout=30)
    assert survivor.is_alive


def _worker_id(worker):
    return Worker.objects.get(pid=worker.pid, gone_at=None).id


def test_step_reserved_behind_a_long_skill_starts_elsewhere(workers, eventually, tmp_path):
    """A message that a busy worker holds does not hold its step back; few duplicates are sent."""
    busy = workers("busy", skills=SKILLS, concurrency=1, pool="solo")
    long = skills.hold.start(folder=str(tmp_path), seconds=120.0)
    wait_until_running(long, eventually)
    run = skills.quick.start(number=1)
    with redis.from_url(substrate.addresses().redis_url) as client:
        _steal(client, run)
    idle = workers("idle", skills=SKILLS, concurrency=1)
    assert run.wait(timeout=25) == 1
    assert Attempt.objects.get(run_id=run.id).pid in {child.pid for child in idle.pool_children()}
    (tmp_path / "open").touch()
    assert long.wait(timeout=20) == "held"
    assert busy.is_alive
    assert Event.objects.filter(run_id=run.id, kind="step.started").count() == 1


def _steal(client, run):
    """Take a run's message from the broker, as a worker does that reserves it behind a long skill."""
    taken = client.lrange("default", 0, -1)
    mine = [message for message in taken if str(run.id).encode() in message]
    assert mine
    for message in mine:
        client.lrem("default", 1, message)


def test_duplicates_of_a_stuck_message_are_few(workers, eventually, settings, transactional_db):
    """A step whose messages all vanish is rung again after 10, 20, 40 s, and only while a slot is free."""
    run = skills.quick.start(number=1)
    step_id, sent = run.id, []
    for age in (5, 9, 11, 15, 21, 39, 41, 79, 81):
        Step.objects.filter(pk=step_id).update(rung_at=timezone.now() - timedelta(seconds=age))
        before = step(run).ring_count
        for free in (0, 1):
            ledger.ask("SELECT * FROM execution_feed_v1(%s, %s, %s)", [["default"], [free], 500])
            if step(run).ring_count > before:
                sent.append((age, free))
    assert sent == [(11, 1), (21, 1), (41, 1), (81, 1)]


# Shutting down


@within(2, busy=9)  # after ten seconds it would have been rung for again
def test_warm_shutdown_gives_all_away(workers, eventually, tmp_path, bound):
    """What runs suspends at its next context call and starts elsewhere within two seconds, without a crash."""
    first = workers(skills=SKILLS, concurrency=2)
    going = [skills.tend.start(folder=str(tmp_path)) for _ in range(2)]
    for run in going:
        eventually(lambda: checkpoints(run) > 3)  # noqa: B023
    workers(skills=SKILLS, concurrency=2)
    stopped_at = time.monotonic()
    os.kill(first.pid, signal.SIGTERM)
    for run in going:
        eventually(lambda: Attempt.objects.filter(run_id=run.id).count() == 2, every=0.01)  # noqa: B023
    assert time.monotonic() - stopped_at < bound
    (tmp_path / "open").touch()
    assert first.stop() == 0
    for run in going:
        run.wait(timeout=40)
        assert endings(run) == ["suspended", "completed"]


def test_cold_shutdown_gives_all_back(workers, eventually, tmp_path):
    """What a cold shutdown ends is performed elsewhere, and counts as no crash."""
    first = workers(skills=SKILLS, concurrency=2)
    going = [skills.work.start(count=200), skills.hold.start(folder=str(tmp_path), seconds=3.0)]
    eventually(lambda: checkpoints(going[0]) > 3)
    wait_until_running(going[1], eventually, tmp_path, "hold-*")
    workers(skills=SKILLS, concurrency=2)
    os.kill(first.pid, signal.SIGQUIT)
    for run in going:
        assert run.wait(timeout=40)
        assert step(run).crash_count == 0
        assert "crashed" not in endings(run)


def test_rolling_restart_loses_nothing(workers, eventually):
    """Workers that are replaced one after the other under load lose nothing, repeat nothing, and crash nothing."""
    crew = [workers(skills=SKILLS, concurrency=2) for _ in range(2)]
    going = [skills.work.start(count=60, pause=0.01) for _ in range(40)]
    for old in crew:
        workers(skills=SKILLS, concurrency=2)
        assert old.stop(timeout=40) == 0
    for run in going:
        done = run.wait(timeout=60)
        assert done == sorted(done)
        assert set(endings(run)) <= {"suspended", "completed"}
    assert not Step.objects.exclude(crash_count=0).exists()


# The broker


def test_flushed_broker_loses_nothing(workers, eventually):
    """Messages that vanish in mid-run are sent again."""
    workers(skills=SKILLS, concurrency=2)
    started = [skills.work.start(count=2, pause=0.005) for _ in range(60)]
    eventually(lambda: Run.objects.filter(state="completed").count() > 5)
    with redis.from_url(substrate.addresses().redis_url) as client:
        client.flushdb()
    for run in started:
        run.wait(timeout=60)


def test_broker_away_loses_nothing(workers, eventually, tmp_path):
    """While the broker is away `start` returns soon and what runs goes on; when it is back all is done."""
    workers(skills=SKILLS, concurrency=2)
    going = skills.work.start(count=600)
    eventually(lambda: checkpoints(going) > 3)
    _stop_redis()
    try:
        began = time.monotonic()
        started = [skills.quick.start(number=number) for number in range(20)]
        assert time.monotonic() - began < 15, "less than a second for each"
        before = checkpoints(going)
        eventually(lambda: checkpoints(going) > before + 10)
    finally:
        substrate.ensure()
    for run in [going, *started]:
        run.wait(timeout=60)
    assert endings(going) == ["completed"]


def _stop_redis():
    from config.substrate.redis import Redis

    server = Redis(addresses=substrate.addresses())
    identity = server.identity()
    os.kill(identity.pid, server.stop_signal())
    deadline = time.monotonic() + 20
    while server.identity() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_window_is_respected(workers, eventually, settings, transactional_db):
    """There are never more messages in the broker than the window allows, however many runs are started."""
    settings.CELERIAC = settings.CELERIAC | {"window": 20}
    with redis.from_url(substrate.addresses().redis_url) as client:
        for number in range(60):
            skills.quick.start(number=number)
        runs.start_many(skills.quick, [{"number": number} for number in range(300)])
        assert client.llen("default") <= 20
        workers(skills=SKILLS, concurrency=2, environment={"CELERIAC_WINDOW": "20"})
        longest = 0

        def all_done():
            nonlocal longest
            longest = max(longest, client.llen("default"))
            return Run.objects.filter(state="completed").count() == 360

        eventually(all_done, timeout=60)
        assert longest <= 20


def test_late_high_priority_overtakes_a_backlog(workers, eventually, tmp_path):
    """A run with a higher priority, started last, is performed before hundreds that wait or were rung for."""
    path = tmp_path / "order"
    runs.start_many(skills.order, [{"path": str(path), "mark": "low", "seconds": 0.02} for _ in range(1500)])
    workers(skills=SKILLS, concurrency=1, environment={"CELERIAC_INLINE_SECONDS": "0.0"})
    eventually(path.exists)
    done = len(path.read_text().splitlines())
    skills.order.start(path=str(path), mark="high", priority=9).wait(timeout=30)
    overtaken = path.read_text().splitlines().index("high") - done
    assert overtaken < 100


def test_agents_take_turns(workers, eventually, tmp_path):
    """One agent's thousands of runs delay another's one run by a few."""
    path = tmp_path / "order"
    for name in ("many", "one"):
        Agent.objects.create(name=name)
    runs.start_many(
        skills.order, [{"path": str(path), "mark": "many", "seconds": 0.1} for _ in range(3000)], agent="many"
    )
    workers(skills=SKILLS, concurrency=2, environment={"CELERIAC_INLINE_SECONDS": "0.0"})
    eventually(lambda: path.exists() and len(path.read_text().splitlines()) > 20)
    run = skills.order.start(path=str(path), mark="one", agent="one")
    done = len(path.read_text().splitlines())
    run.wait(timeout=30)
    assert path.read_text().splitlines().index("one") - done < 30


def test_key_limit_holds_and_is_used(workers, eventually, tmp_path):
    """Never more than two run at once, and the next one starts as soon as one ends."""
    workers(skills=SKILLS, concurrency=4)
    started = [skills.keyed.start(folder=str(tmp_path)) for _ in range(40)]
    seen = [run.wait(timeout=60) for run in started]
    assert not list(tmp_path.glob("over-*"))
    assert max(seen) == 2
    assert max(_pauses()) < 5, "none waits for its message to be sent again"


def _pauses():
    """Return for how many seconds nothing ran, each time that the next attempt began."""
    times = list(Attempt.objects.order_by("started_at").values_list("started_at", "ended_at"))
    ended = [max(end for _, end in times[: number + 1]) for number in range(len(times))]
    return [(start - before).total_seconds() for (start, _), before in zip(times[1:], ended, strict=False)]


def test_rate_holds(workers, eventually):
    """Five start at once, then five a second: never more, however busy the machine is."""
    workers(skills=SKILLS, concurrency=2)
    for run in [skills.rated.start() for _ in range(25)]:
        run.wait(timeout=60)
    started = Attempt.objects.order_by("started_at").values_list("started_at", flat=True)
    times = [(at - started[0]).total_seconds() for at in started]
    assert times[-1] > 3.9
    for first, early in enumerate(times):
        for last, late in enumerate(times[first:], start=first):
            assert last - first + 1 <= 5 + 5 * (late - early) + 0.01


def test_open_breaker_is_not_rung_for(workers, eventually):
    """Steps whose breaker is open wait without a message."""
    workers(skills=SKILLS, concurrency=1)
    first = skills.broken.start()
    with pytest.raises(RunFailed):
        first.wait(timeout=20)
    more = runs.start_many(skills.broken, [{} for _ in range(700)])
    eventually(lambda: Step.objects.filter(pk__in=more, waiting="breaker").count() == 700, timeout=30)
    assert Attempt.objects.filter(step_id__in=more).count() == 0


def test_two_upkeeps_side_by_side_do_no_harm(workers, eventually, settings, transactional_db):
    """Passes that overlap wake each timer once, and ring for each step once."""
    settings.CELERIAC = settings.CELERIAC | {"tick_seconds": 0.0}
    due = timezone.now()
    for number in range(300):
        skills.quick.start(number=number, start_at=due + timedelta(milliseconds=number))
    failures = []

    def pass_often():
        try:
            ticker, feeder = upkeep.Ticker(), upkeep.Feeder()
            for _ in range(60):
                ticker.tick()
                feeder.tick(is_urgent=True)
        except Exception as error:  # noqa: BLE001 - told to the test
            failures.append(error)
        finally:
            ledger.close()
            connection.close()

    threads = [threading.Thread(target=pass_often) for _ in range(3)]
    for thread in threads:
        thread.start()
    workers(skills=SKILLS, concurrency=2)
    for thread in threads:
        thread.join()
    assert not failures
    eventually(lambda: Run.objects.filter(state="completed").count() == 300, timeout=60)
    assert Attempt.objects.count() == 300
