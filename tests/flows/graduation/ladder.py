"""The status that graduation derives: across a restart, between two evaluators, and against a claim that races a lock."""

import threading
from functools import partial

from django.db import connections, transaction

from execution import agents, ids, ledger
from execution.models import Agent, CapabilityLockout, CycleState, Step
from graduation import evaluator, lockouts, tasks
from graduation.exceptions import Overtaken
from graduation.models import GraduationHistory, GraduationStatus
from recovery.models import RecoveryCandidate
from tests.flows import skills
from tests.graduation.decided import recoveries
from tests.hands import side_by_side

CAPABILITY = "auto_apply_recovery"
CLAIM = "SELECT verdict, reason FROM execution_claim_v1(%s, %s, '00000000-0000-0000-0000-000000000001', 1)"
WAITING = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"


def _scout():
    agent = Agent.objects.create(name="scout")
    lockouts.install()
    return agent


def _status():
    found = GraduationStatus.objects.filter(pk="agent:scout").first()
    return (found.status, found.former_status) if found else None


def _history():
    rows = GraduationHistory.objects.filter(subject="agent:scout").order_by("id")
    return list(rows.values_list("before", "after"))


def _is_free():
    return agents.is_unlocked(CAPABILITY, agent="scout")


def _ask_a_worker():
    CycleState.objects.filter(pk=evaluator.WATCH.name).update(ticked_at=None)
    tasks.evaluate.apply_async(queue="default")


def degraded_across_a_restart(stage):
    """10: killed in mid-evaluation, nothing is half written; the next worker goes on from the status as it was left."""
    _scout()
    recoveries(20)
    worker = stage.worker()
    _ask_a_worker()
    stage.eventually(lambda: _status() == ("beta", "alpha") and _is_free(), message="what held is beta")
    failed = recoveries(0, 15)
    with ledger.connect() as claiming:
        claiming.execute("BEGIN")
        claiming.execute("SELECT execution_share_agent_v1(%s)", [agents.id_of("scout")])
        _ask_a_worker()
        stage.eventually(lambda: ledger.ask(WAITING)[0].n, message="the evaluation waits for a claim in flight")
        worker.kill()
        claiming.execute("COMMIT")
    assert (_status(), _history()) == (("beta", "alpha"), [("alpha", "beta")]), "nothing of it is written"
    assert _is_free()
    worker = stage.worker()
    _ask_a_worker()
    stage.eventually(lambda: _status() == ("degraded", "beta"), message="the lost gate degrades")
    assert not _is_free(), "locked in the same transaction"
    worker.kill()
    RecoveryCandidate.objects.filter(pk__in=[one.pk for one in failed]).delete()
    stage.worker()
    _ask_a_worker()
    stage.eventually(lambda: _status() == ("beta", "degraded"), message="the former status is back")
    stage.eventually(_is_free, message="and what it had unlocked")
    assert [pair for pair in _history() if pair[0] != pair[1]] == [
        ("alpha", "beta"), ("beta", "degraded"), ("degraded", "beta"),
    ]  # fmt: skip


def two_evaluators(stage):
    """11: two that have seen the same status: one writes it with its history and locks, and the other learns it."""
    agent = _scout()
    recoveries(20)
    evaluator.evaluate(agent)
    for _ in range(5):
        before = GraduationStatus.objects.get(pk="agent:scout").epoch
        answers = _at_once(agent)
        assert sorted(answers) == ["late", "written"]
        assert GraduationStatus.objects.get(pk="agent:scout").epoch == before + 1
    side_by_side(*[evaluator.evaluate_all] * 4)
    for row in GraduationStatus.objects.all():
        assert GraduationHistory.objects.filter(subject=row.subject).count() == row.epoch, "a row for each that wrote"
    held = CapabilityLockout.objects.filter(lifted_at=None).values_list("agent", "capability")
    assert len(held) == len(set(held)), "nothing is locked twice"


def _at_once(agent):
    """Let two evaluators look at the same moment, before either writes."""
    gate, gates = threading.Barrier(2), evaluator._gates

    def seen(facts):
        gate.wait(20)
        return gates(facts)

    def evaluate():
        try:
            evaluator.evaluate(agent)
        except Overtaken:
            return "late"
        return "written"

    evaluator._gates = seen
    try:
        return side_by_side(evaluate, evaluate)
    finally:
        evaluator._gates = gates


def locked_capability(stage):
    """12: a lock waits for a claim in flight and a claim for a lock; what comes after it does not start, until earned."""
    agent = _scout()
    recoveries(20)
    evaluator.evaluate_all()
    assert _is_free()
    first, second, *others = [_capable() for _ in range(60)]
    failed = recoveries(0, 15)
    with ledger.connect() as claiming:
        claiming.execute("BEGIN")
        assert claiming.execute(CLAIM, [first.id, ids.new()]).fetchone()[0] == "claimed"
        locking = threading.Thread(target=_evaluate, daemon=True)
        locking.start()
        stage.eventually(lambda: ledger.ask(WAITING)[0].n, message="the lock waits for the claim")
        claiming.execute("COMMIT")
    locking.join(20)
    assert (_status()[0], _claimed(second)) == ("degraded", ("refused", "lockout"))

    RecoveryCandidate.objects.filter(pk__in=[one.pk for one in failed]).delete()
    _evaluate()
    assert _is_free()
    _race(others, recoveries, agent)
    agents.lift(CAPABILITY, agent="scout")
    RecoveryCandidate.objects.filter(state="ineffective").delete()
    Step.objects.filter(capability=CAPABILITY).exclude(waiting="lockout").update(state="completed", waiting="")
    left = Step.objects.filter(capability=CAPABILITY, waiting="lockout")
    stage.worker(queues="nobody's")
    stage.eventually(lambda: not left.exists(), timeout=30, message="what waited starts when it is unlocked")


def _race(found, fail, agent):
    """Claim in three threads while the status is lost: not one more step begins after it is written."""
    running = Step.objects.filter(capability=CAPABILITY, state="running")
    before = running.count()

    def lose():
        while running.count() < before + 3:
            pass
        fail(0, 15)
        evaluator.evaluate(agent)
        count = running.count()
        is_lost.set()
        return count

    def claim(part):
        for run in part[:-1]:
            _claimed(run)
        assert is_lost.wait(30)
        _claimed(part[-1])

    is_lost = threading.Event()
    parts = [found[number::3] for number in range(3)]
    answers = side_by_side(lose, *[partial(claim, part) for part in parts])
    assert answers[0] == running.count() < before + len(found), "no claim slipped past the lock"


def _capable():
    run = skills.nap.start(agent="scout", seconds=0.01, queue="nobody's")
    Step.objects.filter(pk=run.id).update(capability=CAPABILITY)
    return run


def _claimed(run):
    with transaction.atomic():
        found = ledger.ask(CLAIM, [run.id, ids.new()])[0]
    return found.verdict, found.reason


def _evaluate():
    try:
        evaluator.evaluate("scout")
    finally:
        connections.close_all()


STORIES = {10: degraded_across_a_restart, 11: two_evaluators, 12: locked_capability}
