"""Trust in a browser: an offer accepted, an agent demoted, an objective's budget, an envelope, and the kill switch."""

import random
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import timezone

from execution import tunables
from execution.models import Agent, Level, Verdict
from graduation import envelopes, evaluator, ladder, objectives
from graduation.models import Bucket, Envelope, Objective, Offer
from graduation.observe import standing
from tests.browser.test_recovery import buttons, viewer
from tests.graduation.decided import decided, recoveries
from tests.hands import MARKS

pytestmark = MARKS
OPENSLO = Path(__file__).parents[1] / "data" / "openslo" / "ledger.yaml"


@pytest.fixture
def scout(transactional_db, settings):
    """An agent that has earned the offer of a rise."""
    settings.CELERIAC = settings.CELERIAC | {"audit_share": 1.0}
    agent = Agent.objects.create(name="scout", level=Level.ADVISOR)
    recoveries(20)
    evaluator.evaluate("scout")
    decided(120)
    ladder.take_all()
    return agent


@pytest.fixture
def slow(transactional_db):
    """An envelope that is in force."""
    tunables.forget()
    yield envelopes.propose(
        "retries.base", 5, importance="reliability", timebox="1h", bounds=envelopes.Bounds(least=0.01, most=60),
        by="ann", reason="the service is slow",
    )  # fmt: skip
    tunables.forget()


def test_offer_is_accepted_from_the_agents_page(reader, scout):
    """The evidence is drawn and told in words; a person agrees with a reason, and the agent may do more."""
    someone = reader()
    page = someone.open(reverse("admin:execution_agent_change", args=[scout.pk]))
    assert page.locator(".room-ladder [aria-current=true]").inner_text().startswith("advisor")
    assert "0 of 120 audited decisions were wrong; 5% may be." in page.inner_text("#content")
    assert page.evaluate("[...document.querySelectorAll('canvas')].every((one) => Chart.getChart(one))")
    someone.picture("agent")
    assert someone.serious() == []
    page.get_by_role("link", name="Look at the evidence and decide …").click()
    page.get_by_role("button", name="Accept …").click()
    page.get_by_label("Reason").fill("it does well")
    page.get_by_role("button", name="Accept").click()
    page.wait_for_selector("text=1 offer agreed to")
    scout.refresh_from_db()
    assert (scout.level, Offer.objects.get().first_by) == (Level.LIMITED_AUTONOMOUS, "operator")
    assert someone.errors == []
    assert someone.serious() == []


def test_agent_is_demoted(reader, scout):
    """A person who has never been here finds the button; the reason stands in the history of the level."""
    someone = reader()
    page = someone.open("/admin/")
    page.get_by_role("link", name="Agents").first.click()
    page.get_by_role("link", name="scout").first.click()
    page.get_by_role("button", name="Demote …").click()
    page.get_by_label("Level").select_option(label="observer")
    page.get_by_label("Reason").fill("it deleted a draft")
    page.get_by_role("button", name="Demote").click()
    page.wait_for_selector("text=advisor → observer")
    scout.refresh_from_db()
    assert scout.level == Level.OBSERVER
    assert "it deleted a draft" in page.inner_text(".room-timeline")
    assert Verdict.objects.filter(kind="autonomy_change", data__by="operator").count() == 1
    page.get_by_role("button", name="Lock a capability …", exact=True).click()
    page.get_by_label("Capability").fill("web")
    page.get_by_label("Reason").fill("until it is looked at")
    page.get_by_role("button", name="Lock a capability").click()
    page.wait_for_selector("text=until it is looked at")
    assert scout.lockouts.filter(capability="web", by="operator", lifted_at=None).exists()
    assert someone.errors == []


def test_rise_by_two_levels_waits_for_a_second_person(reader, scout):
    """One person's word is kept, and nothing rises yet."""
    Offer.objects.all().delete()
    someone = reader()
    page = someone.open(reverse("admin:execution_agent_change", args=[scout.pk]))
    page.get_by_role("button", name="Promote …").click()
    page.get_by_label("Level").select_option(label="autonomous")
    page.get_by_label("Reason").fill("it is needed")
    page.get_by_role("button", name="Promote").click()
    page.wait_for_selector("text=seconded")
    scout.refresh_from_db()
    assert (scout.level, Offer.objects.get().state) == (Level.ADVISOR, "seconded")
    assert someone.errors == []


