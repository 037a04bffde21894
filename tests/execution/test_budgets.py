"""Budgets: never overspent, never spent unreserved, exact to the cent, whatever falls together."""

import random
from decimal import Decimal

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from execution import agents, budgets, errands, ledger, runs
from execution.exceptions import BudgetTooSmall, BudgetUnlimited, RunEnded
from execution.ledger import Claim
from execution.models import Agent, Errand, Run, Signal, Step, Timer
from execution.skills import skill
from tests.hands import MARKS, call, finish, graph, open_run, side_by_side, spend

pytestmark = MARKS


@skill("budgets.buy", reserve={"cost": "0.10"})
def buy(ctx, price: str = "0.30", count: int = 2) -> str:
    """Buy something a few times."""
    seen = []
    for number in range(count):
        with ctx.reserving(cost=price):
            seen.append(ctx.once(f"look-{number}", lambda: str(Run.objects.get(pk=ctx.run_id).reserved_cost)))
        ctx.spend(f"buy-{number}", cost=price)
    return seen[0]


@skill("budgets.ask_child")
def ask_child(ctx, budget: str = "0.50", price: str = "0.20") -> str:
    """Let a child buy something."""
    return ctx.call("budgets.buy", budget={"cost": budget}, price=price, count=1)


def money_of(run):
    """Return what a run's books say."""
    found = Run.objects.get(pk=run.id)
    return found.spent_cost, found.reserved_cost


def tell():
    """Run every errand that is owed."""
    return errands.run(list(Errand.objects.order_by("id").values_list("id", flat=True)))


def end_child(hands, child, cost="0", ending="completed"):
    """Perform a child by hand: spend, and end."""
    claim = hands.take(child)
    if Decimal(cost):
        assert ledger.record(child, claim.epoch, [spend(f"s{claim.epoch}", cost)]).verdict == "saved"
    finish(claim, ending, error={})
    return claim


class TestClaim:
    def test_fifty_claims_never_reserve_more_than_the_runs_budget(self, hands):
        """Fifty steps claimed side by side reserve what the budget holds, and the run then waits for a person."""
        run, steps = graph([[] for _ in range(50)], run={"budget_cost": "10"}, step={"reserve_cost": "0.75"})
        parts = [steps[number::10] for number in range(10)]
        answers = side_by_side(*[lambda part=part: [hands.claim(step) for step in part] for part in parts])
        claimed = [one for part in answers for one in part if isinstance(one, Claim)]
        assert len(claimed) == 13
        assert money_of(run) == (0, Decimal("9.75"))
        found = Run.objects.get(pk=run.id)
        assert (found.state, found.waiting) == ("parked", "budget")

    def test_fifty_claims_never_reserve_more_than_the_agents_budget(self, hands):
        """An agent's budget holds across all of its runs, claimed side by side."""
        scout = Agent.objects.create(name="scout")
        agents.set_budget("scout", cost=Decimal(10), tokens=1000)
        found = [open_run(agent="scout") for _ in range(50)]
        Step.objects.filter(agent_id=scout.id).update(reserve_cost="0.75", reserve_tokens=70)
        parts = [found[number::10] for number in range(10)]
        answers = side_by_side(*[lambda part=part: [hands.claim(run) for run in part] for part in parts])
        claimed = sum(isinstance(one, Claim) for part in answers for one in part)
        scout.refresh_from_db()
        assert claimed == 13
        assert (scout.reserved_cost, scout.reserved_tokens) == (Decimal("9.75"), 910)

    def test_tokens_are_limited_as_money_is(self, hands):
        """A budget in tokens parks the run although its money would do."""
        run, steps = graph(
            [[], []], run={"budget_cost": "10", "budget_tokens": 100}, step={"reserve_tokens": 60, "reserve_cost": "1"}
        )
        hands.take(steps[0])
        assert hands.claim(steps[1]).reason == "budget"
        assert money_of(run) == (0, 1)

    def test_overdraft_blocks_the_next_claim_until_topped_up(self, hands):
        """Late costs beyond the budget stop the run; a top-up lets it go on."""
        run = open_run(budget="1")
        claim = hands.take(run)
        hands.lose(claim)
        ledger.overdraw(claim.step_id, claim.attempt_id, "late", cost=Decimal("1.50"), tokens=0)
        assert hands.claim(run).reason == "budget"
        budgets.top_up(run, cost="0.25")
        assert hands.claim(run).reason == "budget"
        budgets.top_up(run, cost="0.50", by="ana")
        assert isinstance(hands.claim(run), Claim)

    def test_budget_set_while_steps_end_leaves_no_reservation_behind(self, hands):
        """An agent that gets its budget at the moment its steps end has nothing reserved when they have."""
        Agent.objects.create(name="scout")
        for _ in range(15):
            agents.set_budget("scout")
            found = [open_run(agent="scout") for _ in range(4)]
            Step.objects.filter(run_id__in=[run.id for run in found]).update(reserve_cost="0.5")
            claims = [hands.take(run) for run in found]
            side_by_side(
                lambda: agents.set_budget("scout", cost=Decimal(100)),
                *[lambda claim=claim: finish(claim) for claim in claims],
            )
            assert Agent.objects.get(name="scout").reserved_cost == 0


