"""Agents: what an agent may not do now it does not begin, however close the claim comes to the decision."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core import serializers
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from execution import agents, ids, ledger, records, runs
from execution.exceptions import AgentUnknown, NotAllowed, NotPossible
from execution.ledger import Claim, Wish
from execution.models import Agent, CapabilityLockout, Event, Level, Run, Step
from tests import people
from tests.hands import MARKS, finish, graph, open_run, side_by_side

pytestmark = MARKS


@pytest.fixture
def scout(transactional_db):
    """Return an agent."""
    return Agent.objects.create(name="scout")


def webbed(count=1, **changes):
    """Open runs of an agent that use a capability."""
    found = [open_run(agent="scout") for _ in range(count)]
    Step.objects.filter(run_id__in=[run.id for run in found]).update(capability="web", **changes)
    return found


def running():
    """Count what is performed with the capability."""
    return Step.objects.filter(state="running", capability="web").count()


def against_claims(hands, found, decide, claim=None):
    """Claim runs in four threads while a decision is taken; return how many ran at its commit, and in the end."""

    def decided():
        while running() < 3:
            pass
        decide()
        return running()

    parts = [found[number::4] for number in range(4)]
    claim = claim or hands.claim
    answers = side_by_side(decided, *[lambda part=part: [claim(run) for run in part] for part in parts])
    return answers[0], running()


class TestLockout:
    def test_no_claim_slips_past_a_lockout(self, hands, scout):
        """When lock_out has returned, not one more step that uses the capability begins, however it raced."""
        for _ in range(5):
            at_commit, in_the_end = against_claims(hands, webbed(60), lambda: agents.lock_out("web", agent="scout"))
            assert at_commit == in_the_end < 60
            agents.lift("web", agent="scout")
            Step.objects.update(state="completed")

    def test_no_claim_slips_past_a_lockout_of_everybody(self, hands, scout):
        """The same for a lockout of all agents."""
        at_commit, in_the_end = against_claims(hands, webbed(60), lambda: agents.lock_out("web"))
        assert at_commit == in_the_end < 60

    def test_no_claim_that_follows_an_ending_slips_past(self, hands, scout):
        """The same for steps that are claimed in the transaction of another one's ending."""
        webbed(120, rung_at=None)

        def follow(run):
            first = hands.claim(run)
            if isinstance(first, Claim):
                wish = Wish(
                    queue="default", skills=["tests.add"], agent_id=scout.id, attempt_id=ids.new(),
                    worker_id=hands.worker_id, pid=1,
                )  # fmt: skip
                ledger.finish(first, "completed", wish=wish)

        starters = [open_run(agent="scout") for _ in range(80)]
        at_commit, in_the_end = against_claims(hands, starters, lambda: agents.lock_out("web", agent="scout"), follow)
        assert at_commit == in_the_end < 80

    def test_locked_out_step_waits_and_goes_on_when_lifted(self, hands, scout):
        """A locked capability holds its steps back without failing them; lifted, upkeep lets them go on."""
        (run,) = webbed()
        agents.lock_out("web", agent="scout", reason="too eager")
        assert hands.claim(run).reason == "lockout"
        ledger.ask("SELECT execution_fold_v1()")
        assert Step.objects.get(pk=run.id).state == "waiting"
        agents.lift("web", agent="scout")
        ledger.ask("SELECT execution_fold_v1()")
        assert isinstance(hands.claim(run), Claim)

    def test_lockout_with_an_end_wakes_by_a_timer(self, hands, scout):
        """A lockout until a moment ends by itself."""
        (run,) = webbed()
        agents.lock_out("web", until=timezone.now() + timedelta(hours=1))
        hands.claim(run)
        assert Step.objects.get(pk=run.id).wake_at > timezone.now() + timedelta(minutes=59)
        CapabilityLockout.objects.update(until=timezone.now() - timedelta(seconds=1))
        assert ledger.ask("SELECT execution_fold_v1() AS n")[0].n >= 1
        assert isinstance(hands.claim(run), Claim)

    def test_lockout_of_one_agent_leaves_others_and_other_capabilities_alone(self, hands, scout):
        """Only the named agent, and only the named capability."""
        agents.lock_out("web", agent="scout")
        free = open_run()
        Step.objects.filter(pk=free.id).update(capability="web")
        assert isinstance(hands.claim(free), Claim)
        (other,) = webbed()
        Step.objects.filter(pk=other.id).update(capability="mail")
        assert isinstance(hands.claim(other), Claim)


