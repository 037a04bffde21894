"""The fence: once a step's epoch has risen, its former performer changes nothing, whatever it still writes."""

from decimal import Decimal

import pytest

from execution import ids, ledger, runs, values
from execution.models import Checkpoint, Effect, Event, Run, Signal, Step, Timer
from execution.skills import skill
from tests.hands import MARKS, call, finish, open_run, record, side_by_side, spend

pytestmark = MARKS


@skill("fences.spends")
def spends(ctx) -> str:
    """Lose the step in the middle, then charge for what was bought already, and return."""
    ctx.once("before", lambda: 1)
    if ctx.attempt == 1:
        ledger.give_back(ctx.step_id, ctx.attempt, ending="lost", reason="frozen")
    ctx.spend("bought", cost="0.25", tokens=10)
    return "first" if ctx.attempt == 1 else "successor"


def intend(claim, effect_id=None):
    """Store an intent by hand."""
    packed = values.pack(1, place="a test")
    return ledger.intend(
        claim.step_id, claim.epoch, effect_id or ids.new(), token="e", key="k", policy="ask", intent=packed
    )


WRITES = {
    "once": lambda claim: ledger.record(claim.step_id, claim.epoch, [record("late")]).verdict,
    "save": lambda claim: ledger.record(claim.step_id, claim.epoch, [record("late", "save")]).verdict,
    "append": lambda claim: ledger.record(claim.step_id, claim.epoch, [record("late", "append", name="list")]).verdict,
    "each": lambda claim: ledger.record(claim.step_id, claim.epoch, [record("late", "each", {"index": 1})]).verdict,
    "spend": lambda claim: ledger.record(claim.step_id, claim.epoch, [spend("late", "0.5", 7)]).verdict,
    "reserve": lambda claim: ledger.reserve(claim.step_id, claim.epoch, cost=Decimal("0.5"), tokens=1),
    "intend": lambda claim: intend(claim).verdict,
    "call": lambda claim: call(claim, cost="0.1").verdict,
    "take_signal": lambda claim: ledger.take_signal(claim.step_id, claim.epoch, "answer", "late", 1).verdict,
    "completed": lambda claim: finish(claim, "completed", 1).verdict,
    "suspended": lambda claim: finish(claim, "suspended", waiting="timer", wake_seconds=1).verdict,
    "retrying": lambda claim: finish(claim, "retrying", wake_seconds=1, breaker="failed").verdict,
    "failed": lambda claim: finish(claim, "failed", error={}, breaker="failed").verdict,
    "parked": lambda claim: finish(claim, "parked", waiting="effect").verdict,
    "cancelled": lambda claim: finish(claim, "cancelled").verdict,
}


def everything_of(run):
    """Return all that a write of a step could change."""
    columns = "state, waiting, epoch, attempt_id, reserved_cost, unsettled_cost, reserved_tokens, unsettled_tokens"
    return {
        "step": ledger.ask(f"SELECT {columns} FROM execution_step WHERE id = %s", [run.id]),  # noqa: S608 - a literal
        "money": list(Run.objects.filter(pk=run.id).values("state", "reserved_cost", "spent_cost", "spent_tokens")),
        "checkpoints": Checkpoint.objects.filter(step_id=run.id).count(),
        "effects": list(Effect.objects.filter(step_id=run.id).values_list("state", flat=True)),
        "children": Run.objects.filter(parent_run_id=run.id).count(),
        "signals": Signal.objects.filter(run_id=run.id, consumed_at=None).count(),
        "timers": Timer.objects.filter(run_id=run.id).count(),
        "events": Event.objects.filter(run_id=run.id).count(),
        "breakers": ledger.ask("SELECT * FROM execution_breaker"),
    }


@pytest.mark.parametrize("reclaimed", [False, True], ids=["given back", "claimed again"])
@pytest.mark.parametrize("write", WRITES)
def test_write_after_the_epoch_rose_is_refused(hands, write, reclaimed):
    """Each guarded write of the former performer is refused and changes nothing, whoever holds the step by then."""
    run = open_run(budget="5")
    claim = hands.take(run)
    runs.signal(run, "answer", 1)
    hands.lose(claim)
    if reclaimed:
        hands.take(run)
    before = everything_of(run)
    assert WRITES[write](claim) == "stale"
    assert everything_of(run) == before


