"""One case a row: the named fault is injected against real servers, and the promise holds."""

import contextlib
import io
import re
import threading
import uuid
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.utils import timezone

from config import substrate
from execution import agents, budgets, effects, events, ids, jobs, ledger, memory_rules, provenance, runs, timers
from execution.exceptions import RunFailed
from execution.models import (
    Agent,
    Attempt,
    Checkpoint,
    CycleState,
    Effect,
    Event,
    EventReader,
    Level,
    Memory,
    Provenance,
    Run,
    Step,
    Timer,
)
from tests import people
from tests.flows import graduation, processes, recovery, skills
from tests.flows.table import FLOWS
from tests.hands import graph, side_by_side

SKILLS = "tests.flows.skills"
LEASE = {"lease_seconds": 3, "heartbeat_seconds": 1.0}
CLAIM = "SELECT verdict FROM execution_claim_v1(%s, %s, '00000000-0000-0000-0000-000000000001', 1)"
LEASE_ENVIRONMENT = {"CELERIAC_LEASE_SECONDS": "3", "CELERIAC_HEARTBEAT_SECONDS": "1"}


@dataclass
class Stage:
    """What a flow's story may use."""

    workers: Any
    eventually: Any
    folder: Path
    started: list

    def worker(self, **options):
        """Start a worker with the flows' skills and a lease of three seconds."""
        environment = LEASE_ENVIRONMENT | options.pop("environment", {})
        return self.workers(**{"skills": SKILLS, "concurrency": 1} | options, environment=environment)

    def keep(self, process):
        """End a process with the test."""
        self.started.append(process)
        return process

    def ended(self, *started, timeout=40):
        """Wait until these runs have ended, and return their states."""
        wanted = [run.id for run in started]
        rows = Run.objects.filter(pk__in=wanted)
        self.eventually(lambda: rows.ended().count() == len(wanted), timeout=timeout, message="every run ends")
        return set(rows.values_list("state", flat=True))

    def flush_broker(self):
        """Empty Redis, messages, bindings and all."""
        with redis.from_url(substrate.addresses().redis_url) as client:
            client.flushall()


@pytest.fixture
def stage(workers, eventually, tmp_path, settings):
    """Set the stage, with a short lease, and clear it afterwards."""
    settings.CELERIAC = settings.CELERIAC | LEASE
    stage = Stage(workers, eventually, tmp_path, [])
    yield stage
    for process in stage.started:
        process.kill()
    workers.kill_all()
    ledger.close()
    eventually(_is_alone, message="the killed workers' sessions end")


def _is_alone():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
        return cursor.fetchone()[0] == 0


def cases():
    """Return one case a row; what is not built yet is skipped."""
    not_built = pytest.mark.skip("not built yet")
    return [pytest.param(flow, id=str(flow.number), marks=() if flow.is_built else not_built) for flow in FLOWS]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("flow", cases())
def test_flow(flow, stage):
    """The promise of this row holds under its fault."""
    STORIES[flow.number](stage)


def test_every_built_row_has_a_story():
    """A row has a story exactly when it says what it is proven of."""
    assert sorted(STORIES) == [flow.number for flow in FLOWS if flow.is_built]


# Looking


def endings(run):
    """Return how the attempts of a run ended, in order."""
    return list(Attempt.objects.filter(run_id=run.id).order_by("epoch").values_list("ending", flat=True))


def recorded(run):
    """Return the tokens that a run has recorded by once, each with the epoch of its record."""
    rows = Checkpoint.objects.filter(step_id=run.id, kind="once").order_by("position")
    return dict(rows.values_list("token", "epoch"))


def completions(run):
    """Return how often a run's step was completed, as the log has it."""
    return Event.objects.filter(run_id=run.id, kind="step.completed").count()


def assert_ended_once(*started):
    """Every run has completed, by one completion of its step, and nobody holds anything of it."""
    for run in started:
        assert Run.objects.get(pk=run.id).state == "completed"
        assert completions(run) == 1
        assert endings(run).count("completed") == 1
    left = Step.objects.filter(pk__in=[run.id for run in started]).exclude(worker_id=None, lease_until=None)
    assert not left.exists(), "no lease without an owner"


