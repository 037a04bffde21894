"""A run's page in a browser: what a person reads there, and what becomes of the ledger when they press a button."""

from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission, User

from execution import ledger, runs, workflows
from execution.models import Effect, Event, Run, RunState, Step
from execution.workflows import catalog
from tests import workflow_skills as _skills  # noqa: F401 - registers them
from tests.execution import seen
from tests.hands import MARKS, Hands, record

pytestmark = MARKS

RELEASE = """
name: release
inputs: {count: {type: integer, default: 4}, note: {type: text, default: spring}}
steps:
  collect: {skill: graphs.range, with: {count: "${inputs.count}"}}
  check: {skill: graphs.give, foreach: "${steps.collect}", with: {value: "${item}"}}
  total: {skill: graphs.total, with: {values: "${steps.check}"}}
  rest: {sleep: 2h, needs: total}
  review: {gate: approval, needs: total, with: {seen: "${steps.total}", note: "${inputs.note}"}}
  news: {gate: signal, needs: total, signal: market-open}
  ship: {skill: graphs.give, needs: [review, news], with: {value: shipped}}
  thank: {skill: graphs.give, needs: [ship, rest], with: {value: thanks}}
"""


@pytest.fixture
def hands(transactional_db):
    """Claim, perform and finish steps in this process."""
    catalog.forget()
    found = Hands()
    yield found
    found.close()


def play(hands, run, *, most=200):
    """Perform what is ready, the oldest first, until nothing is; return the run as it is then."""
    for _ in range(most):
        step = Step.objects.filter(run_id=run.id, state="ready").order_by("id").first()
        if step is None:
            break
        hands.perform(step)
    return Run.objects.get(pk=run.id)


def address(run):
    """Return the address of a run's page."""
    return f"/admin/execution/run/{run.id}/change/"


def released(hands, **given):
    """Return a run that waits at a gate, for a signal and for a timer."""
    return play(hands, runs.start(workflows.read(RELEASE), given, budget={"cost": "5.00"}, tags=["night"]))


@pytest.mark.parametrize(("width", "scheme"), [("wide", "light"), ("phone", "dark")])
def test_page_says_what_a_run_waits_for(reader, hands, width, scheme):
    """Graph, timeline and reasons are there, in both widths and schemes, with no error and nothing serious."""
    run = released(hands)
    someone = reader(width=width, scheme=scheme)
    page = someone.open(address(run))
    someone.picture(f"run-{width}-{scheme}")
    assert page.get_by_role("heading", name="What it waits for").is_visible()
    assert page.locator("svg.room-graph g.is-waiting").count() == 3
    assert page.locator("svg.room-graph text.w", has_text="4 of 4 done").count() == 1
    assert page.locator(".room-lane").count() >= 8
    assert someone.errors == []
    assert someone.serious() == []


def press(page, title, *, reason="because it is right", **fields):
    """Open the page behind a button, fill in its form and send it."""
    page.get_by_role("link", name=title, exact=True).first.click()
    for label, value in fields.items():
        page.get_by_role("textbox", name=label).fill(value)
    page.get_by_label("Reason").fill(reason)
    with page.expect_navigation():
        page.locator("form.room-form button.room-button").click()


def test_approve_and_answer(reader, hands):
    """A person approves at a gate, answers a signal with JSON, and the run goes on; the log says who and why."""
    run = released(hands)
    someone = reader()
    page = someone.open(address(run))
    page.get_by_role("link", name="Approve", exact=True).click()
    assert page.get_by_text("spring").is_visible()
    assert someone.serious() == []
    page.get_by_label("Reason").fill("it looks good")
    with page.expect_navigation():
        page.get_by_role("button", name="Approve").click()
    decided = Event.objects.get(run_id=run.id, kind="gate.approved")
    assert (decided.data["by"], decided.data["reason"]) == ("operator", "it looks good")
    press(page, "Answer market-open", Data="{not json")
    assert page.get_by_text("This is not JSON").is_visible()
    page.get_by_role("textbox", name="Data").fill('{"at": 9}')
    with page.expect_navigation():
        page.get_by_role("button", name="Answer").click()
    assert page.get_by_role("heading", name="What it waits for").is_visible()
    play(hands, run)
    assert Step.objects.get(run_id=run.id, name="ship").state == "completed"
    assert ledger.unpack(Step.objects.get(run_id=run.id, name="news").output) == {"at": 9}
    assert someone.errors == []