def test_receipt_after_the_epoch_rose_is_refused(hands):
    """A receipt that comes late leaves its effect unknown: the policy decides, not the late worker."""
    run = open_run()
    claim = hands.take(run)
    effect_id = intend(claim).effect_id
    hands.lose(claim)
    answer = ledger.receipt(claim.step_id, claim.epoch, effect_id, state="done", receipt=values.pack(1, place=""))
    assert answer.verdict == "stale"
    assert Effect.objects.get(pk=effect_id).state == "intended"
    assert intend(hands.take(run)).verdict == "unknown"


@pytest.mark.parametrize("write", ["once", "completed", "spend"])
def test_write_after_the_ending_is_refused(hands, write):
    """A performer that goes on after its own ending was written changes nothing more."""
    run = open_run()
    claim = hands.take(run)
    finish(claim, "suspended", waiting="timer", wake_seconds=60, timer="sleep")
    before = everything_of(run)
    assert WRITES[write](claim) in ("stale", "already")
    assert everything_of(run) == before


@pytest.mark.parametrize(
    "kinds", [("once",), ("save",), ("append",), ("spend",)], ids=["once", "save", "append", "spend"]
)
def test_records_against_a_rising_epoch(hands, kinds):
    """However hard a performer writes while its step is taken away, nothing of its epoch is stored after that."""
    run = open_run(budget="100000")
    for round_number in range(12):
        claim = hands.take(run)
        written = []

        def hammer(claim=claim, written=written, round_number=round_number):
            for number in range(400):
                token = f"{round_number}-{number}"
                one = record(
                    token, kinds[0], number, position=number, **({"cost": Decimal(1)} if "spend" in kinds else {})
                )
                if ledger.record(claim.step_id, claim.epoch, [one]).verdict == "stale":
                    return
                written.append(token)

        def take_away(claim=claim, written=written):
            while len(written) < 5:
                pass
            hands.lose(claim)
            return Checkpoint.objects.filter(step_id=run.id, epoch=claim.epoch).count()

        _, stored = side_by_side(hammer, take_away)
        assert Checkpoint.objects.filter(step_id=run.id, epoch=claim.epoch).count() == stored == len(written)
    if "spend" in kinds:
        charged = Checkpoint.objects.filter(step_id=run.id).count()
        found = Run.objects.get(pk=run.id)
        assert (found.spent_cost, found.reserved_cost) == (charged, 0)


def test_endings_against_a_rising_epoch(hands):
    """An ending and a giving back side by side: one of them holds, and the attempt says which."""
    for _ in range(40):
        run = open_run()
        claim = hands.take(run)
        ended, given_back = side_by_side(
            lambda claim=claim: finish(claim).verdict, lambda claim=claim: hands.lose(claim)
        )
        step = Step.objects.get(pk=run.id)
        assert (ended, given_back, step.state, step.epoch) in (
            ("done", "stale", "completed", 1),
            ("stale", "ready", "ready", 2),
        )


class TestOverdraft:
    def test_late_cost_is_recorded_once(self, hands):
        """What a fenced worker had spent is real: it is booked once per attempt and token, never refused."""
        run = open_run(budget="1")
        claim = hands.take(run)
        hands.lose(claim)
        for _ in range(3):
            ledger.overdraw(claim.step_id, claim.attempt_id, "call", cost=Decimal("4.50"), tokens=3)
        other = ids.new()
        ledger.overdraw(claim.step_id, other, "call", cost=Decimal("0.25"), tokens=0)
        found = Run.objects.get(pk=run.id)
        assert (found.spent_cost, found.spent_tokens) == (Decimal("4.75"), 3)
        assert Event.objects.filter(run_id=run.id, kind="budget.overdrawn").count() == 2

    def test_late_cost_side_by_side_is_recorded_once(self, hands):
        """Also when the same late cost is told twice at once."""
        run = open_run(budget="1")
        claim = hands.take(run)
        hands.lose(claim)
        answers = side_by_side(
            *[lambda: ledger.overdraw(claim.step_id, claim.attempt_id, "call", cost=Decimal(1), tokens=0)] * 6
        )
        assert sorted(answers) == [False] * 5 + [True]
        assert Run.objects.get(pk=run.id).spent_cost == 1

    def test_skill_that_lost_its_step_charges_and_changes_nothing_else(self, hands):
        """A worker that was frozen and wakes up books what it spent, and leaves the step to its successor."""
        run = open_run("fences.spends", {}, budget="10")
        assert hands.perform(run).state == "ready"
        assert Run.objects.get(pk=run.id).spent_cost == Decimal("0.25")
        assert hands.perform(run).state == "completed"
        assert runs.result(run) == "successor"
        assert Run.objects.get(pk=run.id).spent_cost == Decimal("0.50")
