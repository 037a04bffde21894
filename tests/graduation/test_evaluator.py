"""The graduation evaluator: gates tell the status, the status unlocks, and a lost gate locks again at once."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import DatabaseError, transaction
from django.utils import timezone

from execution import agents
from execution.exceptions import NotAllowed
from execution.models import Agent, CapabilityLockout, Event
from graduation import evaluator, lockouts
from graduation.exceptions import Overtaken
from graduation.models import GraduationHistory, GraduationStatus
from recovery.models import RecoveryCandidate
from tests.graduation.decided import recoveries
from tests.hands import MARKS
from tests.people import person

pytestmark = MARKS
ALL = list(lockouts.EARNED_AT)


@pytest.fixture
def scout(transactional_db):
    """Return an agent."""
    lockouts.install()
    return Agent.objects.create(name="scout")


@pytest.fixture
def eva(transactional_db):
    """Return a person who may look at timelines."""
    user = person("eva", may_decide=False)
    user.user_permissions.add(Permission.objects.get(codename="view_graduationhistory"))
    return user


def status(agent="scout"):
    """Evaluate an agent and the system, and return the agent's status."""
    found = evaluator.evaluate(agent)
    evaluator.evaluate()
    return found.after


def free(agent="scout"):
    """Return what an agent may do."""
    return [name for name in ALL if agents.is_unlocked(name, agent=agent)]


def age(days):
    """Let so much time pass."""
    for row in RecoveryCandidate.objects.all():
        RecoveryCandidate.objects.filter(pk=row.pk).update(ended_at=row.ended_at - timedelta(days=days))


class TestStatus:
    def test_rungs(self, scout, eva):
        """Each gate earns the next status, which unlocks the next capability."""
        assert (status(), free()) == ("alpha", [])
        recoveries(20)
        assert (status(), free()) == ("beta", ALL[:1])
        recoveries(12, decision="automatic")
        assert (status(), free()) == ("candidate", ALL[:2])
        for one in ("scout", None):
            evaluator.review(one, person=eva)
        assert (status(), free()) == ("complete", ALL)

    @pytest.mark.parametrize(
        ("recovered", "failed", "expected"),
        [(19, 0, "alpha"), (20, 0, "beta"), (14, 6, "beta"), (13, 7, "alpha"), (5, 15, "degraded"), (6, 14, "alpha")],
    )
    def test_prevention(self, scout, recovered, failed, expected):
        """Twenty recoveries, and a lower bound of half; below three in ten is degraded."""
        recoveries(recovered, failed)
        assert status() == expected

    @pytest.mark.parametrize(
        ("kept", "taken_back", "expected"),
        [(9, 0, "beta"), (10, 0, "candidate"), (9, 1, "beta"), (18, 2, "candidate"), (10, 11, "degraded")],
    )
    def test_regret(self, scout, kept, taken_back, expected):
        """Ten automatic actions, and an upper bound of three in ten; above half is degraded."""
        recoveries(60)
        recoveries(kept, taken_back, decision="automatic")
        assert status() == expected

    def test_simulated_and_old_prove_nothing(self, scout):
        """Simulated runs, and what ended more than thirty days ago, are not counted."""
        recoveries(20, tags=["simulated"])
        recoveries(20, days=31)
        assert status() == "alpha"

    def test_the_system_and_the_agent_both(self, scout):
        """What one agent has shown unlocks nothing for another; what the system lacks is locked for all."""
        Agent.objects.create(name="rookie")
        recoveries(30)
        evaluator.evaluate_all()
        assert (free("scout"), free("rookie")) == (ALL[:1], [])
        Agent.objects.create(name="late")
        assert free("late") == [], "a new agent begins locked"
        recoveries(0, 60, agent="rookie")
        evaluator.evaluate_all()
        assert free("scout") == []

    def test_agent_that_nobody_evaluated(self, scout):
        """The system's own status does not stand for agents that were never evaluated."""
        Agent.objects.create(name="rookie")
        recoveries(30)
        evaluator.evaluate()
        assert (free("scout"), free("rookie")) == ([], [])