def assert_nothing_late(run):
    """Nothing was recorded by an attempt after its step had been given back."""
    lost = dict(Attempt.objects.filter(run_id=run.id, ending="lost").values_list("epoch", "ended_at"))
    written = Checkpoint.objects.filter(step_id=run.id, epoch__in=lost).values_list("token", "epoch", "saved_at")
    late = [token for token, epoch, saved_at in written if saved_at > lost[epoch]]
    assert lost, "workers were lost"
    assert not late


# The stories


def lost_message(stage):
    """1: the message is gone before any worker has looked; the feeder rings again."""
    run = skills.add.start(left=1)
    stage.flush_broker()
    stage.worker()
    assert stage.ended(run) == {"completed"}
    assert_ended_once(run)
    assert runs.result(run) == 2


def killed_between_statements(stage):
    """2: a process is killed before its first, second, ... last statement; each time the run ends once, and well."""
    plan = stage.folder / "plan"
    worker = stage.worker(skills=f"{SKILLS},tests.flows.killer", environment={"FLOWS_PLAN": str(plan)})
    for k in range(1, 60):
        plan.write_text(f"{k} {uuid.uuid4()}")
        world = str(stage.folder / f"world-{k}")
        run = skills.everything.start(folder=world, budget="5.00")
        assert stage.ended(run) == {"completed"}, f"killed before statement {k}\n{worker.log()[-3000:]}"
        assert_ended_once(run)
        assert runs.result(run) == [1, ["a", "b"], {"at": "middle"}, None]
        assert Run.objects.get(pk=run.id).spent_cost == Decimal("0.20"), f"statement {k}"
        assert Run.objects.get(pk=run.id).reserved_cost == 0
        assert Effect.objects.get(step_id=run.id).state == "done"
        if plan.exists():
            plan.unlink()
            break
    assert k > 10, f"a run of this skill has more than {k} statements"
    assert len(list(stage.folder.glob("died-at-*"))) == k - 1, "every kill has happened"


def changed_agent(stage):
    """3: what changes while a run sleeps decides its next claim; after a lockout that races claims none passes."""
    Agent.objects.create(name="scout", level=Level.AUTONOMOUS, budget_cost=Decimal("1.00"))
    stage.worker()

    def asleep():
        run = skills.nap.start(agent="scout", seconds=1.0)
        stage.eventually(lambda: Step.objects.filter(pk=run.id, waiting="timer").exists())
        return run

    def refused(run, reason):
        stage.eventually(lambda: Step.objects.filter(pk=run.id, waiting=reason).exists(), message=f"refused: {reason}")
        assert endings(run) == ["suspended"], "the second claim was not given"

    locked = asleep()
    agents.lock_out("nap", agent="scout")
    refused(locked, "lockout")
    agents.lift("nap", agent="scout")
    assert stage.ended(locked) == {"completed"}

    lowered = asleep()
    agents.set_level("scout", Level.OBSERVER)
    refused(lowered, "autonomy")
    people.put("scout", Level.AUTONOMOUS)
    runs.resume(lowered)
    assert stage.ended(lowered) == {"completed"}

    poor = asleep()
    agents.set_budget("scout", cost=Decimal("0.05"))
    refused(poor, "budget")
    agents.set_budget("scout", cost=Decimal("9.00"))
    runs.resume(poor)
    assert stage.ended(poor) == {"completed"}
    assert_ended_once(locked, lowered, poor)
    _race_a_lockout()


def _race_a_lockout():
    """A claim and a lockout wait for each other, whichever comes first."""
    passed, late = (skills.nap.start(agent="scout", queue="nobody's") for _ in range(2))
    with ledger.connect() as claiming:
        claiming.execute("BEGIN")
        found = claiming.execute(CLAIM, [passed.id, ids.new()]).fetchone()
        locking = threading.Thread(target=_locked_out, daemon=True)
        locking.start()
        locking.join(0.5)
        assert found[0] == "claimed"
        assert locking.is_alive(), "a lockout waits for a claim that has not committed"
        claiming.execute("COMMIT")
    locking.join(10)
    assert side_by_side(lambda: _claim(late))[0].reason == "lockout"

    agents.lift("nap", agent="scout")
    raced = skills.nap.start(agent="scout", queue="nobody's")
    answers = []
    with transaction.atomic():
        agents.lock_out("nap", agent="scout")
        claiming = threading.Thread(target=lambda: answers.extend(side_by_side(lambda: _claim(raced))), daemon=True)
        claiming.start()
        claiming.join(0.5)
        assert claiming.is_alive(), "a claim waits for a lockout that has not committed"
    claiming.join(10)
    assert answers[0].reason == "lockout"


