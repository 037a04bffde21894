"""The ladder: an agent falls by itself and at once, is offered a rise, and rises by persons alone."""

import pytest
from django.db import transaction
from psycopg.types.json import Jsonb

from execution import agents, ledger, records
from execution.exceptions import NotAllowed, NotPossible, OptionInvalid, TunableUnknown
from execution.models import Agent, Event, Level, Verdict
from graduation import audits, envelopes, ladder, trials
from graduation.models import Evidence, Offer
from recovery.exceptions import AlreadyDecided, NotFound
from tests.execution.test_agents import against_claims, webbed
from tests.graduation.decided import decided, decisions, outcomes
from tests.hands import MARKS, Hands, open_run, side_by_side
from tests.people import person, put

pytestmark = MARKS


@pytest.fixture
def hands(transactional_db):
    """Claim steps in this process."""
    found = Hands()
    yield found
    found.close()


@pytest.fixture
def scout(transactional_db, settings):
    """Return an agent of the middle level, all of whose decisions are audited."""
    settings.CELERIAC = settings.CELERIAC | {"audit_share": 1.0}
    return Agent.objects.create(name="scout", level=Level.AUTONOMOUS)


def level():
    """Return where the agent stands."""
    return Agent.objects.values_list("level", flat=True).get(name="scout")


def counted():
    """Return how many outcomes were told."""
    return Evidence.objects.values_list("outcome_count", flat=True).get()


def offered():
    """Let an agent do well, and return the offer that it earns."""
    decided(120)
    ladder.take_all()
    return Offer.objects.latest("id")


def breached(severity="low", **more):
    """Record a breach as others do, who know of no ladder."""
    about = {"subject": "agent:scout", "action": "flag", "producer": "objectives", "data": {"severity": severity}}
    return records.judge("quality_breach", **about | more)


