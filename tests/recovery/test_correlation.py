"""Correlation: what the log tells becomes windows and snapshots, once, whatever dies in between and however it is late."""

import os
import subprocess
import sys
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from execution import records, runs, services, tunables, workflows
from execution.models import Assessment, Event, EventReader, RecordParent, Run
from execution.services import Declaration
from execution.workflows import catalog
from recovery import advice, correlation, occurrences, summaries
from recovery.advice import Advice
from recovery.models import Incident, Occurrence, Window
from tests import topology_skills as _skills  # noqa: F401 - registers them
from tests.hands import MARKS, side_by_side
from tests.recovery import incident_stage as stage
from tests.recovery.incident_stage import clean_slate  # noqa: F401 - a fixture
from tests.workers import REPOSITORY, test_environment

pytestmark = [*MARKS, pytest.mark.usefixtures("clean_slate")]


# Lets the cycle pass again and again, a few events at a time, in children that are killed wherever they are.
PASSING = """
import os, random, signal, time
import django; django.setup()
from datetime import timedelta
from django.utils import timezone
from recovery import correlation
correlation._BATCH, correlation._PASS_SECONDS = 10, -1
chance = random.Random(7)
for _ in range(15):
    child = os.fork()
    while child == 0:
        correlation.correlate(now=timezone.now() + timedelta(seconds=200))
    time.sleep(chance.uniform(0.2, 1.2))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    print("killed")
"""


def snapshots():
    """Return the snapshots that were made, in order."""
    return list(Assessment.objects.filter(kind="correlation_snapshot").order_by("id"))


class TestReading:
    """What counts as an occurrence, and where it belongs."""

    def test_failures_of_a_service(self):
        """A skill that calls one critical service tells of that service, and is grave."""
        services.declare("payments", Declaration(tier="critical"))
        stage.failed("map.charge", ago=100)
        stage.correlate()
        window = Window.objects.get()
        assert window.services == ["service:payments", "skill:map.charge"]
        assert (window.counts, window.severity) == ({"run.failed": 1, "step.failed": 1}, "high")
        assert [one["node"] for one in window.details["affected"]] == ["service:payments", "skill:map.charge"]
        assert snapshots()[0].subject == "service:payments"

    @pytest.mark.parametrize(("tier", "severity"), [("critical", "critical"), ("standard", "high"), ("low", "low")])
    def test_breaker_is_as_grave_as_its_service(self, tier, severity):
        """An opened breaker is grave; for a service for which nobody is woken it is not."""
        services.declare("payments", Declaration(tier=tier))
        stage.event("breaker.opened", {"breaker": "map.charge", "failures": 5}, ago=100)
        stage.correlate()
        assert Window.objects.get().severity == severity

    def test_records_count_and_are_parents(self):
        """Verdicts that do not approve, drift and divergence count, and the snapshot rests on them."""
        bad = stage.breach()
        drift = records.assess("drift_signal", subject="agent:scout", producer="tests", data={"severity": "high"})
        records.judge("review", subject="agent:scout", action="approve", producer="tests")
        records.assess("slo_status", subject="agent:scout", producer="tests")
        records.assess("contract_divergence", subject="agent:scout", producer="tests", data={"is_off": False})
        stage.correlate()
        window = Window.objects.get()
        assert window.counts == {"assessment.drift_signal": 1, "verdict.quality_breach": 1}
        edges = RecordParent.objects.filter(record_id=snapshots()[0].id).values_list("parent_id", flat=True)
        assert set(edges) == {bad.id, drift.id}

    def test_changes_are_suspects(self):
        """A new definition, a service declared anew and a tunable set within half an hour before are suspected, the latest first."""
        catalog.register(workflows.read("name: shop\nsteps: {pay: {skill: map.charge}}"))
        services.declare("payments", Declaration(tier="low"), by="ann")
        tunables.tune("retries.cap", 5, subject="map.charge", by="bob")
        catalog.register(workflows.read("name: elsewhere\nsteps: {add: {skill: tests.add}}"))
        Event.objects.update(at=F("at") - timedelta(minutes=20))
        stage.failed("map.charge", ago=10)
        stage.correlate()
        found = Window.objects.get().details["suspects"]
        assert [one["kind"] for one in found] == ["tunable.set", "service.declared", "workflow.registered"]
        assert [one["by"] for one in found] == ["bob", "ann", ""]
        assert "shop" in found[2]["text"]

    def test_old_change_is_no_suspect(self):
        """What was changed 31 minutes before is not suspected."""
        services.declare("payments", Declaration())
        Event.objects.update(at=timezone.now() - timedelta(minutes=31))
        stage.failed("map.charge", ago=0)
        stage.correlate()
        assert Window.objects.get().details["suspects"] == []

    def test_new_version_of_a_skill_is_a_change(self):
        """A skill that is performed in another version than before is suspected; the first version is no change."""
        for version, ago in (("1", 500), ("2", 60), ("2", 50)):
            stage.failed(version=version, ago=ago)
            stage.correlate(-20)
        stage.correlate()
        found = Window.objects.order_by("started_at").last().details["suspects"]
        assert [one["text"] for one in found] == ["tests.add is 2 now"]

    def test_changes_alone_are_no_window(self):
        """A deploy after which nothing fails leaves neither window nor snapshot behind."""
        services.declare("payments", Declaration())
        stage.correlate(), stage.correlate(400)
        assert (Window.objects.count(), len(snapshots())) == (0, 0)

    def test_forgotten_in_time(self):
        """Occurrences are removed once they are folded, and changes once no window can begin after them any more."""
        services.declare("payments", Declaration())
        stage.failed()
        stage.correlate()
        assert list(Occurrence.objects.values_list("is_change", flat=True)) == [True]
        stage.failed()
        stage.correlate(4000)
        stage.failed()
        stage.correlate(8000)
        assert not Occurrence.objects.exists()

    def test_late_commit_is_read(self):
        """What was written before and committed after a pass is read by the next one: nothing is skipped."""
        import threading

        written, may_commit = threading.Event(), threading.Event()

        def slow():
            with transaction.atomic():
                stage.breach("agent:slow")
                written.set()
                may_commit.wait(20)

        def passes():
            written.wait(20)
            stage.breach("agent:quick")
            stage.correlate(0)
            assert stage.counted() == 1
            may_commit.set()

        side_by_side(slow, passes)
        stage.correlate()
        assert sorted(Window.objects.values_list("services", flat=True)) == [["agent:quick"], ["agent:slow"]]

    def test_history_is_no_trouble(self):
        """What failed long before correlation was there opens nothing; what fails from then on is read, however late."""
        stage.failed(ago=4000)
        stage.correlate(0)
        assert stage.counted() == 0
        stage.failed(ago=3000)
        stage.correlate()
        assert stage.counted() == 2