class TestReserving:
    def test_reservation_grows_before_the_call_and_settles(self, hands):
        """What comes next is reserved before it is paid for, and at the end only what was spent is booked."""
        run = open_run("budgets.buy", {}, budget="1")
        assert hands.perform(run).state == "completed"
        assert runs.result(run) == "0.300000"
        assert money_of(run) == (Decimal("0.60"), 0)

    def test_reservation_beyond_the_budget_parks_before_the_call(self, hands):
        """A run that cannot pay for the next call parks before it is made, and goes on from there when topped up."""
        run = open_run("budgets.buy", {"price": "0.40", "count": 3}, budget="1")
        step = hands.perform(run)
        assert (step.state, step.waiting) == ("parked", "budget")
        assert money_of(run) == (Decimal("0.80"), 0)
        budgets.top_up(run, cost="0.20")
        assert hands.perform(run).state == "completed"
        assert money_of(run) == (Decimal("1.20"), 0)

    def test_top_up_between_refusal_and_parking_is_not_lost(self, hands):
        """A top-up between the refusal and the parking lets the step go on at once."""
        run = open_run(budget="1")
        claim = hands.take(run)
        assert ledger.reserve(claim.step_id, claim.epoch, cost=Decimal(2), tokens=0) == "refused"
        budgets.top_up(run, cost="5")
        assert finish(claim, "parked", waiting="budget").state == "ready"
        assert Run.objects.get(pk=run.id).state == "running"

    def test_top_up_against_parking(self, hands):
        """However a refusal and a top-up fall together, the run is not left parked with its budget raised."""
        for _ in range(40):
            run = open_run(budget="1")
            claim = hands.take(run)

            def refuse_and_park(claim=claim):
                if ledger.reserve(claim.step_id, claim.epoch, cost=Decimal(2), tokens=0) == "refused":
                    finish(claim, "parked", waiting="budget")
                else:
                    finish(claim)

            side_by_side(refuse_and_park, lambda run=run: budgets.top_up(run, cost="5"))
            assert Step.objects.get(pk=run.id).state in ("ready", "completed")

    def test_charge_beyond_the_reservation_is_seen_by_the_next_claim(self, hands):
        """Spent money is real: a charge beyond the reservation grows it, past the budget if need be."""
        run, steps = graph([[], []], run={"budget_cost": "1"}, step={"reserve_cost": "0.1"})
        claim = hands.take(steps[0])
        ledger.record(claim.step_id, claim.epoch, [spend("s", "3")])
        assert money_of(run) == (0, 3)
        assert hands.claim(steps[1]).reason == "budget"
        finish(claim)
        assert money_of(run) == (3, 0)

    def test_charge_is_made_once(self, hands):
        """A charge whose answer was lost is made once, also together with a new one."""
        run = open_run(budget="5")
        claim = hands.take(run)
        for records in ([spend("a", "1")], [spend("a", "1")], [spend("a", "1"), spend("b", "0.5")]):
            ledger.record(claim.step_id, claim.epoch, records)
        finish(claim)
        assert money_of(run) == (Decimal("1.5"), 0)

    @pytest.mark.parametrize(("policy", "spent"), [("release", "0.20"), ("charge", "1.00")])
    def test_lost_reservation_is_released_or_charged(self, hands, policy, spent):
        """What a lost worker had recorded is booked; the rest of its reservation is released, or charged too."""
        run = open_run(budget="5")
        Step.objects.filter(pk=run.id).update(reserve_cost="1", options={"on_lost": policy})
        claim = hands.take(run)
        ledger.record(claim.step_id, claim.epoch, [spend("s", "0.20")])
        hands.lose(claim)
        assert money_of(run) == (Decimal(spent), 0)