class TestFall:
    @pytest.mark.parametrize(("severity", "after"), [("low", 2), ("high", 1), ("critical", 0)])
    def test_by_severity(self, scout, severity, after):
        """A low breach costs one level, a high one two, a critical one all."""
        breach = ladder.breach("scout", severity, reason="it erred")
        change = Verdict.objects.get(kind="autonomy_change")
        assert level() == after
        assert change.parents == [breach.id]
        assert change.data == {"before": 3, "after": after, "by": "ladder"}

    def test_in_the_transaction_of_the_breach(self, scout, hands):
        """A breach that is not recorded lets nobody fall; one that is, is seen by the next claim."""
        run = open_run("tests.add", agent="scout")
        run.steps.update(level=Level.AUTONOMOUS)
        with transaction.atomic():
            ladder.breach("scout", "low", reason="it erred")
            transaction.set_rollback(True)
        assert (level(), Verdict.objects.count()) == (3, 0)
        ladder.breach("scout", "low", reason="it erred")
        assert hands.claim(run).reason == "autonomy"

    def test_no_claim_slips_past(self, scout, hands):
        """When a breach is recorded, not one more step above the new level begins, however it raced."""
        at_commit, in_the_end = against_claims(
            hands, webbed(60, level=3), lambda: ladder.breach("scout", "low", reason="it erred")
        )
        assert at_commit == in_the_end < 60

    def test_on_evidence(self, scout):
        """Too many bad outcomes are a breach, recorded with the evidence; the trial begins anew."""
        decided(60, bad=12)
        ladder.take_all()
        breach = Verdict.objects.get(kind="quality_breach")
        assert level() < 3
        assert breach.data["evidence"]["errors"] >= 3
        assert breach.data["evidence"]["against"]["e"] >= 20
        assert counted() == 0
        ladder.take_all()
        assert Verdict.objects.filter(kind="autonomy_change").count() == 1

    def test_critical_outcome_needs_no_statistics(self, scout):
        """One decision with a critical outcome is enough, in whatever order it becomes known."""
        made = decisions(3)
        outcomes(made[2:], bad=1, data={"severity": "critical"})
        ladder.take_all()
        assert level() == Level.OBSERVER

    def test_breach_of_others_once(self, scout):
        """What others record costs its levels at the next pass, once, also where it was answered at once."""
        first, second = breached(), breached("high")
        assert ladder.fall("scout", "high", breach=second) == 1
        assert ladder.fall("scout", "high", breach=second) == 1
        ladder.take_all()
        ladder.take_all()
        assert level() == 0
        assert [one.parents for one in Verdict.objects.filter(kind="autonomy_change")] == [[first.id], [second.id]]

    def test_breach_of_others_in_their_transaction(self, scout):
        """Who records a breach lets the agent fall at once, whether it is named as agent or as subject; and once."""
        with transaction.atomic():
            ladder.answer(breached())
            ladder.answer(breached(subject="service:pay"))
        ladder.take_all()
        assert level() == 2

    def test_lowered_by_somebody_else_meanwhile(self, scout, monkeypatch):
        """A fall that finds the agent lower than it was a moment ago goes on from there."""
        hold = trials.hold

        def held(agent_id):
            row = hold(agent_id)
            agents.set_level("scout", Level.ADVISOR, by="ann")
            return row

        monkeypatch.setattr(trials, "hold", held)
        ladder.breach("scout", "low", reason="it erred")
        assert level() == Level.OBSERVER

    def test_event_without_sense(self, scout):
        """What cannot be understood is logged, and keeps nothing behind it from being read."""
        for data in ({"levels": "many"}, {"levels": 1}):
            ledger.ask(
                "SELECT execution_log_v1('recovery.level_fall_wanted', NULL, NULL, %s, NULL, %s)",
                [scout.id, Jsonb(data)],
            )
        breached(["low"])
        ladder.take_all()
        assert level() == 2

    def test_fall_that_recovery_asks_for(self, scout):
        """An action of recovery that lowers an agent's autonomy does it."""
        wish = Jsonb({"levels": 2, "by": "ann", "reason": "too eager"})
        ledger.ask("SELECT execution_log_v1('recovery.level_fall_wanted', NULL, NULL, %s, NULL, %s)", [scout.id, wish])
        ladder.take_all()
        assert level() == 1
        assert Verdict.objects.get(kind="quality_breach").producer == "ann"

    def test_unknown_severity(self, scout):
        """A word that is none is refused with those that are."""
        with pytest.raises(OptionInvalid, match="low, high, critical, not 'bad'"):
            ladder.breach("scout", "bad", reason="it erred")

    def test_withdraws_what_was_offered(self, scout):
        """Who has fallen is offered nothing for what it did before."""
        offer = offered()
        ladder.breach("scout", "low", reason="it erred")
        offer.refresh_from_db()
        assert (offer.state, offer.reason) == ("withdrawn", "it fell")


