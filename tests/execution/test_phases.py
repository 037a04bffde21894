"""Phases: budgets split to the last unit, a second scheduling that does nothing, and ends before their time."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution import ledger, phases, retention, runs, upkeep
from execution.exceptions import NotPossible, OptionInvalid
from execution.models import Agent, Phase, Run, Step, Timer
from execution.phases import Planned
from execution.workflows import catalog
from tests import workflow_skills as _skills  # noqa: F401 - registers them
from tests.execution.workflows.test_running import play, states
from tests.hands import MARKS, finish

pytestmark = MARKS


@pytest.fixture(autouse=True)
def _forget():
    catalog.forget()


@pytest.fixture
def agents():
    """Make three agents."""
    return [Agent.objects.create(name=name) for name in ("ann", "bob", "cyd")]


PLAN = [
    Planned(name="explore", skill="graphs.give", agents=["ann", "bob", "cyd"], given={"value": 1}, budget="10.00"),
    Planned(
        name="decide",
        steps={"choose": {"skill": "graphs.give", "with": {"value": "${steps.explore_ann}"}}},
        budget="1.00",
    ),
]


class TestSplitting:
    @given(st.decimals("0", "99999999", places=6), st.integers(1, 200))
    def test_no_unit_is_lost_or_made(self, amount, count):
        """Shares come to exactly the amount, and differ by one unit at most."""
        found = phases.split(amount, count)
        assert sum(found) == amount
        unit = Decimal("0.01") if amount % Decimal("0.01") == 0 else Decimal("0.000001")
        assert max(found) - min(found) <= unit

    def test_money_is_split_into_cents(self):
        """Ten by three is three cents' worth of sense."""
        assert [str(share) for share in phases.split("10.00", 3)] == ["3.34", "3.33", "3.33"]

    @given(st.lists(st.integers()), st.integers(1, 50))
    def test_shards_hold_all_items_in_order(self, items, size):
        """Shards are full but for the last, and together they are the items."""
        found = list(phases.shard(items, size))
        assert [item for part in found for item in part] == items
        assert all(len(part) == size for part in found[:-1])

    @pytest.mark.parametrize("size", [0, -1, 1.5, True])
    def test_size_that_makes_no_sense_is_refused(self, size):
        """A shard has at least one item."""
        with pytest.raises(OptionInvalid, match="a shard's size"):
            list(phases.shard([1], size))


class TestScheduling:
    def test_plan_becomes_steps_of_its_agents(self, hands, agents):
        """Each agent performs its step with its exact share, and the next phase waits for the whole one before it."""
        run = phases.schedule("plan", PLAN)
        found = {step.name: step for step in Step.objects.filter(run_id=run.id)}
        assert {step.agent.name for name, step in found.items() if name.startswith("explore")} == {"ann", "bob", "cyd"}
        assert sum(step.reserve_cost for name, step in found.items() if name.startswith("explore")) == Decimal("10.00")
        assert (found["choose"].state, found["choose"].pending_count) == ("blocked", 3)
        assert Run.objects.get(pk=run.id).budget_cost == Decimal("11.00")
        assert play(hands, run).state == "completed"
        assert [(row.name, row.state, row.step_count) for row in phases.stats(run)] == [
            ("explore", "completed", 3),
            ("decide", "completed", 1),
        ]

    def test_second_scheduling_does_nothing(self, agents):
        """The same plan is the same run, for ever."""
        first, again = phases.schedule("plan", PLAN), phases.schedule("plan", PLAN)
        assert (again.id, again.created) == (first.id, False)
        assert Step.objects.count() == 4

    def test_key_of_a_plan_holds_for_ever(self, hands, agents):
        """Long after its run has ended, when other keys are free again, the plan is still the same run."""
        run = play(hands, phases.schedule("plan", PLAN, key="spring"))
        plain = play(hands, runs.start("graphs.give", key="spring"))
        Run.objects.update(ended_at="2020-01-01T00:00Z")
        retention.clean_up()
        assert Run.objects.get(pk=plain.id).key is None
        assert phases.schedule("plan", PLAN, key="spring").id == run.id

    def test_phase_without_work_is_refused(self):
        """A phase says who does what."""
        with pytest.raises(OptionInvalid, match="phase 'a' has either agents, who perform its skill, or steps"):
            phases.schedule("plan", [Planned(name="a")])
        with pytest.raises(OptionInvalid, match="does not say which skill"):
            phases.schedule("plan", [Planned(name="a", agents=["ann"])])