def test_objective_shows_how_its_budget_burns(reader, transactional_db):
    """The chart is drawn, each pair of windows says whether it is too fast, and the gate is asked from here."""
    objectives.import_([OPENSLO], by="ann")
    one = Objective.objects.get(pk="charges-succeed")
    now, lots = timezone.now().replace(second=0, microsecond=0), random.Random(7)
    Bucket.objects.bulk_create(
        Bucket(objective=one, minute=now - timedelta(hours=n, minutes=1), good=100 - lots.randrange(2), total=100)
        for n in range(500)
    )
    standing.settle(one)
    someone = reader()
    page = someone.open(reverse("admin:graduation_objective_change", args=[one.pk]))
    assert page.evaluate("Boolean(Chart.getChart(document.querySelector('canvas')))")
    someone.picture("objective")
    assert someone.serious() == []
    page.get_by_role("button", name="Ask the gate …").click()
    page.get_by_label("Reason").fill("we want to deploy")
    page.get_by_role("button", name="Ask the gate").click()
    page.wait_for_selector("text=The gate says of payments")
    assert someone.errors == []


def test_kill_switch_is_thrown_in_two_steps_and_released(reader, slow):
    """The word alone does nothing; confirmed, every envelope is reverted and everybody told, until it is released."""
    someone = reader()
    page = someone.open("/admin/kill-switch/")
    page.get_by_label("Type STOP").fill("stop")
    page.get_by_label("Reason").fill("something is wrong")
    page.get_by_role("button", name="Go on …").click()
    assert "This is not the word" in page.inner_text("#content")
    page.get_by_label("Type STOP").fill("STOP")
    page.get_by_role("button", name="Go on …").click()
    page.wait_for_selector("text=Second step: confirm")
    assert not envelopes.switch().is_engaged
    someone.picture("kill-switch")
    assert someone.serious() == []
    page.get_by_role("button", name="Engage the kill switch now").click()
    page.wait_for_selector(".room-banner")
    slow.refresh_from_db()
    assert (envelopes.switch().is_engaged, slow.state) == (True, "reverted")
    page = someone.open("/admin/")
    page.wait_for_selector("text=By operator: something is wrong")
    assert someone.serious() == []
    page.get_by_role("link", name="Look at it").click()
    page.get_by_label("Reason").fill("it was nothing")
    page.get_by_role("button", name="Release the kill switch").click()
    page.wait_for_selector("text=The kill switch is released")
    assert not envelopes.switch().is_engaged
    assert someone.errors == []


def test_envelope_is_reverted_from_its_page(reader, slow):
    """What it changed, how long it lasts still and every decision; reverted with a reason."""
    someone = reader()
    page = someone.open(reverse("admin:graduation_envelope_change", args=[slow.pk]))
    assert "retries.base goes from" in page.inner_text("#content")
    assert someone.serious() == []
    page.get_by_role("button", name="Revert it now …").click()
    page.get_by_label("Reason").fill("enough")
    page.get_by_role("button", name="Revert it now").click()
    page.wait_for_selector("text=It was ended early")
    assert Envelope.objects.get().state == "reverted"
    assert someone.errors == []


def test_viewer_sees_no_button(reader, scout, slow):
    """Who may only look is offered nothing that would be refused, and is told of an engaged switch all the same."""
    user = viewer("agent", "offer", "envelope", "killswitch", "graduationstatus")
    someone = reader(user)
    for page in (
        reverse("admin:execution_agent_change", args=[scout.pk]),
        reverse("admin:graduation_offer_change", args=[Offer.objects.get().pk]),
        reverse("admin:graduation_envelope_change", args=[slow.pk]),
        reverse("admin:graduation_graduationstatus_change", args=["agent:scout"]),
        reverse("admin:kill_switch"),
    ):
        assert buttons(someone.open(page)) == [], page
    envelopes.engage(by="ann", reason="something is wrong")
    someone.open("/admin/").wait_for_selector(".room-banner")
    assert someone.errors == []


def test_operator_engages_and_does_not_release(reader, slow):
    """Releasing wants its own permission: without it the page says who does."""
    user = User.objects.create_user("bob", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_killswitch", "operate_envelope"]))
    envelopes.engage(by="ann", reason="something is wrong")
    page = reader(user).open("/admin/kill-switch/")
    assert "Only a governor releases it." in page.inner_text("#content")
    assert buttons(page) == []


@pytest.mark.parametrize(("width", "scheme"), [("phone", "light"), ("wide", "dark")])
def test_pages_are_readable_on_a_phone_and_in_the_dark(reader, scout, slow, width, scheme):
    """Nothing runs out of the page, and axe finds nothing serious."""
    someone = reader(width=width, scheme=scheme)
    for name, page in (
        ("agent", reverse("admin:execution_agent_change", args=[scout.pk])),
        ("envelope", reverse("admin:graduation_envelope_change", args=[slow.pk])),
        ("kill-switch", reverse("admin:kill_switch")),
    ):
        shown = someone.open(page)
        assert shown.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert someone.serious() == []
        someone.picture(f"{name}-{width}-{scheme}")
    assert someone.errors == []