def _locked_out():
    try:
        agents.lock_out("nap", agent="scout")
    finally:
        connections.close_all()


def killed_lanes(stage):
    """15: workers die and freeze in mid-chunk; every item is recorded and charged once, few are performed again."""
    world, count = stage.folder / "world", 400
    job = jobs.spawn(
        skills.item, ({"folder": str(world), "number": number} for number in range(count)), chunk=50, parallel=2
    )
    crew = []
    for share, end in ((20, "kill"), (80, "freeze"), (160, "kill")):
        crew.append(stage.worker(concurrency=2))
        stage.eventually(lambda share=share: jobs.progress(job).completed_count > share, timeout=30)
        getattr(crew[-1], end)()
    crew[1].wake()
    assert stage.ended(job.run) == {"completed"}
    progress = jobs.progress(job)
    assert (progress.completed_count, progress.failed_count, progress.cost) == (count, 0, Decimal("4.00"))
    assert [one.output for one in jobs.results(job)] == list(range(count))
    assert {(one.attempt_count, one.cost) for one in jobs.results(job)} == {(1, Decimal("0.01"))}
    performed = [skills.noted(world, f"item-{number}") for number in range(count)]
    assert min(performed) == 1
    assert sum(performed) - count <= 3 * 2 * 50, "at most what was in hand at each death"


def troubled_memory(stage):
    """4: the memory is empty, held by somebody, gone; each time the step goes on, and nothing it remembered is lost."""
    stage.worker()

    def planned(name):
        run = skills.plans.start(folder=str(stage.folder / name))
        assert stage.ended(run) == {"completed"}
        assert_ended_once(run)
        assert endings(run) == ["crashed", "completed"]
        return runs.result(run)

    assert planned("empty") == [[], 1]
    with ledger.connect() as holder:
        holder.execute("BEGIN; LOCK TABLE execution_memory IN ACCESS EXCLUSIVE MODE")
        assert planned("held") == [[], 0]
    ledger.ask("ALTER TABLE execution_memory RENAME TO execution_memory_away")
    try:
        assert planned("gone") == [[], 0]
    finally:
        ledger.ask("ALTER TABLE execution_memory_away RENAME TO execution_memory")
    assert Event.objects.filter(kind="memory.unavailable").count() == 4, "two recalls each time"
    side_by_side(*[memory_rules.apply_all] * 3)
    assert Memory.objects.count() == 3, "what was owed is kept, once"
    before, after = planned("back")
    assert (len(before), after) == (3, 4)


def one_record_a_step(stage):
    """5: performers die and resume, a recorder dies before its commit, four record at once; each step has one record."""
    stage.worker()
    world = stage.folder / "world"
    died = skills.dies_recording.start(folder=str(world))
    quick = [skills.add.start(left=number) for number in range(20)]
    assert stage.ended(died, *quick) == {"completed"}
    assert endings(died) == ["crashed", "crashed", "completed"]

    derived = stage.folder / "derived"
    recorder = stage.keep(processes.Process(("tests.flows.recorder", str(derived)), log=stage.folder / "recorder.log"))
    stage.eventually(derived.exists, timeout=30)
    recorder.kill()
    assert not Provenance.objects.exists(), "nothing of a recorder that died is left"

    side_by_side(*[provenance.record_all, provenance.catch_up] * 2)
    EventReader.objects.filter(name=provenance.READER).update(cursor={})
    provenance.record_all()
    assert Provenance.objects.count() == 21
    record = Provenance.objects.get(step_id=died.id)
    last = Attempt.objects.get(step_id=died.id, ending="completed")
    assert (record.attempt_id, record.attempt_count, record.state) == (last.id, 3, "completed")
    assert {r.attempt_count for r in Provenance.objects.exclude(step_id=died.id)} == {1}
    call_command("provenance", str(died.id), stdout=io.StringIO())
    assert Provenance.objects.count() == 21, "who asks for a record makes no second one"