TIMED = [
    Planned(
        name="explore",
        timebox="1h",
        steps={
            "walk": {"skill": "graphs.give"},
            "wait": {"gate": "signal", "signal": "never"},
            "later": {"skill": "graphs.give", "needs": "wait"},
        },
    ),
    Planned(name="report", steps={"tell": {"skill": "graphs.give", "with": {"value": "${state(steps.wait)}"}}}),
]


class TestEndings:
    def test_timebox_begins_with_the_first_claim(self, hands):
        """A phase that nobody has begun has no timer."""
        run = phases.schedule("timed", TIMED)
        assert not Timer.objects.filter(kind="phase").exists()
        play(hands, run)
        timer = Timer.objects.get(kind="phase")
        phase = Phase.objects.get(run_id=run.id, name="explore")
        assert (timer.due_at - phase.started_at).total_seconds() == 3600

    def test_passed_timebox_ends_the_phase_and_lets_the_run_go_on(self, hands):
        """What waits is cancelled, how far each step had come is kept, and the next phase sees it."""
        run = phases.schedule("timed", TIMED)
        play(hands, run)
        Timer.objects.filter(kind="phase").update(due_at="2020-01-01T00:00Z")
        assert upkeep.close_phases() == 1
        assert upkeep.close_phases() == 0
        phase = Phase.objects.get(run_id=run.id, name="explore")
        assert phase.closed_reason == "its timebox has passed"
        assert phase.reached["walk"]["state"] == "completed"
        assert phase.reached["wait"] == {
            "state": "waiting",
            "checkpoints": 1,
            "latest": phase.reached["wait"]["latest"],
        }
        assert runs.result(play(hands, run)) == "cancelled"
        assert Run.objects.get(pk=run.id).state == "completed"
        assert states(run) == {"walk": "completed", "wait": "cancelled", "later": "cancelled", "tell": "completed"}

    def test_running_step_ends_at_its_next_context_call(self, hands):
        """A step that is performed when its phase is closed is asked to stop, and its ending lets the run go on."""
        run = phases.schedule("timed", TIMED)
        claim = hands.take(Step.objects.get(run_id=run.id, name="walk"))
        phases.cancel(run, "explore", by="ann", reason="enough")
        assert Step.objects.get(pk=claim.step_id).control == "cancel"
        assert Step.objects.get(run_id=run.id, name="tell").state == "blocked"
        finish(claim, "cancelled")
        assert play(hands, run).state == "completed"
        (row, _) = phases.stats(run)
        assert (row.state, row.closed_reason, row.cancelled_count) == ("closed", "cancelled by ann: enough", 3)

    def test_phase_that_is_over_cannot_be_cancelled(self, hands):
        """Nothing is left to cancel; a misspelt phase is told the nearest."""
        run = play(hands, phases.schedule("plan", [Planned(name="one", steps={"a": {"skill": "graphs.give"}})]))
        with pytest.raises(NotPossible, match="phase 'one' of run .* has ended"):
            phases.cancel(run, "one")
        with pytest.raises(NotPossible, match="has no phase 'oen'; did you mean 'one'"):
            phases.cancel(run, "oen")

    def test_cancelled_run_stays_cancelled(self, hands):
        """A run that is cancelled as a whole is cancelled, whatever phases it has."""
        run = phases.schedule("timed", TIMED)
        runs.cancel(run)
        assert Run.objects.get(pk=run.id).state == "cancelled"
        assert ledger.ask("SELECT state FROM execution_phase_stats WHERE run_id = %s", [run.id])
