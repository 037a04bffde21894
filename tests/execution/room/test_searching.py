"""The search: by id, its beginning or end, by name, key and tag, for who may see it; by palette, address and command."""

import json
from io import StringIO

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command

from execution import agents, breakers, ids, runs
from execution.models import Agent, Attempt, Run, Step
from execution.room import searching
from execution.room.parts import gathered
from recovery.models import FailurePattern
from tests import skills

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run():
    """Return a run that can be found in each way."""
    Agent.objects.create(name="scout")
    return runs.start(
        skills.add, {"left": 1}, key="order-77", tags=["customer-9"], correlation_id="trace-5", agent="scout"
    )


def found(term, may=lambda _: True):
    """Return the kinds and keys of what is found."""
    return [(one.kind, one.key) for one in searching.everything(term, may=may)]


@pytest.mark.parametrize("term", ["order-77", "customer-9", "trace-5", "tests.add"])
def test_run_is_found_by_key_tag_correlation_id_and_workflow(run, term):
    """A run is found by whatever it was given."""
    assert ("run", str(run.id)) in found(term)


def test_run_is_found_by_its_id_its_beginning_and_its_end(run):
    """Whatever part of an id somebody has copied leads to the run and to its step, which has the same id."""
    for part in (str(run.id), str(run.id)[:13], str(run.id)[-12:], f"…{str(run.id)[-12:]}", run.id.hex.upper()):
        assert found(part)[:2] == [("run", str(run.id)), ("step", str(run.id))], part


def test_step_is_found_by_the_task_id_that_somebody_chose(run):
    """A task id that is no UUID stands for a step, and finds it."""
    step = Step.objects.create(
        id=ids.from_celery("my-own-id"), run_id=run.id, agent_id=run.agent_id, name="x", skill="tests.add"
    )
    assert found("my-own-id") == [("step", str(step.id))]


def test_other_things_are_found_by_name(run):
    """Agents, breakers and patterns are found by a part of their name."""
    breakers.trip("scout-breaker")
    pattern = FailurePattern.objects.create(
        name="the scout is lost", category="transient", fingerprint="f", fingerprint_version=1
    )
    agent = Agent.objects.get(pk=agents.id_of("scout"))
    assert found("scout") == [("agent", str(agent.id)), ("breaker", "scout-breaker"), ("pattern", str(pattern.id))]


@pytest.mark.parametrize("term", ["------", "a" * 60, "%", "\\", "'; --", "no such", "f" * 32])
def test_what_is_not_there_is_not_found(run, term):
    """Whatever is typed, the search answers."""
    assert found(term) == []


def test_reader_finds_what_the_reader_may_see(run, client):
    """Who may look at runs finds no agent; who may look at nothing finds nothing."""
    assert found("scout", may={"execution.view_run"}.__contains__) == []
    assert found("order-77", may=lambda _: False) == []
    assert [kind for kind, _ in found(str(run.id), may={"execution.view_run"}.__contains__)] == ["run"]


def test_address_of_an_id_leads_to_its_page(run, admin_client):
    """/admin/go/ID leads from any id that another tool shows to the page of what has it."""
    attempt = Attempt.objects.create(step_id=run.id, run_id=run.id, epoch=1, worker_id=ids.new())
    assert admin_client.get(f"/admin/go/{run.id}").url == f"/admin/execution/run/{run.id}/change/"
    assert admin_client.get(f"/admin/go/{attempt.id}").url == f"/admin/execution/attempt/{attempt.id}/change/"
    assert admin_client.get(f"/admin/go/{ids.new()}").status_code == 404


def test_address_of_an_id_is_for_who_may_see_it(run, client):
    """Who may not look at runs is led nowhere, and nobody without an account is."""
    assert client.get(f"/admin/go/{run.id}").url.startswith("/admin/login/")
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_agent"))
    client.force_login(user)
    assert client.get(f"/admin/go/{run.id}").status_code == 404


def test_palette_shows_what_is_found(run, admin_client):
    """The palette shows the run with its link."""
    page = admin_client.get("/admin/search/", {"s": "order-77", "extended": "1"})
    assert f"/admin/execution/run/{run.id}/change/" in page.text


def test_each_search_asks_a_bounded_number_of_times(run, django_assert_max_num_queries):
    """A kind is asked at most once for each way in which it can be found."""
    for search in gathered("SEARCHES"):
        for term in (str(run.id), str(run.id)[-12:], "scout"):
            with django_assert_max_num_queries(6):
                search.find(term)


def test_command_finds_and_says_so(run):
    """The command prints what the palette shows, as text and as one document."""
    out = StringIO()
    call_command("find", "order-77", stdout=out)
    assert str(run.id) in out.getvalue()
    out = StringIO()
    call_command("find", "order-77", "--json", stdout=out)
    (one,) = json.loads(out.getvalue())
    assert (one["kind"], one["key"], one["url"]) == ("run", str(run.id), f"/admin/execution/run/{run.id}/change/")
    out = StringIO()
    call_command("find", "nowhere", stdout=out)
    assert "Nothing has" in out.getvalue()
    with pytest.raises(CommandError, match="say what"):
        call_command("find", " ")


def test_run_whose_agent_is_gone_is_still_found(run):
    """A run outlives its agent, and is found all the same."""
    Run.objects.filter(pk=run.id).update(agent_id=ids.new())
    assert ("run", str(run.id)) in found("order-77")
