"""A run's page: bounded and quick also for a thousand steps, and each picture drawn as the ledger has it."""

import re
import time

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from execution import ids, runs, workflows
from execution.models import Attempt, Checkpoint, Step
from execution.room import graph, timeline
from execution.workflows import catalog
from tests import workflow_skills as _skills  # noqa: F401 - registers them
from tests.execution import seen
from tests.hands import MARKS
from tests.hands import graph as made

pytestmark = MARKS


@pytest.fixture
def operator(client):
    """A client that is logged in as a superuser."""
    client.force_login(User.objects.create_superuser("operator"))
    return client


def page(run):
    """Return the address of a run's page."""
    return reverse("admin:execution_run_change", args=[run.pk])


def wide_run(count):
    """Make a run of so many steps, each of which needs two before it, performed up to the middle."""
    needs = [[max(0, number - 7), number - 1] if number else [] for number in range(count)]
    run, steps = made(needs)
    done = steps[: count // 2]
    Step.objects.filter(pk__in=[step.pk for step in done]).update(state="completed", epoch=1)
    Attempt.objects.bulk_create(
        Attempt(step_id=step.pk, run_id=run.pk, epoch=1, worker_id=ids.new(), ending="completed") for step in done
    )
    Checkpoint.objects.bulk_create(
        Checkpoint(step_id=step.pk, token=f"once:{n}", kind="once", position=n, epoch=1)
        for step in done
        for n in (1, 2)
    )
    return run


def test_a_thousand_steps(operator, django_assert_num_queries):
    """A thousand steps ask as much as a hundred, of which ten tell what they need, and take under 300 ms."""
    small, large = wide_run(100), wide_run(1000)
    operator.get(page(small))
    with django_assert_num_queries(30):
        operator.get(page(small))
    with django_assert_num_queries(30):
        answer = operator.get(page(large))
    assert answer.content.count(b'class="box"') == 1000
    taken = []
    for _ in range(3):
        began = time.process_time()
        operator.get(page(large))
        taken.append(time.process_time() - began)
    assert min(taken) < 0.3, taken


def test_larger_runs_are_cut(operator, monkeypatch):
    """Beyond the bound the first steps are drawn, and the page says how many are not."""
    monkeypatch.setattr(graph.nodes_of, "__kwdefaults__", {"most": 20})
    answer = operator.get(page(wide_run(30)))
    assert answer.content.count(b'class="box"') == 20
    assert b"10 more steps are not drawn" in answer.content
    assert re.search(rb"10 more steps</a>", answer.content)


def test_picture_counts_the_entries_of_a_list(hands):
    """A list is one box, which says how many of its entries are done and how many have failed."""
    catalog.forget()
    text = "name: many\nsteps: {all: {skill: graphs.give, foreach: '${[1, 2, 3]}', with: {value: '${item}'}}}"
    run = runs.start(workflows.read(text))
    hands.perform(Step.objects.get(run_id=run.id))
    entries = Step.objects.filter(run_id=run.id, position__lt=0).order_by("position")
    Step.objects.filter(pk=entries[0].pk).update(state="completed")
    Step.objects.filter(pk=entries[1].pk).update(state="failed")
    run.refresh_from_db()
    drawn = graph.picture(run, graph.nodes_of(run))
    assert "1 of 3 done, 1 failed" in drawn.drawn
    assert drawn.drawn.count('class="n"') == 1
    assert drawn.left_out_count == 0


def test_names_are_escaped():
    """A step's name and error cannot break out of the pictures."""
    run, (step,) = made([[]])
    Step.objects.filter(pk=step.pk).update(name='<script>"x', state="failed")
    Attempt.objects.create(
        step_id=step.pk, run_id=run.pk, epoch=1, worker_id=ids.new(), ending="failed", ended_at=run.created_at,
        error={"type": "<b>", "message": "<script>"},
    )  # fmt: skip
    track = timeline.of(run, list(Step.objects.filter(run=run)), run.created_at).rows[0].track
    drawn = graph.picture(run, graph.nodes_of(run)).drawn + track
    assert "<script>" not in drawn
    assert "<b>" not in drawn


def test_timeline_tells_what_lay_between_attempts():
    """Each attempt is a bar by its ending, and a line says what the step waited for until it was claimed again."""
    run, (step,) = made([[]])
    for epoch, ending in enumerate(("suspended", "failed", "lost", "crashed", ""), 1):
        Attempt.objects.create(
            step_id=step.pk, run_id=run.pk, epoch=epoch, worker_id=ids.new(), ending=ending,
            ended_at=run.created_at if ending else None,
        )  # fmt: skip
    found = timeline.of(run, list(Step.objects.filter(run=run)), run.created_at)
    bars = re.findall(r'class="bar is-(\w+)"', found.rows[0].track)
    gaps = re.findall(r'class="gap is-(\w+)"', found.rows[0].track)
    assert bars == ["suspended", "failed", "lost", "crashed", "running"]
    assert gaps == ["wait", "retry", "back", "back"]
    assert [kind for kind, _ in found.legend] == ["running", "suspended", "failed", "lost", "crashed"]


def test_logs_link(operator, settings):
    """A run's page leads to its logs where a setting says how, and shows nothing where none does."""
    run = runs.start(seen.quick)
    assert ">Logs</a>" not in operator.get(page(run)).text
    settings.CELERIAC = settings.CELERIAC | {"logs_url": "https://logs.example/?q={run}"}
    assert f'href="https://logs.example/?q={run.id}">Logs</a>' in operator.get(page(run)).text


def test_whole_values_want_a_permission(operator, client):
    """A value is shown to who may see its row, and only such fields as are values."""
    run = runs.start(seen.wait, {"name": "n"})
    address = reverse("admin:execution_whole_value", args=["run-input", run.id])
    assert "&quot;n&quot;" in operator.get(address).text
    assert operator.get(address.replace("run-input", "run-key")).status_code == 404
    client.force_login(User.objects.create_user("viewer", is_staff=True))
    assert client.get(address).status_code == 403


@pytest.mark.parametrize("verb", ["approve", "decide", "nothing"])
def test_what_cannot_be_done_is_said(operator, verb):
    """A verb that does not fit, or is none, changes nothing and is answered in words or not found."""
    run = runs.start(seen.quick)
    runs.cancel(run)
    answer = operator.get(reverse("admin:execution_run_do", args=[run.id, verb]), follow=True)
    if verb == "nothing":
        assert answer.status_code == 404
    else:
        assert "cannot be done now" in answer.text