def flushed_broker(stage):
    """32: messages and bindings vanish twice while thirty runs are queued and performed."""
    stage.worker(concurrency=2)
    started = [skills.long.start(folder=str(stage.folder / "world"), count=6) for _ in range(30)]
    for share in (3, 12):
        stage.eventually(lambda share=share: Run.objects.ended().count() >= share, timeout=40)
        stage.flush_broker()
    assert stage.ended(*started, timeout=90) == {"completed"}
    assert_ended_once(*started)


def absent_worker(stage):
    """33: killed, frozen, cut off; each time another goes on from the last checkpoint, and late writes are refused."""
    first = stage.worker()
    run = skills.long.start(folder=str(stage.folder / "world"))
    _wait_for_progress(stage, run, epoch=1)
    second = stage.worker()
    first.kill()
    _goes_on(stage, run, since=1)

    third = stage.worker()
    epoch = Step.objects.get(pk=run.id).epoch
    second.freeze()
    _goes_on(stage, run, since=epoch)
    second.wake()
    stage.eventually(lambda: skills.noted(stage.folder / "world", "refused") == 1, message="the late write is refused")
    second.stop()
    third.stop()

    cable = stage.keep(processes.start_cable(stage.folder / "cable"))
    cut = stage.worker(environment={"DATABASE_URL": _through(stage.folder / "cable")})
    epoch = Step.objects.get(pk=run.id).epoch
    _goes_on(stage, run, since=epoch)
    stage.worker()
    epoch = Step.objects.get(pk=run.id).epoch
    cable.freeze()
    _goes_on(stage, run, since=epoch)
    cable.wake()
    stage.eventually(lambda: skills.noted(stage.folder / "world", "refused") == 2, message="the cut worker is refused")
    assert cut.is_alive

    (stage.folder / "world" / "enough").touch()
    assert stage.ended(run) == {"completed"}
    assert_ended_once(run)
    numbers = [int(re.fullmatch(r"step-(\d+)", token)[1]) for token in recorded(run)]
    assert numbers == list(range(len(numbers))), "recorded in order, without a gap, each once"
    assert_nothing_late(run)


def _wait_for_progress(stage, run, *, epoch):
    stage.eventually(lambda: Checkpoint.objects.filter(step_id=run.id, epoch=epoch).count() > 3, timeout=30)


def _goes_on(stage, run, *, since):
    """Wait until a later attempt has recorded more, without repeating what was recorded."""
    before = set(recorded(run))
    later = Checkpoint.objects.filter(step_id=run.id, epoch__gt=since)
    stage.eventually(lambda: later.count() > 3, timeout=30, message=f"another attempt than {since} goes on")
    repeated = before & set(later.values_list("token", flat=True))
    assert not repeated, "nothing that was recorded is done again"


def _through(folder):
    from tests.workers import database_url

    return database_url(connection.settings_dict | {"HOST": str(folder)})


def overdue_timers(stage):
    """34: everything is restarted while a sleep and a custom timer fall due; both fire at once, and once."""
    worker = stage.worker()
    asleep = skills.nap.start(seconds=3.0)
    timer = timers.at("3s", "flows.add", {"left": 5}, tags=["timed"])
    stage.eventually(lambda: Step.objects.filter(pk=asleep.id, waiting="timer").exists())
    worker.kill()
    _restart_servers()
    stage.flush_broker()
    due = ledger.ask("SELECT bool_and(due_at < clock_timestamp()) AS v FROM execution_timer WHERE fired_at IS NULL")
    stage.eventually(lambda: due[0].v or timezone.now() > timer.due_at, message="both timers are overdue")
    stage.worker()
    assert stage.ended(asleep) == {"completed"}
    opened = stage.eventually(lambda: Run.objects.filter(tags=["timed"], state="completed").first())
    assert_ended_once(asleep, opened)
    assert Run.objects.filter(tags=["timed"]).count() == 1
    assert endings(asleep) == ["suspended", "completed"]
    assert Timer.objects.filter(fired_at=None).count() == 0