class TestTelling:
    """The snapshot and its summary."""

    def test_template_tells_what_is_known(self):
        """Without a model the summary says how much, where, by which error, and what was changed."""
        services.declare("payments", Declaration(), by="ann")
        for _ in range(3):
            stage.failed("map.charge", message="the till is on fire")
        stage.correlate()
        data = snapshots()[0].data
        assert data["summary_by"] == "template"
        for part in ("3 failed runs", "service:payments", "the till is on fire", "payments is declared"):
            assert part in data["summary"]

    def test_model_tells_where_one_is_configured(self, settings, monkeypatch):
        """The model's words are taken, and whose they are is kept."""
        settings.CELERIAC = settings.CELERIAC | {"model": "test:tiny"}
        monkeypatch.setattr(
            advice, "ask",
            lambda question, answer, **_: Advice(answer=answer(text="All is lost."), model="tiny", cost=0, prompt_version="1"),
        )  # fmt: skip
        stage.failed()
        stage.correlate()
        assert (snapshots()[0].data["summary"], snapshots()[0].data["summary_by"]) == ("All is lost.", "tiny")

    @pytest.mark.parametrize("fault", ["hangs", "raises", "is silent"])
    def test_model_holds_nothing_up(self, settings, monkeypatch, fault):
        """A model that hangs, raises or says nothing is not waited for: the template speaks; no transaction is open."""
        import threading

        settings.CELERIAC = settings.CELERIAC | {"model": "test:tiny"}
        monkeypatch.setattr(summaries, "_SECONDS", 0.2)
        hung, blocks = threading.Event(), []

        def ask(*_, **__):
            blocks.append(connection.in_atomic_block)
            if fault == "hangs":
                hung.wait(10)
            if fault == "raises":
                raise ConnectionError("no model")

        monkeypatch.setattr(advice, "ask", ask)
        stage.failed()
        stage.correlate()
        hung.set()
        assert snapshots()[0].data["summary_by"] == "template"
        assert blocks == [False]