class TestLevel:
    def test_no_claim_slips_past_a_lowered_level(self, hands, scout):
        """When set_level has returned, not one more step above the level begins."""
        for _ in range(5):
            at_commit, in_the_end = against_claims(
                hands, webbed(60, level=3), lambda: agents.set_level("scout", Level.OBSERVER)
            )
            assert at_commit == in_the_end < 60
            people.put("scout", Level.FULLY_AUTONOMOUS)
            Step.objects.update(state="completed")

    def test_step_above_the_level_parks_until_it_is_approved(self, hands, scout):
        """What an agent may not do alone waits for a person, and is done when the person says so."""
        agents.set_level("scout", Level.ADVISOR)
        (run,) = webbed(level=Level.AUTONOMOUS)
        assert hands.claim(run).reason == "autonomy"
        found = Run.objects.get(pk=run.id)
        assert (found.state, found.waiting) == ("parked", "autonomy")
        runs.approve(run, by="ana")
        finish(hands.take(run))
        assert Run.objects.get(pk=run.id).state == "completed"

    def test_approval_is_for_what_asked_for_it(self, hands, scout):
        """A step that is parked for another reason is not let past the ladder by an approval of its run."""
        agents.set_level("scout", Level.ADVISOR)
        run, steps = graph([[], []], run={"agent_id": scout.id})
        Step.objects.filter(pk=steps[1].id).update(level=3)
        finish(hands.take(steps[0]), "parked", waiting="effect")
        with pytest.raises(NotPossible):
            runs.approve(run, by="ana")
        runs.resume(run)
        assert hands.claim(steps[1].id).reason == "autonomy"
        runs.approve(run, by="ana")
        approved = Step.objects.filter(run_id=run.id, is_approved=True).values_list("id", flat=True)
        assert list(approved) == [steps[1].id]


