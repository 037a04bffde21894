"""The pages of the ladder: plain, read-only, and decided by whoever is logged in."""

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from execution.models import Agent, Level
from graduation import evaluator, ladder
from graduation.models import GraduationStatus, Offer
from tests.graduation.decided import decided, recoveries
from tests.hands import MARKS

pytestmark = MARKS


@pytest.fixture
def operator(client, transactional_db):
    """A client that is logged in as a superuser."""
    client.force_login(User.objects.create_superuser("operator"))
    return client


@pytest.fixture
def offer(transactional_db, settings):
    """Return an offer that an agent has earned."""
    settings.CELERIAC = settings.CELERIAC | {"audit_share": 1.0}
    Agent.objects.create(name="scout", level=Level.ADVISOR)
    decided(120)
    ladder.take_all()
    return Offer.objects.get()


def page(row):
    """Return the address of a row's page."""
    return reverse(f"admin:graduation_{row._meta.model_name}_change", args=[row.pk])


def act(client, verb, row, **more):
    """Call an action of the list of offers."""
    data = {"action": verb, "_selected_action": [str(row.pk)], "index": 0, **more}
    answer = client.post(reverse("admin:graduation_offer_changelist"), data, follow=True)
    return " ".join(answer.content.decode().split())


def test_offer_is_accepted_by_who_is_logged_in(operator, offer):
    """The action asks for a reason, and raises in the name of the one who is logged in."""
    assert "scout" in act(operator, "accept", offer)
    assert "1 offer agreed to" in act(operator, "accept", offer, reason="well done")
    offer.refresh_from_db()
    assert (offer.state, offer.first_by, Agent.objects.get().level) == ("accepted", "operator", 2)
    assert "1 offer skipped" in act(operator, "decline", offer, reason="no")


def test_agents_account_accepts_nothing(client, offer):
    """An agent that is logged in with every right raises nobody, itself least."""
    client.force_login(User.objects.create_superuser("scout"))
    assert "own account" in act(client, "accept", offer, reason="I am good")
    assert Agent.objects.get().level == Level.ADVISOR


def test_action_wants_the_permission(client, offer):
    """Who may look at offers and not raise levels is not even asked."""
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_offer"))
    client.force_login(clerk)
    assert 'value="accept"' not in act(client, "", offer)
    act(client, "accept", offer, reason="well done")
    assert Agent.objects.get().level == Level.ADVISOR


def test_opened_timeline_is_a_review(operator, offer):
    """Who opens the page of a status has looked; the list alone is no look."""
    recoveries(20)
    evaluator.evaluate("scout")
    status = GraduationStatus.objects.get()
    operator.get(reverse("admin:graduation_graduationstatus_changelist"))
    assert GraduationStatus.objects.get().reviewed_at is None
    content = operator.get(page(status)).content.decode()
    assert "20 of 20 recoveries held" in content
    assert GraduationStatus.objects.get().reviewed_by == "operator"


@pytest.mark.parametrize("name", ["evidence", "offer", "graduationstatus"])
def test_lists_ask_few_questions(operator, offer, name, django_assert_max_num_queries):
    """A list asks as much for a few rows as for many."""
    evaluator.evaluate_all()
    with django_assert_max_num_queries(8):
        assert operator.get(reverse(f"admin:graduation_{name}_changelist")).status_code == 200


@pytest.mark.parametrize("make", [lambda offer: offer, lambda offer: offer.agent.evidence])
def test_pages(operator, offer, make):
    """A row's page is shown and changes nothing."""
    found = make(offer)
    assert operator.get(page(found)).status_code == 200
    assert operator.post(page(found), {"state": "accepted"}).status_code == 403