def test_refuse_at_a_gate(reader, hands):
    """A refusal fails the gate."""
    run = released(hands)
    page = reader().open(address(run))
    press(page, "Refuse", reason="too early")
    play(hands, run)
    assert Step.objects.get(run_id=run.id, name="review").error["message"].endswith("too early")


def test_gate_of_others_has_no_button(reader, hands):
    """Who is not named by a gate is told who is, and sees no button."""
    text = RELEASE.replace("{gate: approval,", "{gate: approval, who: [ann],")
    run = play(hands, runs.start(workflows.read(text)))
    page = reader().open(address(run))
    assert page.get_by_text("for an approval by ann").is_visible()
    assert page.get_by_role("link", name="Approve", exact=True).count() == 0


def test_pause_resume_cancel(reader, hands):
    """A run is paused, resumed and cancelled, each with a reason; the buttons follow its state."""
    run = released(hands)
    page = reader().open(address(run))
    press(page, "Pause", reason="lunch")
    assert runs.get(run.id).state == RunState.PAUSED
    assert page.get_by_role("link", name="Pause", exact=True).count() == 0
    assert page.get_by_text("paused by operator").first.is_visible()
    press(page, "Resume")
    assert runs.get(run.id).state == RunState.RUNNING
    press(page, "Cancel", reason="not wanted")
    found = runs.get(run.id)
    assert (found.state, found.cancel_reason) == (RunState.CANCELLED, "not wanted")
    assert page.get_by_role("heading", name="How it ended").is_visible()
    assert page.locator("#now[data-live]").count() == 0


def test_reason_is_wanted(reader, hands):
    """Without a reason nothing is done."""
    run = released(hands)
    page = reader().open(address(run))
    page.get_by_role("link", name="Pause", exact=True).click()
    page.locator("form.room-form").evaluate("form => { form.noValidate = true }")
    page.get_by_role("button", name="Pause").click()
    assert page.get_by_text("This field is required.").is_visible()
    assert runs.get(run.id).state == RunState.RUNNING


def test_fork_with_another_input(reader, hands):
    """A fork with an edited input is a new run; the first one stays as it is."""
    run = released(hands)
    someone = reader()
    page = someone.open(address(run))
    page.get_by_role("link", name="Fork", exact=True).click()
    assert page.get_by_label("count").input_value() == "4"
    assert someone.serious() == []
    page.get_by_label("count").fill("6")
    page.get_by_label("Reason").fill("one more try")
    with page.expect_navigation():
        page.get_by_role("button", name="Fork").click()
    fork = Run.objects.get(forked_from_id=run.id)
    assert str(fork.id) in page.url
    assert ledger.unpack(fork.input)["kwargs"] == {"count": 6, "note": "spring"}
    assert ledger.unpack(runs.get(run.id).input)["kwargs"]["count"] == 4


def test_top_up_of_a_parked_run(reader, hands):
    """A run that is parked for its budget says what is missing; topped up, it goes on."""
    text = "name: dear\nsteps: {a: {skill: graphs.spend, with: {cost: '1.00'}}, b: {skill: graphs.spend, needs: a}}"
    run = play(hands, runs.start(workflows.read(text), budget={"cost": "1.50"}))
    assert run.state == RunState.PARKED
    page = reader().open(address(run))
    page.locator(".room-ask").get_by_role("link", name="Top up").click()
    assert page.get_by_label("Money to add").input_value() == "0.500000"
    page.get_by_label("Money to add").fill("9")
    page.get_by_label("Reason").fill("it is worth it")
    with page.expect_navigation():
        page.get_by_role("button", name="Top up").click()
    run = play(hands, run)
    assert (run.state, run.budget_cost) == (RunState.COMPLETED, Decimal("10.50"))