class TestTrial:
    def test_silence_says_nothing(self, scout):
        """Decisions of which nothing is known are no successes, however many."""
        made = decisions(300)
        outcomes(made[:2])
        ladder.take_all()
        assert (counted(), Offer.objects.count()) == (2, 0)
        assert trials.to_audit(Evidence.objects.get(), 1) == made[2:3]

    def test_only_what_was_drawn_counts(self, scout, settings):
        """Complaints about decisions that nobody drew speak for nothing: they are drawn by their id alone."""
        settings.CELERIAC = settings.CELERIAC | {"audit_share": 0.1}
        made = decided(300, bad=300)
        drawn = [one for one in made if audits.is_drawn(one.id, 0.1)]
        trials.tell(row := trials_row())
        assert row.told_until in {one.id for one in drawn}
        assert 0 < counted() <= len(drawn)

    @pytest.mark.parametrize(
        "own", [{"agent_id": "scout"}, {"producer": "scout"}, {"producer": "agent:scout"}, {"producer": "a model"}]
    )
    def test_own_word_is_no_evidence(self, scout, own):
        """What an agent says of its own decisions is told to no trial, under whichever name, however critical."""
        own = own | ({"agent_id": scout.id} if "agent_id" in own else {})
        made = decisions(120, producer="a model")
        outcomes(made, data={"how": "truth"}, **own)
        outcomes(made[:1], bad=1, data={"severity": "critical"}, **own)
        ladder.take_all()
        assert (counted(), Offer.objects.count(), level()) == (0, 0, 3)
        assert trials.to_audit(Evidence.objects.get(), 1) == made[:1]
        outcomes(made)
        outcomes(made[:2], bad=2, **own)
        ladder.take_all()
        assert (counted(), Evidence.objects.get().error_count, Offer.objects.count()) == (120, 0, 1)

    def test_in_the_order_of_the_decisions(self, scout, settings):
        """An outcome waits for those of earlier decisions, until they are known or expired."""
        made = decisions(30)
        outcomes(made[1:], bad=10)
        ladder.take_all()
        assert (counted(), level()) == (0, 3)
        settings.CELERIAC = settings.CELERIAC | {"outcome_days": 0.0}
        ladder.take_all()
        assert level() < 3

    def test_escalation_is_no_decision(self, scout):
        """Who asks is neither right nor wrong."""
        decided(30, bad=30, action="escalate")
        ladder.take_all()
        assert (counted(), level()) == (0, 3)

    def test_another_model_begins_anew(self, scout):
        """What was shown with one model speaks for no other; a further kind of decision is no change."""
        decided(50, model="m1")
        decided(5, kind="triage", model="m2")
        ladder.take_all()
        assert counted() == 55
        decided(3, model="m3")
        ladder.take_all()
        assert counted() == 3

    def test_level_changed_by_hand_begins_anew(self, scout):
        """A level set past the ladder begins anew as well, and what was decided since counts."""
        decided(50)
        ladder.take_all()
        agents.set_level("scout", Level.ADVISOR, by="ann", reason="a try")
        decided(4)
        ladder.take_all()
        assert (counted(), Evidence.objects.get().level) == (4, Level.ADVISOR)
        ladder.take_all()
        assert counted() == 4

    def test_one_agent_keeps_no_other_waiting(self, scout, monkeypatch):
        """What goes wrong with one is told, after the others had their turn."""
        Agent.objects.create(name="second", level=3)
        decided(60, bad=20)
        decided(60, bad=20, agent="second")
        take = ladder.take
        monkeypatch.setattr(ladder, "take", lambda one: 1 / 0 if one == scout.id else take(one))
        with pytest.raises(ZeroDivisionError):
            ladder.take_all()
        assert Agent.objects.get(name="second").level < 3


def trials_row():
    """Return the agent's trial, held."""
    with transaction.atomic():
        return trials.hold(agents.id_of("scout"))


