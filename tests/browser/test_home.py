"""The home page in a browser: what it shows, refreshes and says to everybody, at both widths, light and dark."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from execution import breakers, runs, trends
from execution.metrics import WORKFLOW_BUCKETS
from execution.models import Agent, CycleState, Run, Step
from graduation import envelopes
from recovery.models import FailureMatch, FailurePattern, Incident
from tests import skills

NO_LENGTHS = [0] * (len(WORKFLOW_BUCKETS) + 2)


@pytest.fixture
def busy(transactional_db):
    """Have a ledger in which much goes on."""
    Agent.objects.create(name="scout", level=2, budget_cost=10, spent_cost=9)
    Agent.objects.create(name="editor", level=4, budget_cost=100, spent_cost=20)
    states = {"running": "timer", "parked": "budget", "paused": "paused", "failed": "", "completed": ""}
    for number, (state, waiting) in enumerate(list(states.items()) * 3):
        run = runs.start(skills.add, {"left": number}, agent="scout", tags=["nightly"])
        Run.objects.filter(pk=run.id).update(state=state, waiting=waiting if state != "running" else "")
        step = {"running": "waiting", "paused": "waiting"}.get(state, state)
        Step.objects.filter(pk=run.id).update(state=step, waiting=waiting or "capacity")
    breakers.trip("pay.charge")
    Incident.objects.create(title="Payments time out", severity="critical", services=["payments"])
    _sample_two_hours()
    _fail(run, FailurePattern.objects.create(name="No answer from the bank", category="transient", **KIND))


KIND = {"fingerprint": "f", "fingerprint_version": 1}


def _fail(run, pattern):
    for pk in (run.id, Run.objects.earliest("id").id):
        FailureMatch.objects.create(
            attempt_id=pk, step_id=pk, run_id=pk, agent_id=run.agent_id, skill="pay", ending="failed",
            error_kind="transient", pattern=pattern, failed_at=timezone.now(), **KIND,
        )  # fmt: skip


def _sample_two_hours():
    """Keep samples as beat would have done."""
    now, lengths, samples = timezone.now(), list(NO_LENGTHS), []
    for minute in range(120):
        lengths[3] += 3 + minute % 4
        lengths[6] += minute % 5
        moment = (now - timedelta(minutes=119 - minute)).timestamp()
        samples.append([moment, minute * 7, minute * 6, minute, 0, str(minute / 10), minute * 100, list(lengths)])
    CycleState.objects.create(name=trends.NAME, state={"samples": samples}, ticked_at=now)


def test_home_opens_without_an_error(reader):
    """The home page of an empty ledger loads nothing from elsewhere, reports no error, and says what to do."""
    someone = reader()
    page = someone.open("/admin/")
    assert page.title().strip().startswith("Home")
    assert page.get_by_text("Nothing has run yet.").is_visible()
    assert someone.errors == []
    assert someone.serious() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", ["wide", "phone"])
def test_home_shows_what_goes_on(busy, reader, width, scheme):
    """What runs, waits, failed and is spent stands there, is readable, and nothing runs out of the page."""
    someone = reader(width=width, scheme=scheme)
    page = someone.open("/admin/")
    for text in ("Money or tokens", "No answer from the bank", "Payments time out", "9.00 of 10.00", "pay.charge"):
        assert page.get_by_text(text).first.is_visible(), text
    page.wait_for_function(
        "document.querySelectorAll('canvas.chart').length === 2"
        " && Chart.getChart(document.querySelector('canvas.chart')) !== undefined"
    )
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert someone.errors == []
    assert someone.serious() == []
    someone.picture(f"home-{width}-{scheme}")


def test_home_refreshes_by_itself(busy, reader):
    """A run that fails while one looks is counted, and what one looks at over time stays chosen."""
    someone = reader()
    page = someone.open("/admin/?over=days")
    failed = page.locator("a.room-figure", has_text="Failed").locator("b")
    assert failed.inner_text().startswith("3")
    Run.objects.filter(state="running").update(state="failed")
    page.wait_for_function("document.body.innerText.match(/Failed\\s*6/)")
    assert page.locator("[aria-current=true]").inner_text() == "2 days"
    assert someone.errors == []


def test_figure_leads_to_its_runs(busy, reader):
    """A click on what failed opens the runs that failed, and the address says so."""
    someone = reader()
    page = someone.open("/admin/")
    page.locator("a.room-figure", has_text="Failed").click()
    page.wait_for_url("**/admin/execution/run/?state__exact=failed")
    assert page.locator("#result_list tbody tr").count() == 3


def test_kill_switch_is_seen_on_a_page_that_is_open(transactional_db, reader):
    """Whoever has any page open learns that the kill switch was engaged, and that it was released."""
    someone = reader()
    page = someone.open("/admin/execution/agent/")
    assert page.locator(".room-banner").count() == 0
    envelopes.engage(by="ann", reason="a wave of refunds")
    page.evaluate("roomBanners()")
    banner = page.locator(".room-banner")
    banner.wait_for()
    assert "The kill switch is engaged. Every envelope was reverted" in " ".join(banner.inner_text().split())
    assert someone.serious() == []
    envelopes.release(by="ann")
    page.evaluate("roomBanners()")
    banner.wait_for(state="detached")
    assert someone.errors == []


def test_search_opens_by_key_and_leads_to_the_run(transactional_db, reader):
    """Ctrl-K, the key of a run, Enter: its page is open."""
    run = runs.start(skills.add, {"left": 1}, key="order-77")
    someone = reader()
    page = someone.open("/admin/")
    page.keyboard.press("Control+k")
    page.locator("#command-dialog input, [x-ref=searchInputCommand]").first.wait_for()
    page.keyboard.type("order-77")
    page.locator("#command-results-list li a").first.wait_for()
    page.locator("#command-results-list li a").first.click()
    page.wait_for_url(f"**/admin/execution/run/{run.id}/change/")
    assert someone.errors == []


def test_times_are_the_readers_own_and_ages_stay_fresh(transactional_db, reader):
    """The server writes times in the zone that the browser names, and an age goes on."""
    runs.start(skills.add, {"left": 1})
    Run.objects.update(created_at=timezone.now() - timedelta(minutes=3))
    someone = reader()
    page = someone.open("/admin/execution/run/")
    age = page.locator("time[data-age]").first
    first = age.inner_text()
    page.wait_for_function("first => document.querySelector('time[data-age]').innerText !== first", arg=first)
    assert {"name": "room_zone", "value": "Europe/Berlin"}.items() <= page.context.cookies()[-1].items()
    page.reload()
    assert "GMT+" in age.get_attribute("title") or "CE" in age.get_attribute("title")
    assert someone.errors == []


def test_errors_and_the_login_are_pages_of_the_room(transactional_db, reader):
    """What is not there, what one may not see, and the way in are said in words, and axe finds nothing serious."""
    someone = reader(User.objects.create_user("visitor", password="x", is_staff=True))
    for path, text in (("/no/such/page", "Not found"), ("/flower/", "Not allowed")):
        page = someone.open(path)
        assert page.get_by_role("heading", name=text).is_visible()
        assert someone.serious() == []
    someone.page.context.clear_cookies()
    page = someone.open("/admin/")
    assert page.title().strip().startswith("Log in")
    assert someone.serious() == []
