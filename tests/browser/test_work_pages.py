"""The pages of work in a browser: workflows, jobs, sessions, workers, steps, effects and schedules."""

import pytest
from django.contrib.admin.models import LogEntry

from execution import ids, jobs, ledger, runs, sessions, skill, workflows
from execution.models import CycleState, Effect, Event, Run, RunState, Step, Worker, Workflow
from execution.workflows import catalog
from tests import workflow_skills as _skills  # noqa: F401 - registers them
from tests.execution import seen
from tests.hands import MARKS, Hands

pytestmark = MARKS

FIRST = """
name: greet
description: Greets somebody, as often as wanted.
inputs:
  whom: {type: text, description: Who is greeted.}
  times: {type: integer, default: 2}
  loudly: {type: boolean, default: false}
  extra: {type: object, default: {}}
steps:
  say: {skill: graphs.give, with: {value: "${inputs.whom}"}}
"""
SECOND = FIRST + '  again: {skill: graphs.give, with: {value: "${steps.say}"}}\n'


@skill("pages.halve", retries=0, breaker="")
def halve(number: int) -> float:
    """Fail for odd numbers."""
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number / 2


@pytest.fixture
def hands(transactional_db):
    """Claim, perform and finish steps in this process."""
    catalog.forget()
    found = Hands()
    yield found
    found.close()


def send(page, title):
    """Send the form of a verb."""
    with page.expect_navigation():
        page.get_by_role("button", name=title).click()


@pytest.mark.parametrize(("width", "scheme"), [("wide", "light"), ("phone", "dark")])
def test_workflow_is_compared_and_started(reader, hands, width, scheme):
    """A version shows its graph, what changed since another, and starts a run from a form of its inputs."""
    catalog.register(workflows.read(FIRST))
    catalog.register(workflows.read(SECOND))
    newest = Workflow.objects.get(name="greet", version=2)
    someone = reader(width=width, scheme=scheme)
    page = someone.open(f"/admin/execution/workflow/{newest.id}/change/")
    assert page.locator("svg.room-graph .box").count() == 2
    page.get_by_role("link", name="With this one").click()
    assert page.get_by_text("step 'again' is added").is_visible()
    someone.picture(f"workflow-{width}-{scheme}")
    assert someone.serious() == []
    page.get_by_role("link", name="Start a run").click()
    assert page.get_by_label("times").input_value() == "2"
    assert someone.serious() == []
    someone.picture(f"start-{width}-{scheme}")
    page.get_by_label("whom").fill("Ann")
    page.get_by_label("extra").fill('["a list"]')
    page.get_by_label("Reason").fill("to see it")
    send(page, "Start a run")
    assert page.get_by_text("which is not an object").is_visible()
    page.get_by_label("extra").fill('{"a": 1}')
    page.get_by_label("loudly").check()
    send(page, "Start a run")
    run = Run.objects.get(workflow="greet")
    assert str(run.id) in page.url
    assert ledger.unpack(run.input)["kwargs"] == {"whom": "Ann", "times": 2, "loudly": True, "extra": {"a": 1}}
    assert Event.objects.get(run_id=run.id, kind="run.started_by_hand").data == {
        "by": "operator",
        "reason": "to see it",
    }
    assert LogEntry.objects.get().change_message == "Started: to see it"
    assert someone.errors == []


@pytest.mark.parametrize(("width", "scheme"), [("wide", "dark"), ("phone", "light")])
def test_job_shows_its_progress_and_retries_what_failed(reader, hands, width, scheme):
    """A job's page shows what is done, its lanes and what failed, and opens the failed items again."""
    job = jobs.spawn(halve, [{"number": number} for number in range(10)], parallel=2)
    for step in Step.objects.filter(run_id=job.pk):
        hands.perform(step)
    someone = reader(width=width, scheme=scheme)
    page = someone.open("/admin/execution/job/")
    assert page.get_by_text("10 of 10").is_visible()
    someone.open(f"/admin/execution/job/{job.pk}/change/")
    assert page.get_by_text("9 is odd").is_visible()
    someone.picture(f"job-{width}-{scheme}")
    assert someone.serious() == []
    page.get_by_role("link", name="Retry").click()
    page.get_by_label("Reason").fill("mended")
    send(page, "Retry")
    assert Run.objects.get(pk=job.pk).state == RunState.RUNNING
    assert jobs.progress(job.pk).failed_count == 0
    assert someone.errors == []