class TestRise:
    def test_is_offered_and_never_applied(self, scout):
        """Good evidence makes one offer; the level stays until a person decides."""
        offer = offered()
        ladder.take_all()
        assert (offer.state, offer.level_after, Offer.objects.count(), level()) == ("open", 4, 1, 3)
        assert offer.evidence["in_favour"]["e"] >= 20

    def test_accepted_by_a_person(self, scout):
        """A person accepts, in their own name; the change rests on the decision, and the trial begins anew."""
        offer = ladder.accept(offered(), person=person("ann"), reason="well done")
        change = Verdict.objects.get(pk=offer.verdict_id)
        (decision,) = records.ancestors(change)
        assert (offer.state, offer.first_by, level(), counted()) == ("accepted", "ann", 4, 0)
        assert (decision.record.producer, decision.record.reasoning) == ("person:ann", "well done")
        with pytest.raises(AlreadyDecided, match="accepted already"):
            ladder.decline(offer, person=person("bob"), reason="no")

    @pytest.mark.parametrize("verb", [ladder.accept, ladder.decline])
    def test_no_agent_decides(self, scout, verb):
        """Neither the agent's own account, nor one without the permission, decides an offer."""
        offer = offered()
        for who, problem in ((person("scout"), "agent's own"), (person("eva", may_decide=False), "permission")):
            with pytest.raises(NotAllowed, match=problem):
                verb(offer, person=who, reason="why not")
        offer.refresh_from_db()
        assert (offer.state, level()) == ("open", 3)

    def test_declined(self, scout):
        """A declined rise is not offered again until it is shown anew; what speaks against the agent stays."""
        ladder.decline(offered(), person=person("ann"), reason="not yet")
        ladder.take_all()
        assert (Offer.objects.count(), counted(), level()) == (1, 120, 3)
        decided(120)
        ladder.take_all()
        assert Offer.objects.count() == 2

    def test_no_envelope_raises(self, scout):
        """A level is no tunable: no envelope changes it."""
        with pytest.raises(TunableUnknown):
            envelopes.propose(
                "agents.level", 4, by="ann", importance="safety", timebox="1h", bounds=envelopes.Bounds(most=4)
            )
        assert level() == 3

    def test_every_decision_is_an_event(self, scout):
        """What is offered and decided is told in the log."""
        offer = ladder.decline(offered(), person=person("ann"), reason="not yet")
        told = Event.objects.filter(kind__startswith="offer.", data__offer=str(offer.pk)).order_by("id")
        assert [(one.kind, one.data["by"]) for one in told] == [("offer.made", "ladder"), ("offer.declined", "ann")]

    def test_two_levels_by_two_persons(self, scout):
        """For more than one level two different persons agree; the first alone changes nothing."""
        put("scout", Level.ADVISOR)
        offer = ladder.promote("scout", Level.AUTONOMOUS, person=person("eva"), reason="it learnt")
        assert (offer.state, level()) == ("seconded", 1)
        for again in (
            lambda: ladder.accept(offer, person=person("eva"), reason="I insist"),
            lambda: ladder.promote("scout", Level.AUTONOMOUS, person=person("eva"), reason="I insist"),
        ):
            with pytest.raises(NotAllowed, match="a second person"):
                again()
        done = ladder.promote("scout", Level.AUTONOMOUS, person=person("carl"), reason="I agree")
        assert (done.pk, done.state, done.first_by, done.second_by, level()) == (offer.pk, "accepted", "eva", "carl", 3)

    def test_two_at_once(self, scout):
        """Of two who accept one offer at the same moment one does, and the other learns it."""
        offer, names = offered(), ("ann", "bob")
        users = [person(name) for name in names]

        def accept(user):
            try:
                return ladder.accept(offer, person=user, reason="well done").state
            except AlreadyDecided:
                return "late"

        assert sorted(side_by_side(*[lambda user=user: accept(user) for user in users])) == ["accepted", "late"]
        assert level() == 4

    def test_fall_and_rise_at_once(self, scout):
        """However a fall and an acceptance meet, the fall is not undone by what was offered before it."""
        offer, ann = offered(), person("ann")

        def accept():
            try:
                ladder.accept(offer, person=ann, reason="well done")
            except AlreadyDecided:
                return

        side_by_side(accept, lambda: ladder.breach("scout", "critical", reason="it erred"))
        assert level() == Level.OBSERVER

    def test_offer_of_another_level(self, scout):
        """An offer that an agent got at another level raises it no more."""
        offer = offered()
        agents.set_level("scout", Level.ADVISOR, by="ann")
        with pytest.raises(AlreadyDecided, match="is advisor by now"):
            ladder.accept(offer, person=person("ann"), reason="well done")
        ladder.take_all()
        offer.refresh_from_db()
        assert offer.state == "withdrawn"

    def test_unknown_offer(self, scout):
        """An id that is none is answered with where they are."""
        with pytest.raises(NotFound, match="agents offers"):
            ladder.accept("nonsense", person=person("ann"), reason="well done")


class TestByHand:
    def test_demoted(self, scout):
        """Anybody lowers, with a reason; up it goes by promotion alone."""
        decided(30)
        ladder.take_all()
        verdict = ladder.demote("scout", Level.ADVISOR, by="ann", reason="a new field")
        assert (level(), counted()) == (1, 0)
        assert records.ancestors(verdict)[0].record.producer == "person:ann"
        with pytest.raises(NotPossible, match="is no lower level"):
            ladder.demote("scout", Level.AUTONOMOUS, by="ann", reason="up")
        with pytest.raises(NotPossible, match="is no rise"):
            ladder.promote("scout", Level.OBSERVER, person=person("ann"), reason="down")