def test_unknown_effect_is_decided(reader, hands):
    """Of an effect that nobody knows about a person says that it was done, with its receipt."""
    run = runs.start(seen.pay)
    claim = hands.take(run)
    effect = Effect.objects.create(
        step_id=run.id, token="effect:pay", key="k", policy="ask", epoch=claim.epoch, intent=b'j{"to":"ann"}'
    )
    hands.lose(claim)
    run = play(hands, run)
    assert (run.state, run.waiting) == (RunState.PARKED, "effect")
    someone = reader()
    page = someone.open(address(run))
    page.get_by_role("link", name="Decide").click()
    assert page.get_by_text("ann").is_visible()
    assert someone.serious() == []
    page.get_by_label("It was done").check()
    page.get_by_role("textbox", name="Receipt").fill('"no. 7"')
    page.get_by_label("Reason").fill("the bank says so")
    with page.expect_navigation():
        page.get_by_role("button", name="Decide").click()
    effect.refresh_from_db()
    assert (effect.state, effect.decided_by, ledger.unpack(effect.receipt)) == ("done", "operator", "no. 7")


def test_retry_of_a_failed_run(reader, hands, tmp_path):
    """A failed run says why, and goes on from its failed step."""
    fix = tmp_path / "fix"
    run = play(hands, runs.start("graphs.fail", {"value": 3, "fix": str(fix)}))
    page = reader().open(address(run))
    assert page.get_by_text("no luck with 3").first.is_visible()
    assert page.locator(".room-track .bar.is-failed").count() == 1
    fix.touch()
    press(page, "Retry", reason="mended")
    assert play(hands, run).state == RunState.COMPLETED


def test_viewer_sees_no_button(reader, hands):
    """Who may only look sees the page without a button or a command, and is refused behind one."""
    run = released(hands)
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_run"))
    someone = reader(viewer)
    page = someone.open(address(run))
    assert page.get_by_role("heading", name="What it waits for").is_visible()
    assert page.locator(".room-verbs").count() == 0
    assert page.goto(someone.origin + f"/admin/execution/run/{run.id}/do/cancel/").status == 403


def test_page_follows_the_run(reader, hands):
    """The page shows by itself that a step was claimed, lost and taken over, and that the run has ended."""
    run = runs.start(seen.wait)
    claim = hands.take(run)
    ledger.record(run.id, claim.epoch, [record("note")])
    page = reader().open(address(run))
    assert page.locator(".room-track .bar.is-running").count() == 1
    assert page.locator(".room-track .tick").count() == 1
    hands.lose(claim)
    page.locator(".room-track .bar.is-lost").wait_for(state="attached")
    play(hands, run)
    runs.signal(run, "answer", 1)
    play(hands, run)
    page.get_by_role("heading", name="How it ended").wait_for()
    assert page.locator(".room-track .bar.is-completed").count() == 1
    assert page.locator("#now[data-live]").count() == 0


def test_large_value_comes_on_demand(reader, hands):
    """Of a large input the beginning is shown; a button brings the rest."""
    run = runs.start(seen.wait, {"name": "y" * 20_000})
    page = reader().open(address(run))
    assert page.content().count("y" * 100) < 60
    page.get_by_role("button", name="Show it whole").click()
    page.locator("pre.is-whole").wait_for()
    assert "y" * 20_000 in page.locator("pre.is-whole").inner_text()


def test_graph_is_moved_and_enlarged(reader, hands):
    """Buttons and keys change what is seen of the graph; a step in it leads to its page."""
    run = released(hands)
    someone = reader()
    page = someone.open(address(run))
    graph = page.locator("svg.room-graph")
    first = graph.get_attribute("viewBox")
    page.get_by_role("button", name="Larger").click()
    enlarged = graph.get_attribute("viewBox")
    assert float(enlarged.split()[2]) < float(first.split()[2])
    page.locator("[data-graph]").press("ArrowRight")
    assert float(graph.get_attribute("viewBox").split()[0]) > float(enlarged.split()[0])
    page.get_by_role("button", name="All of it").click()
    page.locator("svg.room-graph a", has_text="collect").click()
    assert "/execution/step/" in page.url
    assert someone.errors == []