class TestTopUp:
    def test_run_without_a_budget_has_nothing_to_top_up(self, hands):
        """An unlimited run says so."""
        with pytest.raises(BudgetUnlimited):
            budgets.top_up(open_run(), cost="1")

    def test_completed_run_is_not_topped_up(self, hands):
        """A run that has ended well needs nothing."""
        run = open_run(budget="1")
        finish(hands.take(run))
        with pytest.raises(RunEnded):
            budgets.top_up(run, cost="1")

    def test_paused_run_stays_paused(self, hands):
        """A top-up ends only the wait for a budget."""
        run = open_run(budget="1")
        runs.pause(run)
        assert budgets.top_up(run, cost="1").state == "paused"

    def test_child_is_topped_up_from_its_parent(self, hands):
        """More for a child is carved from its parent, and refused where the parent has not so much."""
        parent = open_run(budget="1")
        child = call(hands.take(parent), cost="0.4").child
        budgets.top_up(child, cost="0.5")
        assert money_of(parent) == (0, Decimal("0.9"))
        with pytest.raises(BudgetTooSmall, match=str(parent.id)):
            budgets.top_up(child, cost="0.2")
        end_child(hands, child, "0.85")
        tell()
        assert money_of(parent) == (Decimal("0.85"), 0)

    def test_child_limited_in_tokens_reserves_no_money(self, hands):
        """Topping a child up in what it is not limited by takes nothing from its parent for ever."""
        parent = open_run(budget={"cost": "1", "tokens": 100})
        child = call(hands.take(parent), tokens=10).child
        budgets.top_up(child, cost="0.5", tokens=5)
        assert money_of(parent)[1] == 0
        end_child(hands, child)
        tell()
        found = Run.objects.get(pk=parent.id)
        assert (found.reserved_cost, found.reserved_tokens) == (0, 0)