def raw(sql, *parameters):
    """Say something to the database, past every verb."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, parameters)


class TestGuard:
    @pytest.fixture
    def low(self, transactional_db):
        """Return an agent that asks for everything."""
        return Agent.objects.create(name="scout", level=Level.ADVISOR)

    @pytest.mark.parametrize(
        "rise",
        [
            lambda low: Agent.objects.filter(pk=low.pk).update(level=2),
            lambda low: (setattr(low, "level", 4), low.save()),
            lambda low: Agent.objects.bulk_update([Agent(id=low.id, level=2)], ["level"]),
            lambda low: Agent.objects.update_or_create(name="scout", defaults={"level": 2}),
            lambda low: Agent.objects.bulk_create(
                [Agent(name="scout", level=4)], update_conflicts=True, unique_fields=["name"], update_fields=["level"]
            ),
            lambda low: next(
                serializers.deserialize("json", serializers.serialize("json", [low]).replace('"level": 1', '"level": 3'))
            ).save(),
            lambda low: raw("UPDATE execution_agent SET level = level + 1"),
            lambda low: raw("SET LOCAL celeriac.person = 'ann'; UPDATE execution_agent SET level = 4"),
            lambda low: raw("SELECT execution_raise_level_v1(%s, 2, '', '')", low.id),
            lambda low: raw("SELECT execution_raise_level_v1(%s, 3, 'ann', 'ann')", low.id),
            lambda low: low.delete(),
            lambda low: Agent.objects.filter(pk=low.pk).update(name="another"),
        ],
        ids=[
            "update", "save", "bulk_update", "update_or_create", "upsert", "import", "sql", "setting", "nobody",
            "one for two", "anew", "renamed",
        ],
    )  # fmt: skip
    def test_nothing_but_a_person_raises_a_level(self, low, rise):
        """Every statement that would raise a level is refused by the database, and so is beginning anew by the name."""
        with pytest.raises(DatabaseError, match="by a person|keeps its name"):
            rise(low)
        assert Agent.objects.get().level == Level.ADVISOR

    def test_verb_that_lowers_does_not_raise(self, low):
        """The refusal says which verb does."""
        with pytest.raises(NotAllowed, match="only a person raises it to autonomous"):
            agents.set_level("scout", Level.AUTONOMOUS)

    def test_a_person_raises_and_it_is_kept_who_and_why(self, low):
        """A rise is a verdict that rests on the person's decision, and an event."""
        verdict = agents.raise_level(low, Level.LIMITED_AUTONOMOUS, person=people.person("ann"), reason="it does well")
        (decision,) = records.ancestors(verdict)
        assert (verdict.kind, verdict.data) == ("autonomy_change", {"before": 1, "after": 2, "by": "ann"})
        assert (decision.record.producer, decision.record.reasoning) == ("person:ann", "it does well")
        assert Event.objects.get(kind="agent.level_changed").data["by"] == "ann"
        assert Agent.objects.get().level == Level.LIMITED_AUTONOMOUS

    @pytest.mark.parametrize(
        ("make", "problem"),
        [
            (AnonymousUser, "no active account"),
            (lambda: User(username="ghost", is_superuser=True), "no active account"),
            (lambda: people.person("ann", is_active=False), "no active account"),
            (lambda: people.person("ann", may_decide=False), "execution.raise_agent"),
            (lambda: people.person("scout"), "an agent's own account"),
            (lambda: people.person("Scout", is_superuser=True), "an agent's own account"),
            (lambda: in_group(people.person("robot", is_superuser=True)), "an agent's own account"),
        ],
        ids=[
            "anonymous",
            "made up",
            "inactive",
            "without permission",
            "its own",
            "its own in capitals",
            "in the group",
        ],
    )
    def test_who_may_not(self, low, make, problem):
        """Only an active account with the permission raises, as the database has it, and never an agent's."""
        with pytest.raises(NotAllowed, match=problem):
            agents.raise_level(low, Level.LIMITED_AUTONOMOUS, person=make(), reason="why not")
        assert Agent.objects.get().level == Level.ADVISOR

    def test_account_is_looked_at_as_it_is_now(self, low):
        """A session that began before an account was closed raises nothing any more."""
        ann = people.person("ann")
        User.objects.update(is_active=False)
        with pytest.raises(NotAllowed):
            agents.raise_level(low, Level.LIMITED_AUTONOMOUS, person=ann, reason="why not")

    def test_more_than_one_level_wants_two_different_persons(self, low):
        """The same person twice is one, also step by step within a day; two are two."""
        ann, bob = people.person("ann"), people.person("bob")
        for second in (None, ann):
            with pytest.raises(NotAllowed, match="two different persons"):
                agents.raise_level(low, Level.AUTONOMOUS, person=ann, second=second, reason="it does well")
        agents.raise_level(low, Level.LIMITED_AUTONOMOUS, person=ann, reason="it does well")
        with pytest.raises(NotAllowed, match="two different persons"):
            agents.raise_level(low, Level.AUTONOMOUS, person=ann, reason="it does very well")
        verdict = agents.raise_level(low, Level.FULLY_AUTONOMOUS, person=ann, second=bob, reason="we agree")
        assert verdict.data["by"] == "ann and bob"
        assert len(verdict.parents) == 2

    def test_two_at_once_raise_once(self, low):
        """Two persons who raise by one level at the same moment raise it by one; the other learns it."""

        def rise(name):
            try:
                return agents.raise_level(
                    "scout", Level.LIMITED_AUTONOMOUS, person=people.person(name), reason="it does well"
                )
            except NotPossible as error:
                return str(error)

        people.person("ann")
        people.person("bob")
        answers = side_by_side(lambda: rise("ann"), lambda: rise("bob"))
        assert sorted(isinstance(one, str) for one in answers) == [False, True]
        assert Agent.objects.get().level == Level.LIMITED_AUTONOMOUS


def in_group(user):
    """Put an account into the group of the agents' own."""
    user.groups.add(Group.objects.create(name="agents"))
    return user


class TestNames:
    def test_unknown_agent_is_answered_with_the_nearest(self, hands, scout):
        """A name that no agent has is an error that suggests one."""
        with pytest.raises(AgentUnknown, match="scout"):
            open_run(agent="scuot")

    def test_default_agent_is_made_once(self, hands):
        """Runs without an agent share one that appears with the first of them."""
        side_by_side(*[lambda: (agents.forget(), agents.id_of(None))] * 6)
        assert Agent.objects.filter(name="default").count() == 1
