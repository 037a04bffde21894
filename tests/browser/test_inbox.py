"""The inbox in a browser: decided by key, in bulk, by two people at once, and taken back."""

import os

import pytest
from django.contrib.auth.models import Permission, User

from execution.models import Run, Step
from recovery.models import DeadLetter, RecoveryCandidate
from tests import waiting
from tests.execution.conftest import _nothing_connected, _nothing_remembered, hands  # noqa: F401 - fixtures
from tests.recovery import failed

pytestmark = pytest.mark.django_db(transaction=True)

INBOX = "/admin/inbox/"


def look(page, name):
    """Keep a picture to be looked at by whoever works on the page."""
    if folder := os.environ.get("ROOM_LOOK"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def colleague(name="bob"):
    """Return another operator."""
    return User.objects.create_superuser(name)


def decided(page):
    """Wait for what is said of the last decisions, and return it."""
    page.locator(".inbox-results").wait_for()
    return page.locator(".inbox-results").inner_text()


def test_approve_by_key(reader, hands):  # noqa: F811 - the fixture
    """J moves, a opens the form, the reason is typed, Ctrl and Enter send it: the gate is passed in the ledger."""
    first, second = waiting.approval(hands, count=2)
    someone = reader()
    page = someone.open(INBOX)
    page.keyboard.press("j")
    page.keyboard.press("a")
    page.locator("#inbox-dialog textarea").wait_for()
    assert someone.serious() == []
    page.keyboard.type("the notes are good")
    page.keyboard.press("Control+Enter")
    assert "The gate “sign_off” is passed" in decided(page)
    states = [Step.objects.get(pk=step.pk).state for step in (first, second)]
    assert states == ["waiting", "ready"]
    assert page.locator(".inbox-matter").count() == 1
    assert someone.errors == []


def test_evidence_unfolds(reader, hands):  # noqa: F811 - the fixture
    """E unfolds what one reads first, fetched when it is wanted; ? shows the keys."""
    waiting.candidates(2)
    waiting.approval(hands)
    someone = reader()
    page = someone.open(INBOX)
    page.keyboard.press("e")
    page.get_by_text("What failed", exact=True).wait_for()
    look(page, "inbox-evidence")
    assert someone.serious() == []
    page.keyboard.press("?")
    page.get_by_role("heading", name="Keys", exact=True).wait_for()
    assert someone.serious() == []
    assert someone.errors == []


def test_bulk_by_pattern_and_undo(reader):
    """All of a pattern are rejected with one reason, a result for each; u takes all of it back."""
    found = waiting.candidates(5)
    someone = reader()
    page = someone.open(INBOX)
    page.keyboard.press("Shift+R")
    page.locator(".inbox-bulk").wait_for()
    look(page, "inbox-bulk")
    page.keyboard.press("Shift+R")
    page.locator("#inbox-dialog textarea").wait_for()
    look(page, "inbox-dialog")
    page.keyboard.type("it is known")
    page.locator("#inbox-dialog button.is-main").click()
    assert "5 of 5 matters done" in decided(page)
    look(page, "inbox-results")
    assert someone.serious() == []
    assert failed.states(*found) == ["rejected"] * 5
    page.keyboard.press("u")
    page.get_by_text("Taken back: 5 of 5").wait_for()
    assert failed.states(*found) == ["waiting"] * 5
    assert someone.errors == []


def test_two_people_at_once(reader):
    """Both have the form open: one wins, the other is told who it was."""
    (one,) = waiting.candidates()
    ann, bob = reader(), reader(colleague())
    for person in (ann, bob):
        person.open(INBOX)
        person.page.keyboard.press("r")
        person.page.locator("#inbox-dialog textarea").wait_for()
        person.page.keyboard.type("no")
    ann.page.keyboard.press("Control+Enter")
    assert "1 of 1 matter done" in decided(ann.page)
    bob.page.keyboard.press("Control+Enter")
    assert "Operator was faster" in decided(bob.page)
    look(bob.page, "inbox-refused")
    one.refresh_from_db()
    assert (one.state, one.decided_by) == ("rejected", "operator")
    assert RecoveryCandidate.objects.filter(decided_by="bob").count() == 0
    assert ann.errors == bob.errors == []


def test_refreshes_by_itself_and_keeps_the_choice(reader, hands):  # noqa: F811 - the fixture
    """What comes appears; what was chosen and had the focus still has it."""
    waiting.approval(hands, count=2)
    someone = reader()
    page = someone.open(INBOX)
    page.keyboard.press("j")
    chosen = page.locator(".is-chosen").get_attribute("id")
    waiting.letter()
    with page.expect_response(lambda answer: "inbox" in answer.url):
        page.evaluate("htmx.ajax('GET', location.href, {source: '#inbox', target: '#inbox', select: '#inbox'})")
    page.get_by_role("heading", name="was given up").wait_for()
    assert page.locator(".is-chosen").get_attribute("id") == chosen
    assert page.evaluate("document.activeElement.id") == chosen
    assert someone.errors == []


def test_without_keys(reader, hands):  # noqa: F811 - the fixture
    """A budget is topped up by mouse, on a phone, in the dark; what is missing is said in words."""
    step = waiting.budget(hands)
    someone = reader(width="phone", scheme="dark")
    page = someone.open(INBOX)
    look(page, "inbox-phone-dark")
    assert someone.serious() == []
    page.get_by_role("button", name="Top up").click()
    page.locator("#inbox-dialog input[name=cost]").fill("2")
    look(page, "inbox-dialog-phone-dark")
    page.locator("#inbox-dialog textarea").fill("worth it")
    page.locator("#inbox-dialog button.is-main").click()
    decided(page)
    assert str(Run.objects.get(pk=step.run_id).budget_cost) == "3.500000"
    assert someone.errors == []


def test_viewer_sees_no_buttons(reader, hands):  # noqa: F811 - the fixture
    """Who may only look finds evidence and nothing to press; keys do nothing."""
    waiting.approval(hands)
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    someone = reader(user)
    page = someone.open(INBOX)
    assert page.locator(".inbox-matter").count() == 1
    assert page.locator(".inbox-verbs").count() == 0
    page.keyboard.press("a")
    assert page.locator("dialog[open]").count() == 0
    assert someone.errors == []


@pytest.mark.parametrize(("width", "scheme"), [("wide", "light"), ("wide", "dark"), ("phone", "light")])
def test_everything_is_shown(reader, hands, width, scheme):  # noqa: F811 - the fixture
    """One of each kind, at each width and by day and night, without an error and nothing serious."""
    waiting.everything(hands)
    waiting.candidates(3)
    DeadLetter.objects.filter(reason="no").update(reason="redis.exceptions.ConnectionError: the server has gone away")
    someone = reader(width=width, scheme=scheme)
    page = someone.open(INBOX)
    assert page.locator(".inbox-matter").count() == 14
    look(page, f"inbox-{width}-{scheme}")
    someone.picture(f"inbox-{width}-{scheme}")
    assert someone.serious() == []
    assert someone.errors == []


def test_empty(reader):
    """It says what would appear here."""
    someone = reader()
    page = someone.open(INBOX)
    page.get_by_text("Nothing waits for a person").wait_for()
    look(page, "inbox-empty")
    assert someone.serious() == []
    assert someone.errors == []
