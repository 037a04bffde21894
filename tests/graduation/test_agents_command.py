"""`manage.py agents`: what stands, why, and what persons decide about it."""

import pytest
from django.contrib.auth.models import Permission

from execution import agents
from execution.models import Agent, Level
from graduation import ladder, lockouts
from graduation.models import Offer
from tests.execution.test_commands import document, refused, typed
from tests.graduation.decided import decided, decisions, recoveries
from tests.hands import MARKS
from tests.people import person

pytestmark = MARKS


@pytest.fixture
def scout(transactional_db, settings):
    """Return an agent of which a rise was offered, among other things."""
    settings.CELERIAC = settings.CELERIAC | {"audit_share": 1.0}
    lockouts.install()
    agent = Agent.objects.create(name="scout", level=Level.ADVISOR)
    decided(120)
    ladder.take_all()
    person("ann")
    person("bob")
    return agent


def level():
    """Return where the agent stands."""
    return Agent.objects.values_list("level", flat=True).get(name="scout")


class TestLook:
    def test_list_and_show(self, scout):
        """An agent is shown with its evidence, its offer, its lockouts and what should be audited."""
        decisions(2)
        agents.lock_out("web", agent="scout", by="ann", reason="too eager")
        row = document("agents", "list")["agents"][0]
        assert (row["level"], row["outcomes"], row["offer"], row["locked"]) == (
            "advisor", 120, "limited_autonomous", ["web"],
        )  # fmt: skip
        assert "scout  advisor" in typed("agents", "list")
        shown = document("agents", "show", "scout")
        assert len(shown["to_audit"]) == 2
        assert shown["offers"][0]["state"] == "open"
        text = typed("agents", "show", "scout")
        assert "0 errors of 120 audited outcomes" in text
        assert "too eager" in text

    def test_audit(self, scout, settings):
        """What was drawn and nobody has looked at is listed; several are answered at once, or none."""
        Agent.objects.create(name="fresh")
        made = decisions(3, agent="fresh")
        rows = document("agents", "audit", "fresh", "--limit", 2)["to_audit"]
        assert [row["id"] for row in rows] == [str(one.id) for one in made[:2]]
        assert "document:2" in typed("agents", "audit", "fresh")
        ids = [one.id for one in made]
        assert "no record" in refused("verdicts", "override", *ids, scout.id, 1, "--by", "ann", "--reason", "read")
        assert len(document("agents", "audit", "fresh")["to_audit"]) == 3
        given = document("verdicts", "override", *ids, 1, "--by", "ann", "--reason", "read")
        assert [one["outcome"] for one in given["cases"]] == [1, 1, 1]
        assert typed("agents", "audit", "fresh") == "no decision of fresh waits for an audit"

    def test_add(self, transactional_db):
        """An agent is made at a level, once."""
        assert typed("agents", "add", "editor", "--level", "advisor") == "editor is advisor"
        assert "already" in refused("agents", "add", "editor")
        assert Agent.objects.get().level == Level.ADVISOR

    def test_nothing_there(self, transactional_db):
        """What is not there is said, with how to make it."""
        assert "there is no agent yet" in typed("agents", "list")
        assert typed("agents", "offers") == "no offer waits for a person"
        assert "there is no agent named 'scuot'" in refused("agents", "show", "scuot")

    def test_offers(self, scout):
        """Offers that wait are listed, and shown with the evidence."""
        (row,) = document("agents", "offers")["offers"]
        assert (row["agent"], row["from"], row["to"]) == ("scout", "advisor", "limited_autonomous")
        assert "e-value in favour" in typed("agents", "offer", row["id"])
        assert document("agents", "offer", row["id"])["evidence"]["outcomes"] == 120
        assert "there is no offer nonsense" in refused("agents", "offer", "nonsense")


class TestDecide:
    def test_accept_and_decline(self, scout):
        """A person accepts, with a reason; an account that is none is answered with the nearest."""
        offer = Offer.objects.get()
        assert "did you mean 'ann'?" in refused("agents", "accept", offer.pk, "--by", "anne", "--reason", "well done")
        assert "say why" in refused("agents", "accept", offer.pk, "--by", "ann")
        said = typed("agents", "accept", offer.pk, "--by", "ann", "--reason", "well done")
        assert said == "scout is limited_autonomous; it was advisor"
        assert "accepted already" in refused("agents", "decline", offer.pk, "--by", "ann", "--reason", "no")
        assert document("agents", "offers", "--all")["offers"][0]["by"] == "ann"

    def test_decline(self, scout):
        """A declined offer leaves the level."""
        assert "is declined" in typed("agents", "decline", Offer.objects.get().pk, "--by", "ann", "--reason", "no")
        assert level() == Level.ADVISOR

    def test_promote_and_demote(self, scout):
        """More than one level waits for a second person, whose command is printed; down it goes at once."""
        said = typed("agents", "promote", "scout", "autonomous", "--by", "ann", "--reason", "it learnt")
        assert "waits for a second person: manage.py agents accept" in said
        assert level() == Level.ADVISOR
        typed("agents", "promote", "scout", "autonomous", "--by", "bob", "--reason", "I agree")
        assert level() == Level.AUTONOMOUS
        assert (
            typed("agents", "demote", "scout", "observer", "--reason", "it erred")
            == "scout is observer; it was autonomous"
        )
        assert "permission" in refused(
            "agents", "promote", "scout", "advisor", "--by", person("eva", may_decide=False), "--reason", "please"
        )

    def test_lock_and_unlock(self, scout):
        """What a person locks a person lifts; what must be earned stays locked."""
        document("agents", "evaluate", "--agent", "scout")
        typed("agents", "lock", "web", "--agent", "scout", "--by", "ann", "--reason", "too eager")
        assert typed("agents", "unlock", "web", "--agent", "scout", "--reason", "mended") == "1 lockout of web lifted"
        said = typed("agents", "unlock", "auto_route", "--agent", "scout", "--reason", "please")
        assert "0 lockouts of auto_route lifted" in said
        assert "it is locked still, until it is earned" in said

    def test_evaluate_and_review(self, scout):
        """An evaluation says which gate holds and why; a review shows the timeline and notes who has looked."""
        recoveries(20)
        said = typed("agents", "evaluate", "--agent", "scout")
        assert "agent:scout is beta; it was alpha" in said
        assert "holds  prevention  20 of 20 recoveries held" in said
        assert "permission" in refused("agents", "review", "--agent", "scout", "--by", "bob")
        person("bob").user_permissions.add(Permission.objects.get(codename="view_graduationhistory"))
        found = document("agents", "review", "--agent", "scout", "--by", "bob")
        assert (found["reviewed_by"], found["timeline"][0]["after"]) == ("bob", "beta")