def _restart_servers():
    connections.close_all()
    ledger.close()
    substrate.stop()
    substrate.ensure()


def killed_before_the_record(stage):
    """35: the work was done and not recorded; it is done again, and nothing else is."""
    stage.worker()
    world = stage.folder / "world"
    run = skills.dies_recording.start(folder=str(world))
    assert stage.ended(run) == {"completed"}
    assert_ended_once(run)
    assert endings(run) == ["crashed", "crashed", "completed"]
    assert {name: skills.noted(world, name) for name in ("before", "cut", "item-a", "item-b", "item-c")} == {
        "before": 1, "cut": 2, "item-a": 1, "item-b": 2, "item-c": 1,
    }  # fmt: skip
    assert runs.result(run) == ["a", "b", "c"], "neither doubled nor lost"


def killed_before_the_receipt(stage):
    """36: the world was changed and nobody knows; the policy decides what happens."""
    stage.worker()
    worlds = {policy: stage.folder / policy for policy in ("retry", "ask", "fail")}
    started = {policy: skills.dies_sending.start(folder=str(world), policy=policy) for policy, world in worlds.items()}
    assert stage.ended(started["retry"]) == {"completed"}
    assert skills.noted(worlds["retry"], "sent") == 2
    assert len(list(worlds["retry"].glob("key-*"))) == 1, "both times under the same key"

    assert stage.ended(started["fail"]) == {"failed"}
    with pytest.raises(RunFailed, match="letter"):
        runs.result(started["fail"])
    assert skills.noted(worlds["fail"], "sent") == 1

    stage.eventually(lambda: Run.objects.filter(pk=started["ask"].id, state="parked", waiting="effect").exists())
    effects.decide(Effect.objects.get(step_id=started["ask"].id), "done", receipt="seen in the post", by="anna")
    assert stage.ended(started["ask"]) == {"completed"}
    assert runs.result(started["ask"]) == "seen in the post"
    assert skills.noted(worlds["ask"], "sent") == 1
    assert_ended_once(started["retry"], started["ask"])


def fifty_claims(stage):
    """37: fifty claims at the same moment reserve what the budget holds and no more; a lost one gives its part back."""
    reserve = {"reserve_cost": Decimal("0.10")}
    wide, steps = graph([[] for _ in range(50)], run={"budget_cost": Decimal("1.05")}, step=reserve)
    claimed = _claimed(side_by_side(*(lambda step=step: _claim(step) for step in steps)))
    wide.refresh_from_db()
    assert (len(claimed), wide.reserved_cost, wide.state) == (10, Decimal("1.00"), "parked")

    agent = Agent.objects.create(name="saver", budget_cost=Decimal("1.00"))
    opened = [skills.nap.start(agent="saver", queue="nobody's") for _ in range(50)]
    claimed_of_agent = _claimed(side_by_side(*(lambda run=run: _claim(run) for run in opened)))
    agent.refresh_from_db()
    assert (len(claimed_of_agent), agent.reserved_cost) == (10, Decimal("1.00"))

    lost = claimed[0]
    assert ledger.give_back(lost.step_id, lost.epoch, ending="lost", reason="worker died") == "ready"
    wide.refresh_from_db()
    assert wide.reserved_cost == Decimal("0.90")
    budgets.top_up(wide, cost="0.10")
    ready = Step.objects.filter(run_id=wide.id, state="ready")
    again = _claimed(side_by_side(*(lambda step=step: _claim(step) for step in ready)))
    wide.refresh_from_db()
    assert (len(again), wide.reserved_cost) == (2, Decimal("1.10")), "up to the new budget, and not beyond"


def _claim(step):
    return ledger.claim(step.id, ids.new(), worker_id=uuid.UUID(int=1), pid=1)


def _claimed(answers):
    return [answer for answer in answers if isinstance(answer, ledger.Claim)]