class TestChild:
    def test_childs_budget_is_carved_and_the_rest_comes_back(self, hands):
        """A child's budget is set aside when it opens; at its end what it spent is booked and the rest returned."""
        run = open_run("budgets.ask_child", {}, budget="1")
        assert hands.perform(run).waiting == "children"
        assert money_of(run) == (0, Decimal("0.50"))
        child = Run.objects.get(parent_run_id=run.id)
        assert hands.perform(child).state == "completed"
        assert money_of(run) == (Decimal("0.20"), 0)
        assert hands.perform(run).state == "completed"

    def test_child_beyond_the_budget_parks_its_parent(self, hands):
        """A child that its parent cannot pay for is not opened."""
        run = open_run("budgets.ask_child", {"budget": "1.50"}, budget="1")
        assert hands.perform(run).state == "parked"
        assert not Run.objects.filter(parent_run_id=run.id).exists()
        budgets.top_up(run, cost="1")
        assert hands.perform(run).waiting == "children"

    def test_errand_is_done_once(self, hands):
        """The news of a child's end is told once, however many run its errand side by side."""
        parent = open_run(budget="1")
        child = call(hands.take(parent), cost="0.6").child
        end_child(hands, child, "0.25")
        errand = Errand.objects.get()
        answers = side_by_side(*[lambda: ledger.ask("SELECT execution_tell_parent_v1(%s) AS v", [errand.id])[0].v] * 6)
        assert answers.count("done") == 5
        assert money_of(parent) == (Decimal("0.25"), 0)

    def test_waiting_parents_do_not_starve_their_children(self, hands):
        """Parents that wait hold neither key nor reservation: all their children start, and all end."""
        found = [open_run("budgets.ask_child", {}, budget="0.60") for _ in range(5)]
        ledger.ask("INSERT INTO execution_concurrencykey (name, limit_count) VALUES ('one', 1)")
        Step.objects.update(key="one", reserve_cost="0.10")
        for run in found:
            hands.perform(run)
        children = Run.objects.filter(parent_run_id__in=[run.id for run in found])
        assert len(children) == 5
        Step.objects.filter(run_id__in=[child.id for child in children]).update(key="one")
        for child in children:
            assert hands.perform(child).state == "completed"
        for run in found:
            hands.perform(run)
            assert (Run.objects.get(pk=run.id).state, money_of(run)) == ("completed", (Decimal("0.20"), 0))

    @pytest.mark.parametrize("limited", [True, False])
    @pytest.mark.parametrize("told", [True, False])
    def test_retried_child_is_booked_once(self, hands, limited, told):
        """A failed child that goes on is set aside again, whether its parent had heard of the failure or not."""
        parent = open_run(budget="1")
        child = call(hands.take(parent), **({"cost": "0.6"} if limited else {"tokens": 5})).child
        end_child(hands, child, "0.25", ending="failed")
        if told:
            tell()
            assert money_of(parent) == (Decimal("0.25"), 0)
        runs.retry(child)
        assert money_of(parent) == (0, Decimal("0.6") if limited else 0)
        end_child(hands, child, "0.20")
        tell()
        assert money_of(parent) == (Decimal("0.45"), 0)
        assert Signal.objects.filter(run_id=parent.id).count() == 1

    def test_retried_child_needs_room_in_its_parent(self, hands):
        """A child cannot go on with a budget that its parent has given to another by now."""
        parent = open_run(budget="1")
        claim = hands.take(parent)
        child = call(claim, "a", cost="0.8").child
        end_child(hands, child, "0.1", ending="failed")
        tell()
        call(claim, "b", cost="0.7")
        with pytest.raises(BudgetTooSmall):
            runs.retry(child)
        budgets.top_up(parent, cost="1")
        runs.retry(child)
        assert money_of(parent) == (0, Decimal("1.5"))

    def test_parent_waits_for_a_retried_child_asleep(self, hands):
        """A parent that waits for a child which was retried sleeps until it ends again, and is woken then."""
        run = open_run("budgets.ask_child", {"price": "0.40"}, budget="1")
        hands.perform(run)
        child = Run.objects.get(parent_run_id=run.id)
        finish(hands.take(child), "failed", error={"message": "no"})
        tell()
        assert hands.perform(run).state == "failed"
        runs.retry(child)
        runs.retry(run)
        assert hands.perform(run).state == "waiting"
        hands.perform(child)
        assert hands.perform(run).state == "completed"
        assert money_of(run) == (Decimal("0.40"), 0)

    def test_topping_up_a_failed_child_reserves_nothing_until_it_goes_on(self, hands):
        """A child that has ended holds nothing of its parent; its raised budget is set aside at its retry."""
        parent = open_run(budget="1")
        child = call(hands.take(parent), cost="0.2").child
        end_child(hands, child, "0.2", ending="failed")
        tell()
        budgets.top_up(child, cost="0.3")
        assert money_of(parent) == (Decimal("0.2"), 0)
        runs.retry(child)
        assert money_of(parent) == (0, Decimal("0.5"))

    def test_child_stopped_by_its_deadline_is_booked_when_it_has_stopped(self, hands):
        """What a child still spends after its deadline is in its parent's books; the carve is kept until then."""
        parent = open_run(budget="1")
        child = call(hands.take(parent), cost="0.6").child
        claim = hands.take(child)
        Timer.objects.create(kind="deadline", due_at=timezone.now(), run_id=child)
        timer = Timer.objects.get(kind="deadline").id
        ledger.ask("SELECT execution_expire_v1(%s)", [timer])
        assert Run.objects.get(pk=child).state == "failed"
        tell()
        assert money_of(parent) == (0, Decimal("0.6"))
        ledger.record(child, claim.epoch, [spend("s", "0.35")])
        finish(claim, "cancelled")
        tell()
        assert money_of(parent) == (Decimal("0.35"), 0)

    @pytest.mark.parametrize("ending", ["suspended", "completed", "lost"])
    def test_halted_child_graph_tells_its_parent_after_its_last_step(self, hands, ending):
        """A child that failed while others of its steps ran is told of when the last has left, once."""
        parent = open_run()
        run, steps = graph([[], [], []], run={"parent_step_id": parent.id, "parent_run_id": parent.id})
        claims = [hands.take(step) for step in steps]
        finish(claims[0], "failed", error={})
        assert not Errand.objects.exists()
        if ending == "lost":
            side_by_side(*[lambda claim=claim: hands.lose(claim) for claim in claims[1:]])
        else:
            side_by_side(
                *[lambda claim=claim: finish(claim, ending, waiting="timer", wake_seconds=9) for claim in claims[1:]]
            )
        assert Errand.objects.filter(payload__run=str(run.id)).count() == 1

    @pytest.mark.parametrize("told", [True, False])
    def test_late_cost_of_an_ended_child_reaches_its_ancestors(self, hands, told):
        """What a fenced worker of a grandchild had spent is booked all the way up, whenever it is told."""
        top = open_run(budget="3")
        middle = call(hands.take(top), cost="2").child
        middle_claim = hands.take(middle)
        bottom = call(middle_claim, cost="1").child
        lost = hands.take(bottom)
        hands.lose(lost)
        end_child(hands, bottom, "0.5")
        if told:
            tell()
        finish(middle_claim)
        if told:
            tell()
        ledger.overdraw(bottom, lost.attempt_id, "late", cost=Decimal("0.25"), tokens=4)
        while tell():
            pass
        assert money_of(bottom_run := Run.objects.get(pk=bottom)) == (Decimal("0.75"), 0), bottom_run
        assert money_of(Run.objects.get(pk=middle)) == (Decimal("0.75"), 0)
        assert money_of(top) == (Decimal("0.75"), 0)
        assert Run.objects.get(pk=top.id).spent_tokens == 4

    def test_grandchild_that_outlives_its_parent_is_booked_at_the_top(self, hands):
        """What a grandchild still holds stays set aside after its parent has failed, and comes back at its end."""
        top = open_run(budget="3")
        middle = call(hands.take(top), cost="2").child
        middle_claim = hands.take(middle)
        bottom = call(middle_claim, cost="1").child
        finish(middle_claim, "failed", error={})
        tell()
        assert money_of(top) == (0, 1)
        end_child(hands, bottom, "0.5")
        while tell():
            pass
        assert money_of(top) == (Decimal("0.5"), 0)

    def test_orphan_that_is_topped_up_and_retried_is_booked_at_the_top(self, hands):
        """A grandchild whose parent has failed is paid for by its grandparent, whatever is done to it."""
        top = open_run(budget="9")
        middle = call(hands.take(top), cost="5").child
        middle_claim = hands.take(middle)
        bottom = call(middle_claim, cost="1").child
        finish(middle_claim, "failed", error={})
        tell()
        budgets.top_up(bottom, cost="2")
        tell()
        assert money_of(top) == (0, 3)
        end_child(hands, bottom, "0.5", ending="failed")
        while tell():
            pass
        assert money_of(top) == (Decimal("0.5"), 0)
        runs.retry(bottom)
        tell()
        assert money_of(top) == (0, 3)
        end_child(hands, bottom, "0.25")
        while tell():
            pass
        assert money_of(top) == (Decimal("0.75"), 0)

    def test_random_trees_settle_to_the_sum_of_what_was_spent(self, hands):
        """Whatever a tree of runs does, in the end its root has booked every cent once."""
        for seed in range(6):
            tree = Tree(hands, random.Random(seed))
            for number in range(60):
                tree.move(number)
            tree.end()
            assert money_of(tree.root) == (tree.spent, 0), seed


