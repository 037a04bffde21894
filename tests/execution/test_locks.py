"""The order of locks: whatever is done side by side to few runs, nothing deadlocks, nothing errs, and the books are right.

The order is: ancestor runs, run, agent, concurrency keys, breaker, steps by id, chord last.
"""

import random
import threading
import time
from collections import Counter
from decimal import Decimal

import pytest
from django.db import transaction

from execution import agents, breakers, budgets, doorbell, errands, ids, ledger, runs, upkeep
from execution.exceptions import CeleriacError
from execution.ledger import Claim, Wish
from execution.models import Agent, ConcurrencyKey, Errand, Level, Run, Step
from tests import people
from tests.hands import MARKS, call, deadlocks, graph, side_by_side, spend

pytestmark = MARKS
SECONDS = 8
ENDINGS = ("completed", "completed", "failed", "suspended", "retrying", "parked", "cancelled")


class Crowd:
    """Eight threads that do everything at once to a handful of runs."""

    def __init__(self, hands, seed):
        """Open the runs: graphs and children, with keys, breakers and budgets of runs and of an agent."""
        self.hands, self.seed = hands, seed
        self.until = time.monotonic() + SECONDS
        self.done, self.guard = Counter(), threading.Lock()
        scout = Agent.objects.create(name="scout", budget_cost=Decimal(100_000))
        self.agents = [scout.id, agents.id_of(None)]
        ConcurrencyKey.objects.create(name="key", limit_count=4)
        for number in range(6):
            self.open(number)

    def open(self, number):
        """Open a run, with a budget or without, of an agent that has one or has none."""
        about = {"agent_id": self.agents[number % 2]}
        if number % 3:
            about |= {"budget_cost": Decimal(1000), "budget_tokens": 10_000}
        with transaction.atomic():
            run, _ = graph([[], [], [0], [0, 1], [2, 3]], run=about, step={"reserve_cost": "0.5", "capability": "web"})
            Step.objects.filter(run_id=run.id, position__in=[0, 1, 3]).update(key="key", breaker="breaker")

    def work(self, number):
        """Be one of the threads."""
        chance = random.Random(self.seed * 100 + number)
        moves = [self.perform] * 12 + [
            self.pause, self.resume, self.resume, self.resume, self.begin, self.cancel, self.retry, self.signal, self.give_back, self.upkeep, self.upkeep,
            self.level, self.lock_out, self.top_up, self.late_cost, self.budget, self.tell, self.trip, self.ring,
        ]  # fmt: skip
        while time.monotonic() < self.until:
            move = chance.choice(moves)
            try:
                move(chance)
            except CeleriacError:
                continue  # the run was not in a state for that
            with self.guard:
                self.done[move.__name__] += 1

    def run(self, chance):
        """Return one of the runs, children too."""
        return chance.choice(list(Run.objects.order_by("-id").values_list("id", flat=True)[:20]))

    def begin(self, chance):
        """Open another run where most have ended."""
        if Run.objects.exclude(state__in=["completed", "failed", "cancelled"]).count() < 6:
            self.open(chance.randint(0, 5))

    def step(self, chance, **wanted):
        """Return one of the steps."""
        found = list(Step.objects.filter(**wanted).values_list("id", "epoch", "attempt_id")[:60])
        return chance.choice(found) if found else (None, 0, None)

    def perform(self, chance):
        """Claim a step, write some of everything, and end it."""
        step_id, *_ = self.step(chance, state="ready")
        claim = self.hands.claim(step_id) if step_id else None
        while isinstance(claim, Claim):
            self.done["claimed"] += 1
            for number in range(chance.randint(0, 2)):
                ledger.reserve(claim.step_id, claim.epoch, cost=Decimal("0.3"), tokens=2)
                token = f"{claim.epoch}-{number}"
                ledger.record(claim.step_id, claim.epoch, [spend(token, "0.7", 3)])
            if chance.random() < 0.2:
                call(claim, f"{claim.epoch}", **({"cost": "0.2"} if chance.random() < 0.5 else {}))
            ending = chance.choice(ENDINGS)
            details = {"breaker": "failed"} if ending in ("failed", "retrying") else {"breaker": "ok"}
            written = ledger.finish(
                claim, ending, wish=self.wish(claim, chance), records=[spend(f"last-{claim.epoch}", "0.1")],
                details=details | {"waiting": "signal", "awaits": ["go"], "wake_seconds": 0.1, "error": {}},
            )  # fmt: skip
            claim = next(iter(written.following), None)

    def wish(self, claim, chance):
        """Return the wish to go on, sometimes."""
        if chance.random() < 0.5:
            return None
        return Wish(
            queue="default", skills=["tests.add"], agent_id=claim.agent_id, attempt_id=ids.new(),
            worker_id=self.hands.worker_id, pid=1,
        )  # fmt: skip

    def pause(self, chance):
        """Pause a run."""
        runs.pause(self.run(chance))

    def resume(self, chance):
        """Resume a run."""
        runs.resume(self.run(chance))

    def cancel(self, chance):
        """Cancel a child, or, rarely, a whole tree."""
        found = Run.objects.filter(parent_run_id__isnull=chance.random() < 0.03).order_by("-id").first()
        if found:
            runs.cancel(found)

    def retry(self, chance):
        """Retry a run that failed."""
        failed = list(Run.objects.filter(state="failed").values_list("id", flat=True))
        runs.retry(chance.choice(failed) if failed else self.run(chance))

    def signal(self, chance):
        """Send the signal that suspended steps wait for."""
        runs.signal(self.run(chance), "go", chance.random())

    def give_back(self, chance):
        """Lose the worker of a step."""
        step_id, epoch, _ = self.step(chance, state="running")
        if step_id:
            ledger.give_back(step_id, epoch, ending="lost", reason="chance")

    def upkeep(self, chance):
        """Do one of upkeep's passes."""
        chance.choice([upkeep.wake, upkeep.fold, upkeep.sweep, upkeep.expire])()

    def level(self, chance):
        """Change a level."""
        people.put("scout", chance.choice([Level.FULLY_AUTONOMOUS, Level.OBSERVER]))

    def lock_out(self, chance):
        """Lock a capability and lift it again."""
        agents.lock_out("web", agent=chance.choice([None, "scout"]))
        agents.lift("web")
        agents.lift("web", agent="scout")

    def top_up(self, chance):
        """Raise a budget."""
        budgets.top_up(self.run(chance), cost="0.5", tokens=5)

    def late_cost(self, chance):
        """Tell a late cost."""
        step_id, _, attempt_id = self.step(chance, epoch__gt=1, attempt_id__isnull=False)
        if step_id:
            ledger.overdraw(step_id, attempt_id, str(chance.random()), cost=Decimal("0.01"), tokens=1)

    def budget(self, chance):
        """Set the agent's budget anew."""
        agents.set_budget("scout", cost=chance.choice([None, Decimal(100_000)]))

    def tell(self, chance):
        """Tell parents of their children."""
        errands.run_due()

    def trip(self, chance):
        """Open or close the breaker."""
        if chance.random() < 0.3:
            breakers.trip("breaker", seconds=1)
        else:
            breakers.reset("breaker")

    def ring(self, chance):
        """Choose steps to ring for."""
        doorbell.feed({"default": 4})