class TestOnce:
    """Nothing is lost and nothing doubled."""

    def test_passes_side_by_side(self):
        """Three passes at once read each event once and make one snapshot a window."""
        for number in range(20):
            stage.failed(ago=300 - number)
        side_by_side(*[stage.correlate] * 3)
        stage.correlate()
        assert (stage.counted(), len(snapshots()), Window.objects.count()) == (40, 1, 1)

    def test_pass_that_fails_changes_nothing(self, monkeypatch):
        """An error in the middle of a pass leaves cursor, occurrences and windows as they were."""
        stage.failed(ago=100)
        stage.correlate(-200)
        before = EventReader.objects.get(name=correlation.READER).cursor
        stage.failed(ago=100)
        monkeypatch.setattr(correlation, "_store", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            stage.correlate()
        assert EventReader.objects.get(name=correlation.READER).cursor == before
        assert (Occurrence.objects.count(), Window.objects.count()) == (2, 0)

    def test_snapshot_that_cannot_be_made_holds_up_no_other(self, monkeypatch):
        """A window that nothing can be said of is tried at each pass, and the windows behind it have their snapshots."""
        assessed, bad = correlation._assessed, []

        def refuse_the_first(window, *told):
            bad[:] = bad or [window.pk]
            return 1 / 0 if window.pk in bad else assessed(window, *told)

        stage.failed(ago=1000)
        stage.failed(ago=100)
        with monkeypatch.context() as broken:
            broken.setattr(correlation, "_assessed", refuse_the_first)
            stage.correlate()
        assert len(snapshots()) == 1
        assert list(Window.objects.filter(snapshot_id=None).values_list("pk", flat=True)) == bad
        stage.correlate()
        assert len(snapshots()) == 2

    def test_backlog_is_one_window(self, monkeypatch):
        """After a pause a backlog of many batches is folded as if it had been read in time."""
        monkeypatch.setattr(correlation, "_BATCH", 7)
        monkeypatch.setattr(correlation, "_PASS_SECONDS", -1)
        for number in range(20):
            stage.failed(ago=3000 - number * 50)
        for _ in range(20):
            stage.correlate()
        spans = [(one.last_at - one.started_at).total_seconds() for one in Window.objects.order_by("started_at")]
        assert stage.counted() == 40
        assert [round(one, -1) for one in spans] == [850, 50]

    @pytest.mark.slow
    def test_kill_anywhere(self):
        """Passes that are killed at any moment lose nothing and double nothing; the windows are those of a calm night."""
        for number in range(150):
            skill = ("tests.add", "map.charge", "map.order")[number % 3]
            stage.failed(skill, ago=3000 - number * 10)
        breeder = subprocess.run(
            [sys.executable, "-c", PASSING], cwd=REPOSITORY, env=os.environ | test_environment(), check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        assert breeder.stdout.split() == ["killed"] * 15
        while stage.correlate():
            pass
        assert stage.counted() == 300
        assert sorted(sum(one.data["counts"].values()) for one in snapshots()) == [40] * 3 + [60] * 3
        assert {one.data["window"] for one in snapshots()} == {str(one.id) for one in Window.objects.all()}


def test_window_that_is_absorbed_hands_its_incident_over():
    """Where a later event connects two windows, the incident about the one is about the whole."""
    stage.breach("agent:a")
    stage.correlate(31)
    stage.watch(61)
    incident = Incident.objects.get()
    before = incident.window_id
    other = Window.objects.create(
        services=["agent:b"], started_at=timezone.now() - timedelta(seconds=20), last_at=timezone.now(), counts={"x": 1},
        details={"first": {"agent:b": "0"}},
    )  # fmt: skip
    stage.event("step.failed", {}, ago=0)
    Occurrence.objects.create(id=stage.some_id(), at=timezone.now(), kind="step.failed", nodes=["agent:a", "agent:b"])
    stage.correlate(45)
    incident.refresh_from_db()
    assert (Window.objects.filter(details__has_key="first").exclude(details__first={}).count(), incident.window_id) == (
        1,
        other.id,
    )
    assert before != other.id


def test_reading_is_no_query_a_event():
    """What a batch needs is looked up for the batch."""
    for _ in range(3):
        stage.failed()
    few = _queries()
    for _ in range(30):
        stage.failed()
    assert _queries() <= few + 2


def _queries():
    from django.test.utils import CaptureQueriesContext

    found = list(Event.objects.order_by("id"))
    with CaptureQueriesContext(connection) as seen:
        occurrences.Reading({}).of(found)
    return len(seen)


def test_run_of_a_workflow_is_its_node():
    """A failed run of a workflow is told of the workflow, one of a single skill of the skill."""
    catalog.register(workflows.read("name: shop\nsteps: {pay: {skill: map.charge}}"))
    run = runs.start("tests.add", {"left": 1})
    Run.objects.filter(pk=run.id).update(workflow="shop")
    stage.event("run.failed", {"workflow": "shop"}, ago=5, run=run.id, agent=run.agent_id)
    stage.correlate()
    assert "workflow:shop" in Window.objects.get().services