class Tree:
    """A run, its children and theirs, that do things by chance."""

    def __init__(self, hands, chance):
        """Open the root."""
        self.hands, self.chance = hands, chance
        self.root = open_run(budget="1000")
        self.claims = {self.root.id: hands.take(self.root)}
        self.spent = Decimal(0)

    def move(self, number):
        """Let one of the runs that are performed do one thing."""
        found = self.chance.choice(list(self.claims))
        moves = [self.open_child] * 3 + [self.spend] * 3 + [self.lose, self.tell] + [self.finish] * 2
        self.chance.choice(moves)(found, number)

    def open_child(self, found, number):
        """Open a child and begin it."""
        child = call(self.claims[found], f"c{number}", cost=str(self.chance.randint(1, 4))).child
        claimed = self.hands.claim(child) if child is not None else None
        if isinstance(claimed, Claim):
            self.claims[child] = claimed

    def spend(self, found, number):
        """Spend some cents."""
        cost = Decimal(self.chance.randint(1, 90)) / 100
        ledger.record(found, self.claims[found].epoch, [spend(f"s{number}", cost)])
        self.spent += cost

    def lose(self, found, number):
        """Lose the worker, which has spent a cent that it tells late; another one goes on."""
        lost = self.claims[found]
        self.hands.lose(lost)
        ledger.overdraw(found, lost.attempt_id, f"l{number}", cost=Decimal("0.01"), tokens=0)
        self.spent += Decimal("0.01")
        claimed = self.hands.claim(found)
        if not isinstance(claimed, Claim):
            claimed = self.top_up(found)
        if claimed is not None:
            self.claims[found] = claimed

    def top_up(self, found):
        """Let a run that has used its budget up go on, if its parent can pay for it."""
        del self.claims[found]
        try:
            budgets.top_up(found, cost="5")
        except BudgetTooSmall:
            return None
        return self.hands.take(found)

    def tell(self, found, number):
        """Tell the news that is owed."""
        tell()

    def finish(self, found, number):
        """End a child."""
        if found != self.root.id:
            finish(self.claims.pop(found), self.chance.choice(["completed", "failed"]), error={})

    def end(self):
        """End what is left, the youngest first, and tell all news."""
        root = self.claims.pop(self.root.id)
        for claim in self.claims.values():
            finish(claim)
        for run in Run.objects.filter(root_run_id=self.root.id).exclude(state__in=["completed", "failed"]):
            runs.cancel(run)
        while tell():
            pass
        finish(root)