def settled():
    """End all that is left: give back, resume, cancel, tell."""
    for step_id, epoch in Step.objects.filter(state="running").values_list("id", "epoch"):
        ledger.give_back(step_id, epoch, ending="lost", reason="the end")
    for run in Run.objects.exclude(state__in=["completed", "failed", "cancelled"]).filter(parent_run_id=None):
        runs.cancel(run)
    for run in Run.objects.exclude(state__in=["completed", "failed", "cancelled"]):
        runs.cancel(run)
    while errands.run(list(Errand.objects.order_by("id").values_list("id", flat=True))):
        pass


@pytest.mark.parametrize("seed", [1, 2])
def test_everything_at_once_deadlocks_nothing(hands, seed):
    """For some seconds eight threads claim, write, end, steer and mend the same runs: no deadlock, no error, no cent lost."""
    crowd, before = Crowd(hands, seed), deadlocks()
    side_by_side(*[lambda number=number: crowd.work(number) for number in range(8)], timeout=60)
    assert deadlocks() == before
    assert crowd.done["claimed"] > 10, crowd.done
    assert not Step.objects.filter(state="running", lease_until=None).exists()
    assert Step.objects.filter(state="running", key="key").count() <= 4
    settled()
    spent = Counter()
    rows = ledger.ask(
        "SELECT s.run_id, sum(c.cost) AS cost FROM execution_checkpoint c JOIN execution_step s ON s.id = c.step_id GROUP BY 1"
    )
    parents = dict(Run.objects.values_list("id", "parent_run_id"))
    for row in rows:
        found = row.run_id
        while found is not None:
            spent[found] += row.cost
            found = parents[found]
    for run in Run.objects.all():
        assert run.reserved_cost == 0, (run.id, run.state)
        assert run.spent_cost == spent[run.id], (run.id, run.state, run.parent_run_id)
    scout = Agent.objects.get(name="scout")
    assert scout.reserved_cost == 0 or scout.budget_cost is None