def test_session_shows_its_runs_and_is_closed(reader, hands):
    """A session lists its runs; with one that has not ended it is closed only with that."""
    session = sessions.open("chat", state={"topic": "tea"})
    run = runs.start(seen.wait, session=session)
    someone = reader()
    page = someone.open(f"/admin/execution/session/{session.id}/change/")
    assert page.get_by_role("link", name="seen.wait").is_visible()
    assert someone.serious() == []
    someone.picture("session-wide-light")
    page.get_by_role("link", name="Close", exact=True).click()
    page.get_by_label("Reason").fill("done")
    send(page, "Close")
    assert page.get_by_text("cancel them with it").is_visible()
    page.get_by_label("Cancel the runs in it").check()
    send(page, "Close")
    session.refresh_from_db()
    assert (session.status, runs.get(run.id).state) == ("closed", "cancelled")
    page.get_by_role("link", name="Reopen").click()
    page.get_by_label("Reason").fill("not yet")
    send(page, "Reopen")
    session.refresh_from_db()
    assert session.status == "open"
    assert someone.errors == []


def test_worker_shows_what_it_performs(reader, hands):
    """The list and the page of a worker name the step that it performs."""
    Worker.objects.create(id=hands.worker_id, hostname="crew@one", pid=1, lock_number=1, queues=["default"])
    Worker.objects.create(id=ids.new(), hostname="crew@two", pid=2, lock_number=2, queues=["default"])
    run = runs.start(seen.wait)
    hands.take(run)
    someone = reader()
    page = someone.open("/admin/execution/worker/")
    row = page.locator("tr", has_text="crew@one")
    assert row.get_by_role("link", name="seen.wait").is_visible()
    row.get_by_role("link", name="crew@one").click()
    assert page.get_by_role("heading", name="What it performs now").is_visible()
    assert page.locator(".room-table tbody tr", has_text="seen.wait").count() == 1
    assert someone.serious() == []
    someone.picture("worker-wide-light")
    assert someone.errors == []


def test_step_shows_its_attempts(reader, hands):
    """A step's page shows its attempts as bars and rows."""
    run = runs.start(seen.wait)
    hands.lose(hands.take(run))
    hands.perform(Step.objects.get(pk=run.id))
    someone = reader()
    page = someone.open(f"/admin/execution/step/{run.id}/change/")
    assert page.locator(".room-track .bar").count() == 2
    assert page.locator(".room-table tbody tr").count() == 2
    assert someone.serious() == []
    someone.picture("step-wide-light")
    assert someone.errors == []


def test_effect_leads_to_its_decision(reader, hands):
    """An effect that nobody knows about leads to the form in which a person decides."""
    run = runs.start(seen.pay)
    claim = hands.take(run)
    effect = Effect.objects.create(step_id=run.id, token="effect:pay", key="k", policy="ask", epoch=claim.epoch)
    hands.lose(claim)
    hands.perform(Step.objects.get(pk=run.id))
    someone = reader()
    page = someone.open(f"/admin/execution/effect/{effect.id}/change/")
    page.get_by_role("link", name="Decide").click()
    page.get_by_label("It has failed").check()
    page.get_by_label("Reason").fill("the bank says no")
    send(page, "Decide")
    effect.refresh_from_db()
    assert (effect.state, runs.get(run.id).state) == ("failed", "cancelled")
    assert someone.errors == []


def test_schedules_tell_of_our_cycles(reader):
    """Beside each entry of beat stands when its cycle last ticked, and the error of one that fails."""
    from django.utils import timezone

    CycleState.objects.create(name="execution.sessions", ticked_at=timezone.now(), tick_count=7)
    CycleState.objects.create(name="recovery.outbox", ticked_at=timezone.now(), last_error="Traceback\nValueError: no")
    someone = reader()
    page = someone.open("/admin/django_celery_beat/periodictask/")
    assert page.locator("tr", has_text="celeriac: sessions").get_by_text("7 ticks").is_visible()
    assert page.locator("tr", has_text="celeriac: outbox").get_by_text("ValueError: no").first.is_visible()
    someone.picture("schedules-wide-light")
    assert someone.serious() == []
    assert someone.errors == []
