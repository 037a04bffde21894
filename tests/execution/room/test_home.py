"""The home page: what its panels read, how often they ask, who sees which, and that no server holds it up."""

import threading
import time
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from execution import breakers, runs
from execution.doctor import findings
from execution.models import Agent, CycleState, Run, Step
from execution.room import home, servers
from execution.room.panels import agents, health, held, now, persons, spending, waiting
from recovery import room as recovery_room
from recovery.models import FailureMatch, FailurePattern
from tests import skills

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def started():
    """Return a verb that starts runs and puts them, with their step, into a state."""

    def start(count, state, *, step_state="waiting", reason="timer"):
        found = [runs.start(skills.add, {"left": number}) for number in range(count)]
        keys = [run.id for run in found]
        Run.objects.filter(pk__in=keys).update(state=state, waiting=reason if state == "parked" else "")
        Step.objects.filter(pk__in=keys).update(state=step_state, waiting=reason)
        return found

    return start


@pytest.fixture
def request_of(rf):
    """Return a verb that makes a request of somebody with these permissions."""

    def make(*codenames):
        user = User.objects.create_user(f"user-{uuid.uuid4()}", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        request = rf.get("/admin/")
        request.user = user
        return request

    return make


def test_home_asks_a_pinned_number_of_times(started, admin_client, django_assert_num_queries):
    """However much there is, the page asks as often."""
    started(3, "running")
    started(3, "parked", reason="budget")
    admin_client.get("/admin/")
    with django_assert_num_queries(QUERIES):
        admin_client.get("/admin/")
    started(20, "running", reason="signal")
    Agent.objects.bulk_create(Agent(name=f"agent-{number}", budget_cost=1) for number in range(30))
    # So many agents are not named.
    with django_assert_num_queries(QUERIES - 1):
        admin_client.get("/admin/")


QUERIES = 27


def test_part_of_home_reads_its_own_panels_alone(started, admin_client, django_assert_max_num_queries):
    """What refreshes once a minute asks only for its own."""
    started(1, "running")
    with django_assert_max_num_queries(4):
        page = admin_client.get("/admin/?part=live-1")
    assert 'id="panel-trend"' in page.text
    assert 'id="panel-now"' not in page.text


def test_reader_sees_the_panels_that_the_reader_may(request_of):
    """Who may look at agents alone sees no run, and who may look at nothing sees no panel that tells of something."""
    shown = [panel["name"] for part in home.context(request_of("view_agent"))["parts"] for panel in part["panels"]]
    assert shown == ["persons", "spending", "agents"]


def test_figures_count_each_state(started, rf):
    """Each state of runs has its number, its list and what else is to be said."""
    started(2, "running")
    started(1, "running", step_state="ready", reason="capacity")
    started(3, "failed", step_state="failed")
    found = {figure.title: figure for figure in now.read(rf.get("/"))["figures"]}
    assert {title: figure.value for title, figure in found.items()} == {
        "Running": "3", "Not begun": "0", "Parked": "0", "Paused": "0", "Failed": "3",
    }  # fmt: skip
    assert found["Failed"].url.endswith("?state__exact=failed")
    assert found["Not begun"].note == "1 step for the next free worker"


def test_figures_of_an_empty_ledger(rf):
    """Where nothing ever ran there is no figure: the page says what to do."""
    assert now.read(rf.get("/")) == {"figures": []}


def test_count_beyond_the_bound_says_so():
    """What was not counted further is said with a plus."""
    assert (now.bounded(9_999), now.bounded(10_000)) == ("9,999", "10,000+")


def test_waiting_tells_each_reason_in_words(started, rf):
    """Runs are counted by what they wait for, single ones and graphs alike, a run once for each reason."""
    started(3, "running", reason="timer")
    started(1, "parked", step_state="parked", reason="budget")
    graph = started(1, "running", step_state="completed")[0]
    for number in range(4):
        Step.objects.create(
            run_id=graph.id, agent_id=graph.agent_id, name=str(number), skill="x", state="waiting", waiting="signal"
        )
    found = waiting.read(rf.get("/"))
    assert [(row["name"], row["count"], row["percent"]) for row in found["reasons"]] == [
        ("timer", 3, 100), ("budget", 1, 33), ("signal", 1, 33),
    ]  # fmt: skip
    assert set(waiting.IN_WORDS) == set(dict(Step._meta.get_field("waiting").choices))


def test_waiting_looks_at_the_newest_only(started, rf, monkeypatch):
    """Of more runs than are looked at, the newest tell, and the panel says that they are a part."""
    started(2, "running", reason="timer")
    monkeypatch.setattr(waiting, "LOOKED_AT_MOST", 8)
    started(2, "running", reason="signal")
    found = waiting.read(rf.get("/"))
    assert [(row["name"], row["count"]) for row in found["reasons"]] == [("signal", 2)]
    assert found["is_part"]


def test_persons_are_told_what_waits_for_them(started, request_of):
    """What the inbox holds is counted by kind, for who may see it, with the way to decide it."""
    started(2, "parked", step_state="parked", reason="budget")
    (kind,) = persons.read(request_of("view_run", "view_step"))["kinds"]
    assert (kind["said"], kind["url"]) == ("2", "/admin/inbox/?kind=budget")
    assert persons.read(request_of())["kinds"] == []


def test_spending_shows_the_budgets_that_are_nearest_to_their_end(rf):
    """The agent with the least left comes first, in money or in tokens; one without a budget is left out."""
    Agent.objects.create(name="half", budget_cost=10, spent_cost=4, reserved_cost=1)
    Agent.objects.create(name="gone", budget_tokens=100, spent_tokens=150)
    Agent.objects.create(name="free")
    found = spending.read(rf.get("/"))
    assert [(row["agent"].name, row["percent"], row["is_over"]) for row in found["budgets"]] == [
        ("gone", 100, True), ("half", 50, False),
    ]  # fmt: skip
    assert found["today"] is None


def test_agents_are_named_while_they_are_few(rf):
    """Few agents stand by name beside their level; of many there are counts."""
    Agent.objects.create(name="scout", level=2)
    found = agents.read(rf.get("/"))
    assert [[agent.name for agent in level["agents"]] for level in found["levels"]] == [[], [], ["scout"], [], []]
    Agent.objects.bulk_create(Agent(name=f"agent-{number}", level=1) for number in range(9))
    found = agents.read(rf.get("/"))
    assert [(level["count"], level["agents"]) for level in found["levels"]][3] == (9, [])


def test_held_shows_open_breakers_and_nothing_without(rf):
    """A breaker that is open stands on the page; where all are closed there is no panel."""
    assert held.read(rf.get("/")) is None
    breakers.trip("pay.charge")
    assert [breaker.name for breaker in held.read(rf.get("/"))["breakers"]] == ["pay.charge"]


def test_failures_of_today_by_pattern(started, rf):
    """Today's failures are counted by their pattern and without; yesterday's are not."""
    (run,) = started(1, "failed", step_state="failed")
    kind = {"fingerprint": "f", "fingerprint_version": 1}
    pattern = FailurePattern.objects.create(name="lost", category="transient", **kind)
    for days, known in ((0, pattern), (0, pattern), (0, None), (2, pattern)):
        FailureMatch.objects.create(
            attempt_id=uuid.uuid4(), step_id=run.id, run_id=run.id, agent_id=run.agent_id, skill="x", ending="failed",
            error_kind="transient", pattern=known, failed_at=timezone.now() - timedelta(days=days), **kind,
        )  # fmt: skip
    found = recovery_room.failures(rf.get("/"))
    assert [(row["pattern"], row["count"]) for row in found["patterns"]] == [(pattern, 2), (None, 1)]


def lines(rf):
    """Return the state of each part of the machinery."""
    return {line["title"]: (line["state"], line["text"]) for line in health.read(rf.get("/"))["lines"]}


def test_health_tells_of_beat_and_of_a_cycle_that_fails(rf):
    """Beat is silent when nothing it starts was done for minutes; a pass that failed is named."""
    assert lines(rf)["Beat"] == ("warning", "beat has never started anything")
    CycleState.objects.create(name="execution.trends", ticked_at=timezone.now(), last_error="broken")
    assert lines(rf)["Beat"][0] == "healthy"
    assert lines(rf)["Cycles"] == ("failed", "the last pass failed of execution.trends")
    CycleState.objects.update(ticked_at=timezone.now() - timedelta(minutes=10))
    assert lines(rf)["Beat"][0] == "failed"


def test_server_that_hangs_holds_no_page_up(rf, monkeypatch):
    """While the broker does not answer, a page waits for a fraction of a second, and says so in the end."""
    let_go, asked = threading.Event(), []

    def hang():
        asked.append(1)
        let_go.wait(20)
        return [findings.ok("broker.reachable", "there")]

    watch = servers.Watch(looks=hang)
    monkeypatch.setattr(servers, "WATCH", watch)
    began = time.monotonic()
    assert "Broker" not in lines(rf)
    watch.asked_at -= servers.SILENT_SECONDS
    assert lines(rf)["Servers"][0] == "failed"
    assert time.monotonic() - began < 5
    let_go.set()
    deadline = time.monotonic() + 10
    while "Broker" not in lines(rf) and time.monotonic() < deadline:
        pass
    assert lines(rf)["Broker"] == ("healthy", "there")
    assert len(asked) == 1


def test_servers_are_asked_again_when_the_answer_is_old():
    """An answer serves for some seconds; then the servers are asked anew, and no page waits for it."""
    asked = []
    watch = servers.Watch(looks=lambda: [findings.ok("broker.reachable", str(asked.append(1) or len(asked)))])
    assert [watch.findings()[0].text for _ in range(3)] == ["1", "1", "1"]
    watch.heard_at -= servers.FRESH_SECONDS
    deadline = time.monotonic() + 10
    while watch.findings()[0].text != "2" and time.monotonic() < deadline:
        pass
    assert watch.findings()[0].text == "2"