class TestDegraded:
    def test_lost_gate_locks_at_once_and_returns(self, scout):
        """A lost gate degrades and locks; when all holds again the former status is back."""
        recoveries(20)
        assert status() == "beta"
        failed = recoveries(0, 15)
        assert (status(), free()) == ("degraded", [])
        assert GraduationStatus.objects.get(pk="agent:scout").former_status == "beta"
        assert status() == "degraded"
        RecoveryCandidate.objects.filter(pk__in=[one.pk for one in failed]).delete()
        assert (status(), free()) == ("beta", ALL[:1])

    def test_no_evidence_for_two_weeks(self, scout):
        """Who has shown nothing for fourteen days has lost what was earned; who earned nothing has not."""
        recoveries(20)
        assert status() == "beta"
        age(15)
        assert (status(), free()) == ("degraded", [])
        Agent.objects.create(name="rookie")
        recoveries(3, agent="rookie", days=20)
        assert status("rookie") == "alpha"

    def test_left_for_less_by_a_review(self, scout, eva):
        """What cannot be shown while all is locked does not lock for ever: a person looks, and what is left is earned."""
        recoveries(20)
        alone = recoveries(12, decision="automatic")
        assert status() == "candidate"
        RecoveryCandidate.objects.filter(pk__in=[one.pk for one in alone]).delete()
        assert [status(), status()] == ["degraded", "degraded"]
        for one in ("scout", None):
            evaluator.review(one, person=eva)
        assert (status(), free()) == ("beta", ALL[:1])

    def test_earlier_review_does_not_leave_it(self, scout, eva):
        """A look from before the loss says nothing about it."""
        evaluator.review("scout", person=eva)
        recoveries(20)
        assert status() == "beta"
        RecoveryCandidate.objects.all()[:10].count()
        for one in RecoveryCandidate.objects.all()[:10]:
            one.delete()
        assert [status(), status()] == ["degraded", "degraded"]


class TestWriting:
    def test_history_keeps_gates_and_evidence(self, scout):
        """Each evaluation is a row with what it saw; the database refuses to change it."""
        recoveries(20, 2)
        status()
        row = GraduationHistory.objects.get(subject="agent:scout")
        assert (row.before, row.after) == ("alpha", "beta")
        assert [gate["holds"] for gate in row.gates] == [True, False, False]
        assert (row.evidence["recovered"], row.evidence["recoveries"]) == (20, 22)
        assert Event.objects.filter(kind="graduation.changed", agent_id=scout.id).count() == 1
        with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
            GraduationHistory.objects.update(after="complete")

    def test_overtaken_writes_nothing(self, scout, monkeypatch):
        """Whose look is older than what was written meanwhile learns it, and changes neither status nor locks."""
        recoveries(20)
        gates = evaluator._gates
        monkeypatch.setattr(evaluator, "_gates", lambda facts: (monkeypatch.undo(), status(), gates(facts))[2])
        with pytest.raises(Overtaken, match="faster with agent:scout"):
            evaluator.evaluate("scout")
        assert GraduationHistory.objects.filter(subject="agent:scout").count() == 1

    def test_review_is_a_persons(self, scout, eva):
        """An agent's account reviews nothing, and neither does one that may not look."""
        for who in (person("scout"), person("bob", may_decide=False)):
            with pytest.raises(NotAllowed):
                evaluator.review("scout", person=who)
        assert evaluator.review("scout", person=eva).reviewed_by == "eva"

    def test_what_a_person_locked_stays(self, scout):
        """No status lifts what a person has locked; and a person lifts no more than persons have locked."""
        agents.lock_out(ALL[0], agent="scout", by="ann", reason="not now")
        recoveries(20)
        assert (status(), free()) == ("beta", [])
        assert lockouts.lift_by_hand(ALL[0], scout, by="ann") == 1
        assert lockouts.lift_by_hand(ALL[1], scout, by="ann") == 0
        assert free() == ALL[:1]

    def test_nothing_changes_nothing_locked_twice(self, scout):
        """Evaluating again leaves one lockout for each capability that is not earned."""
        for _ in range(3):
            evaluator.evaluate_all()
        held = CapabilityLockout.objects.filter(lifted_at=None, agent=scout)
        assert sorted(held.values_list("capability", flat=True)) == sorted(ALL)
        assert timezone.now() - held[0].created_at < timedelta(minutes=5)