AMOUNTS = st.integers(min_value=0, max_value=300).map(lambda cents: Decimal(cents) / 100)
MOVES = st.tuples(
    st.sampled_from(["claim", "reserve", "spend", "again", "finish", "suspend", "lose", "overdraw", "top_up"]),
    st.integers(min_value=0, max_value=2),
    AMOUNTS,
)


class Books:
    """A plain model of one run's budget and its steps."""

    def __init__(self, budget, reserve, *, charges):
        """Begin with nothing spent."""
        self.budget, self.reserve, self.charges = budget, reserve, charges
        self.spent = self.reserved = Decimal(0)
        self.is_parked = False
        self.held = {}

    def claim(self, step):
        """Reserve for one attempt."""
        used = self.spent + self.reserved
        if self.is_parked:
            return "paused"
        if used + self.reserve > self.budget or 0 < used >= self.budget:
            self.is_parked = True
            return "budget"
        self.held[step] = [self.reserve, Decimal(0)]
        self.reserved += self.reserve
        return "claimed"

    def grow(self, step, wanted):
        """Reserve up to what is wanted."""
        more = max(wanted - self.held[step][0], Decimal(0))
        self.held[step][0] += more
        self.reserved += more

    def reserve_more(self, step, amount):
        """Reserve for what comes next."""
        more = max(self.held[step][1] + amount - self.held[step][0], Decimal(0))
        if self.spent + self.reserved + more > self.budget:
            return "refused"
        self.grow(step, self.held[step][1] + amount)
        return "reserved"

    def spend(self, step, amount):
        """Charge a step."""
        self.held[step][1] += amount
        self.grow(step, self.held[step][1])

    def settle(self, step, *, lost=False):
        """Book what was spent."""
        reserved, unsettled = self.held.pop(step)
        self.reserved -= reserved
        self.spent += max(reserved, unsettled) if lost and self.charges else unsettled


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(moves=st.lists(MOVES, min_size=5, max_size=40), budget=AMOUNTS, reserve=AMOUNTS, charges=st.booleans())
def test_any_sequence_of_moves_books_as_the_model_does(  # noqa: C901 - one branch a move
    hands, moves, budget, reserve, charges
):
    """Any order of claims, charges, losses, late costs and top-ups leaves the books of a plain model."""
    run, steps = graph(
        [[], [], []],
        run={"budget_cost": budget},
        step={"reserve_cost": reserve, "options": {"on_lost": "charge"} if charges else {}},
    )
    books, claims, lost = Books(budget, reserve, charges=charges), {}, []
    for number, (move, which, amount) in enumerate(moves):
        step, claim = steps[which], claims.get(which)
        if move == "top_up":
            budgets.top_up(run, cost=amount)
            books.budget += amount
            books.is_parked = False
        elif move == "overdraw" and lost:
            late = lost[which % len(lost)]
            ledger.overdraw(late.step_id, late.attempt_id, str(number), cost=amount, tokens=0)
            books.spent += amount
        elif move == "claim" and claim is None:
            Step.objects.filter(pk=step.id, state="waiting", waiting="paused").update(state="ready", waiting="capacity")
            Step.objects.filter(pk=step.id, state="parked").update(state="ready", waiting="capacity")
            answer = hands.claim(step)
            expected = books.claim(which)
            assert (answer.reason if not isinstance(answer, Claim) else "claimed") == expected
            if isinstance(answer, Claim):
                claims[which] = answer
        elif claim is None:
            continue
        elif move == "reserve":
            answer = ledger.reserve(step.id, claim.epoch, cost=amount, tokens=0)
            assert answer == books.reserve_more(which, amount)
        elif move == "spend":
            ledger.record(step.id, claim.epoch, [spend(f"{number}", amount)])
            books.spend(which, amount)
        elif move == "again":
            charge = spend(f"again-{number}", amount)
            for _ in range(2):
                ledger.record(step.id, claim.epoch, [charge])
            books.spend(which, amount)
        elif move == "lose":
            hands.lose(claim)
            lost.append(claims.pop(which))
            books.settle(which, lost=True)
        elif move in ("finish", "suspend"):
            finish(claim, "suspended", waiting="capacity")
            claims.pop(which)
            books.settle(which)
        found = Run.objects.get(pk=run.id)
        assert (found.spent_cost, found.reserved_cost) == (books.spent, books.reserved)
        assert found.reserved_cost == sum((one.reserved_cost for one in Step.objects.filter(run_id=run.id)), Decimal(0))