def two_beats(stage):
    """38: time goes on without beat; two beats after an hour send twice as much, and each tick is done once."""
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    stage.worker(queues="default,celeriac")
    asleep = skills.nap.start(seconds=1.0)
    assert stage.ended(asleep) == {"completed"}, "no beat is needed for timers"
    every_second, _ = IntervalSchedule.objects.get_or_create(every=1, period=IntervalSchedule.SECONDS)
    an_hour_ago = timezone.now() - timezone.timedelta(hours=1)
    for name in ("flows.cycle", "execution.clean_up"):
        PeriodicTask.objects.update_or_create(
            name=name,
            defaults={"task": name, "interval": every_second, "queue": "celeriac", "last_run_at": an_hour_ago},
        )
    began = timezone.now()
    beats = [stage.keep(processes.start_beat(stage.folder, number)) for number in (1, 2)]
    ticks = CycleState.objects.filter(name="flows.cycle", tick_count__gte=5)
    stage.eventually(ticks.exists, timeout=40)
    for beat in beats:
        beat.kill()
    elapsed = (timezone.now() - began).total_seconds()
    state = CycleState.objects.get(name="flows.cycle")
    assert state.tick_count <= elapsed / 0.9 + 1, "one a second: no burst, and no tick done twice"
    assert state.state["n"] == state.touched_count == state.tick_count, "each tick was one pass"
    assert CycleState.objects.get(name="execution.clean_up").tick_count == 1, "once a day, however often it is asked"
    sent = sum(beat.log_path.read_text().count("flows.cycle (flows.cycle)") for beat in beats)
    assert sent > state.tick_count, "both beats were sending"


def crashed_postgres(stage):
    """39: PostgreSQL is cut off in the middle of everything, and recovers; every run ends once."""
    stage.workers.start_all(2, skills=SKILLS, concurrency=2, environment=LEASE_ENVIRONMENT)
    started = [skills.long.start(folder=str(stage.folder / "world"), count=30) for _ in range(12)]
    for share in (1, 6):
        stage.eventually(lambda share=share: Run.objects.ended().count() >= share, timeout=60)
        connections.close_all()
        ledger.close()
        processes.crash_postgres()
    assert stage.ended(*started, timeout=90) == {"completed"}
    assert_ended_once(*started)
    for run in started:
        assert list(recorded(run)) == [f"step-{number}" for number in range(30)]
    assert not Step.objects.filter(state="running").exists()


def late_commit(stage):
    """40: what a slow transaction wrote first and committed last is handed out once, and nothing twice."""
    EventReader.objects.create(name="flows", cursor=events.read(limit=100_000).cursor.stored())
    wrote, may_commit = threading.Event(), threading.Event()

    def slow():
        with contextlib.closing(connections["default"]), transaction.atomic():
            _log("flows.slow")
            wrote.set()
            may_commit.wait(30)

    thread = threading.Thread(target=slow)
    thread.start()
    wrote.wait(10)
    seen = []
    for number in range(3):
        _log(f"flows.quick-{number}")
        _consume(seen)
    assert seen == ["flows.quick-0", "flows.quick-1", "flows.quick-2"], "nobody waits for the slow one"
    may_commit.set()
    thread.join()
    _log("flows.after")
    stage.eventually(lambda: _consume(seen) or "flows.after" in seen)
    _consume(seen)
    assert sorted(seen) == ["flows.after", "flows.quick-0", "flows.quick-1", "flows.quick-2", "flows.slow"]


def _log(kind):
    ledger.ask_in_transaction("SELECT execution_log_v1(%s, %s, NULL, NULL, NULL, '{}')", [kind, ids.new()])


def _consume(seen):
    events.consume("flows", lambda batch: seen.extend(e.kind for e in batch if e.kind.startswith("flows.")))


STORIES = (
    {
        1: lost_message,
        2: killed_between_statements,
        3: changed_agent,
        15: killed_lanes,
        4: troubled_memory,
        5: one_record_a_step,
        32: flushed_broker,
        33: absent_worker,
        34: overdue_timers,
        35: killed_before_the_record,
        36: killed_before_the_receipt,
        37: fifty_claims,
        38: two_beats,
        39: crashed_postgres,
        40: late_commit,
    }
    | recovery.stories()
    | graduation.stories()
)
