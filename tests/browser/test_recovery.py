"""Recovery in a browser: a candidate approved, all runs of a pattern recovered, an incident told, a webhook tried."""

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from recovery import evaluator, webhooks
from recovery.models import FailurePattern, RecoveryCandidate, WebhookEndpoint
from tests.execution.conftest import _nothing_connected, _nothing_remembered, hands  # noqa: F401 - fixtures
from tests.hands import MARKS
from tests.recovery import failed
from tests.recovery import incident_stage as stage
from tests.recovery.conftest import receiver  # noqa: F401 - a fixture
from tests.recovery.incident_stage import clean_slate  # noqa: F401 - a fixture

pytestmark = MARKS


@pytest.fixture
def pattern(hands):  # noqa: F811 - the fixture
    """Three runs that failed in one way; each recovery waits for a person."""
    known = failed.known_pattern(mode="ask", template="the gate <*> is closed")
    FailurePattern.objects.update(name="Closed gates")
    for _ in range(3):
        failed.candidate_for(failed.failed_run(hands), kind=failed.KIND, pattern=known)
    evaluator.evaluate_next(source="claim", by="tests")
    return known


def address(name, *key):
    """Return a page of recovery."""
    return reverse(f"admin:recovery_{name}", args=key)


def viewer(*models):
    """Return somebody who may look at these, and do nothing."""
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=[f"view_{model}" for model in models]))
    return user


def buttons(page):
    """Return what may be pressed in the page's own part, beside what every list has."""
    return [one.inner_text() for one in page.locator("#content .room-button").all()]


def test_candidate_is_approved_and_its_run_goes_on(reader, pattern):
    """From the list to the page, with a reason, back on the page: the run waits for its next try."""
    someone = reader()
    page = someone.open(address("recoverycandidate_changelist"))
    page.locator("#result_list tbody tr th a, #result_list tbody tr td a").first.click()
    assert "What approving does" in page.inner_text("#content")
    page.get_by_role("button", name="Approve and apply …").click()
    assert "Try the failed step again" in page.inner_text("#content")
    page.get_by_label("Reason").fill("the gate is open again")
    page.get_by_role("button", name="Approve and apply").click()
    page.wait_for_selector("text=Its action was done")
    done = RecoveryCandidate.objects.get(decision="approved")
    assert (done.state, done.decided_by, done.reason) == ("applied", "operator", "the gate is open again")
    assert buttons(page) == []
    assert someone.errors == []
    assert someone.serious() == []


def test_all_runs_of_a_pattern_are_recovered(reader, pattern):
    """Who has never been here finds the pattern, the button, and the result of each run."""
    someone = reader()
    page = someone.open("/admin/")
    page.get_by_role("link", name="Failures by pattern").first.click()
    page.get_by_role("link", name="Closed gates").first.click()
    page.wait_for_selector("canvas")
    someone.picture("pattern")
    assert someone.serious() == []
    page.get_by_role("link", name="Recover all failed runs of this pattern …").click()
    page.get_by_label("Reason").fill("the gate is open again")
    page.get_by_role("button", name="Recover 3 runs").click()
    page.wait_for_selector("text=3 of 3 runs done")
    assert set(RecoveryCandidate.objects.values_list("state", flat=True)) == {"applied"}
    assert page.locator(".room-table tbody tr").count() == 3
    assert someone.errors == []


def test_incident_tells_where_it_began_and_what_it_waits_for(reader, hands, clean_slate, monkeypatch):  # noqa: F811
    """The plan is approved on the page, and the run of the incident goes on by it."""
    stage.with_retry(monkeypatch)
    stage.template(needs_approval=True)
    incident, _ = stage.opened()
    stage.play(hands, incident.run_id)
    someone = reader()
    page = someone.open(address("incident_change", incident.pk))
    assert page.locator("svg.room-picture").get_attribute("aria-label") == "Trouble began at skill:tests.add"
    someone.picture("incident")
    page.get_by_role("button", name="Comment …").click()
    page.get_by_label("Comment").fill("I am on it")
    page.get_by_role("button", name="Comment").click()
    page.get_by_role("button", name="Approve …").click()
    page.get_by_label("Reason").fill("it is back")
    page.get_by_role("button", name="Approve").click()
    page.wait_for_selector("text=it is back")
    assert list(incident.entries.filter(by="operator").values_list("kind", "text")) == [
        ("comment", "I am on it"),
        ("approved", "it is back"),
    ]
    assert someone.errors == []
    assert someone.serious() == []


def test_webhook_is_added_tried_and_given_a_new_secret(reader, receiver):  # noqa: F811
    """Its secret is shown once and never again; the receiver takes the test message by it, and by the next one."""
    someone = reader()
    page = someone.open(address("webhookendpoint_add"))
    page.get_by_label("Name").fill("shop")
    page.get_by_label("URL").fill(receiver.url("shop"))
    page.get_by_label("Reason").fill("the shop wants to know")
    page.get_by_role("button", name="Add it").click()
    first = page.inner_text("#secret")
    receiver.knows("shop", first)
    page.get_by_role("link", name="I have kept it").click()
    page.get_by_role("button", name="Send a test message").click()
    page.wait_for_selector("text=shop took the test message")
    assert [one.body["type"] for one in receiver.of("shop")] == ["celeriac.webhook.test"]
    page.get_by_role("button", name="Rotate the secret …").click()
    page.get_by_label("The old secret stays valid for").fill("0s")
    page.get_by_label("Reason").fill("it leaked")
    page.get_by_role("button", name="Rotate the secret").click()
    second = page.inner_text("#secret")
    assert re.fullmatch(r"whsec_\S{44}", second)
    assert second != first
    receiver.knows("shop", second)
    page.get_by_role("link", name="I have kept it").click()
    page.get_by_role("button", name="Send a test message").click()
    page.wait_for_selector("text=shop took the test message")
    assert len(receiver.of("shop")) == 2
    assert receiver.refused == []
    assert first not in page.content()
    assert second not in page.content()
    someone.picture("webhook")
    assert someone.errors == []
    assert someone.serious() == []


def test_viewer_sees_no_button(reader, pattern):
    """Who may only look is offered nothing that would be refused."""
    webhooks.add("shop", "https://example.com/hooks")
    user = viewer("failurepattern", "recoverycandidate", "webhookendpoint", "failurematch")
    someone = reader(user)
    for page in (
        address("failurepattern_change", pattern.pk),
        address("recoverycandidate_change", RecoveryCandidate.objects.first().pk),
        address("webhookendpoint_change", WebhookEndpoint.objects.get().pk),
    ):
        assert buttons(someone.open(page)) == []
    assert someone.errors == []


@pytest.mark.parametrize(("width", "scheme"), [("phone", "light"), ("wide", "dark")])
def test_pages_are_readable_on_a_phone_and_in_the_dark(reader, pattern, width, scheme):
    """Nothing runs out of the page, and axe finds nothing serious."""
    someone = reader(width=width, scheme=scheme)
    for name, page in (
        ("pattern", address("failurepattern_change", pattern.pk)),
        ("candidate", address("recoverycandidate_change", RecoveryCandidate.objects.first().pk)),
    ):
        shown = someone.open(page)
        assert shown.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert someone.serious() == []
        someone.picture(f"{name}-{width}-{scheme}")
    assert someone.errors == []
