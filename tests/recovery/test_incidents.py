"""Incidents: opened once, answered by a run whose parts are done once, approved whenever, and ended by what was seen."""

import itertools
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from execution import records, runs
from execution.exceptions import NotPossible
from execution.models import Event, RecordHold, Run, Step, Verdict
from execution.workflows import catalog
from recovery import incidents, remedies
from recovery.exceptions import AlreadyDecided, NotFound
from recovery.models import Incident, IncidentEntry, IncidentState, Window
from tests.conftest import REPOSITORY
from tests.execution.test_commands import typed
from tests.hands import MARKS, side_by_side
from tests.recovery import incident_stage as stage
from tests.recovery.incident_stage import clean_slate  # noqa: F401 - a fixture

pytestmark = [*MARKS, pytest.mark.usefixtures("clean_slate")]


@pytest.fixture
def hands():
    """Perform steps in this process."""
    from tests.hands import Hands

    found = Hands()
    yield found
    found.close()


class TestOpening:
    """A grave snapshot, and a breach without one, open an incident once."""

    def test_many_failures_open_one(self):
        """A skill that fails for six runs is one window, one snapshot and one incident with a run; passes change nothing."""
        incident, _ = stage.opened()
        run = Run.objects.get(pk=incident.run_id)
        assert (incident.state, incident.severity, run.workflow) == ("open", "high", "incident")
        assert incident.snapshot_id == Window.objects.get().snapshot_id
        assert stage.timeline(incident) == ["opened", "snapshot"]
        stage.correlate(), stage.watch()
        assert (Incident.objects.count(), Run.objects.filter(workflow="incident").count()) == (1, 1)
        assert len(stage.told("incident.opened")) == 1
        assert RecordHold.objects.filter(name=f"incident:{incident.id}").count() == 1

    def test_few_failures_open_none(self):
        """A few failures of what nobody declared critical are told by a snapshot alone."""
        for number in range(3):
            stage.failed(ago=300 - number)
        stage.correlate(), stage.watch()
        assert (Window.objects.exclude(snapshot_id=None).count(), Incident.objects.count()) == (1, 0)

    def test_two_passes_side_by_side_open_one(self):
        """Two schedulers at once open one incident and one run."""
        for number in range(6):
            stage.failed(ago=300 - number)
        stage.correlate()
        side_by_side(*[incidents.watch] * 3)
        assert (Incident.objects.count(), Run.objects.filter(workflow="incident").count()) == (1, 1)

    def test_breach_without_snapshot_opens_after_a_minute(self):
        """A breach waits a minute for its snapshot, then opens one all the same, once; the snapshot is added later."""
        verdict = stage.breach()
        stage.watch(59)
        assert not Incident.objects.exists()
        side_by_side(*[lambda: stage.watch(61)] * 2)
        incident = Incident.objects.get()
        assert (incident.breach_id, incident.services, incident.snapshot_id) == (verdict.id, ["agent:scout"], None)
        assert stage.timeline(incident) == ["opened"]
        stage.correlate()
        stage.watch(200)
        incident.refresh_from_db()
        assert Incident.objects.count() == 1
        assert incident.snapshot_id == incident.window.snapshot_id is not None

    def test_breaches_of_one_window_are_one_incident(self):
        """Two breaches that belong together open one incident, also when the snapshot has not come yet."""
        for _ in range(2):
            stage.breach()
        stage.correlate(31)
        stage.watch(61), stage.watch(61)
        assert (Window.objects.count(), Incident.objects.count()) == (1, 1)

    def test_low_breach_with_snapshot_opens_too(self):
        """A breach opens an incident however mild it is, although such a window without one would not."""
        stage.breach(data={"severity": "low"})
        stage.correlate(), stage.watch(200)
        assert Incident.objects.get().severity == "low"


class TestGoingOn:
    """While an incident is open, what goes on about the same is a part of it."""

    def outage(self, *, ago=2700, lasts=2400, **options):
        """Let a skill fail every fifty seconds, for longer than a window lasts."""
        for second in range(0, lasts, 50):
            stage.failed(ago=ago - second, **options)
        stage.correlate()

    def test_outage_longer_than_a_window(self):
        """Forty minutes of failures are three windows and one incident, which is told of each once and holds its snapshot."""
        self.outage()
        for _ in range(2):
            stage.watch()
        incident = Incident.objects.get()
        assert Window.objects.exclude(snapshot_id=None).count() == 3
        assert stage.timeline(incident) == ["opened", "snapshot", "went_on", "went_on"]
        assert incident.window == Window.objects.earliest("started_at")
        assert [told["incident"] for told in stage.told("incident.went_on")] == [str(incident.id)] * 2
        held = RecordHold.objects.filter(name=f"incident:{incident.id}").values_list("record_id", flat=True)
        assert set(held) == set(Window.objects.values_list("snapshot_id", flat=True))
        incidents.close(incident, by="ann")
        stage.watch()
        assert (Incident.objects.count(), RecordHold.objects.count()) == (1, 0)

    def test_passes_side_by_side_take_in_once(self):
        """Two passes at once add each further window once."""
        self.outage()
        incidents.open_for_window(Window.objects.earliest("started_at"))
        side_by_side(*[incidents.watch] * 3)
        assert stage.timeline(Incident.objects.get()) == ["opened", "snapshot", "went_on", "went_on"]

    def test_it_grows_as_grave_as_its_gravest_window(self):
        """A further window that is worse, and reaches further, makes the incident so; where it began stays first."""
        incident, _ = stage.opened(ago=2000)
        began = incident.services
        for number in range(6):
            stage.failed(ago=300 - number)
        stage.correlate()
        Window.objects.unanswered().update(severity="critical", services=["a:new", *began])
        stage.watch()
        incident.refresh_from_db()
        assert (incident.severity, incident.services) == ("critical", [*began, "a:new"])

    def test_what_has_ended_takes_nothing_in(self):
        """After its end the same trouble is a new incident."""
        first, _ = stage.opened(ago=2000)
        incidents.close(first, by="ann")
        for number in range(6):
            stage.failed(ago=300 - number)
        stage.correlate(), stage.watch()
        assert Incident.objects.count() == 2

    def test_other_trouble_is_another_incident(self):
        """What begins elsewhere, and is not felt where the open one began, is none of its."""
        first, _ = stage.opened(ago=2000)
        for number in range(6):
            stage.failed("map.charge", ago=300 - number)
        stage.correlate(), stage.watch()
        second = Incident.objects.exclude(pk=first.pk).get()
        assert not set(first.services) & set(second.services)

    def test_further_breach_without_snapshot(self):
        """A breach of what an open incident is about is a line of it, once, and resting on the verdict."""
        first = stage.breach()
        stage.watch(61)
        incident = Incident.objects.get()
        second = stage.breach(data={"severity": "critical"})
        side_by_side(*[lambda: stage.watch(61)] * 3)
        for verdict in (first, second):
            incidents.open_for_breach(verdict)
        incident.refresh_from_db()
        (entry,) = incident.entries.filter(kind="went_on")
        assert (incident.breach_id, entry.verdict_id, incident.severity) == (first.id, second.id, "critical")
        assert (Incident.objects.count(), len(stage.told("incident.went_on"))) == (1, 1)


def test_shipped_workflow_is_right():
    """The definition passes every check, with the skills that it names; it is there by name without being registered."""
    assert "incident.yaml" in typed("workflow", "validate", str(REPOSITORY / "recovery" / "workflows"), "--strict")
    assert "incident" in catalog.names()
    assert catalog.find("incident").definition.needs["remediate"] == ("approve", "investigate")


class TestAnswering:
    """The run: triage, investigation beside telling, remediation, verification, telling."""

    def test_safe_action_is_done_without_asking(self, hands, monkeypatch):
        """An action of low risk that needs no approval is done, verified and told; the incident is resolved."""
        stage.with_retry(monkeypatch)
        stage.template()
        incident, broken = stage.opened()
        stage.play(hands, incident.run_id)
        assert stage.states(incident.run_id)["approve"] == "skipped"
        assert {Run.objects.get(pk=run.id).state for run in broken} == {"completed"}
        stage.watch()
        incident.refresh_from_db()
        assert incident.state == IncidentState.RESOLVED, list(incident.entries.values_list("text", flat=True))
        kinds = [kind for kind in stage.timeline(incident) if kind != "told"]
        assert kinds == ["opened", "snapshot", "triaged", "investigated", "remediated", "verified", "resolved"]
        assert [one["stage"] for one in stage.told("incident.told")] == ["began", "ended"]
        assert not RecordHold.objects.exists()

    def test_risky_action_waits_for_approval(self, hands, monkeypatch):
        """What needs an approval is not done until it is given; who gave it stands in the timeline and in the run's log."""
        stage.with_retry(monkeypatch)
        stage.template(needs_approval=True)
        incident, broken = stage.opened()
        stage.play(hands, incident.run_id)
        assert stage.states(incident.run_id)["remediate"] == "blocked"
        assert {Run.objects.get(pk=run.id).state for run in broken} == {"failed"}
        assert incidents.waits_for(incident)["plan"]["action"] == stage.RETRY
        incidents.approve(incident, by="ann", reason="the service is back")
        stage.play(hands, incident.run_id)
        stage.watch()
        incident.refresh_from_db()
        assert incident.state == "resolved"
        assert set(Event.objects.filter(kind="run.retried").values_list("data__by", flat=True)) == {"ann"}

    def test_refusal_leaves_it_to_a_person(self, hands, monkeypatch):
        """After a refusal nothing is done, the incident says so, and a person closes it."""
        stage.with_retry(monkeypatch)
        stage.template(risk="high")
        incident, broken = stage.opened()
        stage.play(hands, incident.run_id)
        incidents.refuse(incident, by="bob", reason="not now")
        stage.play(hands, incident.run_id)
        stage.watch()
        incident.refresh_from_db()
        assert (incident.state, stage.states(incident.run_id)["remediate"]) == ("failed", "skipped")
        assert {Run.objects.get(pk=run.id).state for run in broken} == {"failed"}
        assert incidents.close(incident, by="bob", reason="done by hand").state == "closed"

    def test_nothing_fits_asks_a_person(self, hands):
        """Without a template a person is asked to put it right, and approves when that is done."""
        incident, _ = stage.opened(kind="permanent")
        stage.play(hands, incident.run_id)
        assert incidents.waits_for(incident)["plan"]["action"] == "manual"
        incidents.approve(incident, by="ann")
        stage.play(hands, incident.run_id)
        stage.watch()
        assert Incident.objects.get().state == "resolved"

    def test_cool_down_asks(self, hands, monkeypatch):
        """What was done to the same runs within its cool-down is not done again without a person."""
        stage.with_retry(monkeypatch)
        stage.template(cooldown_seconds=600)
        incident, broken = stage.opened()
        earlier = Incident.objects.create(title="earlier")
        plan = {"action": stage.RETRY, "targets": [str(broken[0].id)]}
        incidents.note(earlier, "remediate", kind="remediated", text="done", data={"plan": plan})
        stage.play(hands, incident.run_id)
        assert "was done within" in incidents.waits_for(incident)["plan"]["why_asked"]
        IncidentEntry.objects.filter(incident=earlier).update(at=timezone.now() - timedelta(seconds=700))
        found = remedies.found_in(Window.objects.get())
        assert not remedies.plan(incident, found).needs_approval

    def test_failing_again_is_no_resolution(self, hands, monkeypatch):
        """Where the same fails after the remediation, the incident has failed, and says what was seen."""
        stage.with_retry(monkeypatch)
        stage.template()
        incident, _ = stage.opened()
        run_id, step = incident.run_id, "watch"
        while stage.states(run_id)[step] not in ("waiting", "ready"):
            for ready in Step.objects.filter(run_id=run_id, state="ready"):
                hands.perform(ready)
        stage.failed()
        stage.correlate(5)
        stage.play(hands, run_id)
        stage.watch()
        incident.refresh_from_db()
        assert (incident.state, stage.counted()) == ("failed", 14)
        assert "it still fails" in incident.entries.last().text

    def test_nothing_gone_well_is_no_resolution(self, hands, monkeypatch, settings):
        """Where what was retried neither completes nor fails in the step's time, nothing is known, and a person goes on."""
        settings.CELERIAC = settings.CELERIAC | {"incident_step_seconds": 0.1}
        stage.with_retry(monkeypatch)
        stage.template()
        incident, broken = stage.opened()
        monkeypatch.setattr(stage.hand.Hands, "perform", _but_not({run.id for run in broken}))
        stage.play(hands, incident.run_id, most=200)
        stage.watch()
        incident.refresh_from_db()
        assert incident.state == "failed"
        assert "0 of 6 runs completed" in incident.entries.last().text

    def test_runs_that_have_recovered_need_nothing(self, hands, monkeypatch):
        """A run that goes on already is not done anything to; that is no failure of the remediation."""
        stage.with_retry(monkeypatch)
        stage.template()
        incident, broken = stage.opened()
        Run.objects.filter(pk__in=[run.id for run in broken]).update(state="completed")
        stage.play(hands, incident.run_id)
        stage.watch()
        incident.refresh_from_db()
        assert incident.state == "resolved"
        assert "6 needed it no more" in incident.entries.get(key="remediate").text

    def test_verdicts_rest_on_each_other(self, hands, monkeypatch):
        """The first verdict rests on the breach and the snapshot, each next one on the one before; the lineage is whole."""
        stage.with_retry(monkeypatch)
        stage.template()
        breach = stage.breach("skill:tests.add")
        incident, _ = stage.opened(ago=20)
        stage.play(hands, incident.run_id)
        mine = {one.kind: one for one in Verdict.objects.filter(producer="recovery.incidents")}
        first = mine["incident_triaged"]
        assert {breach.id, incident.snapshot_id} <= set(first.parents)
        chain = ["incident_triaged", "incident_investigated", "incident_remediated", "incident_verified"]
        for earlier, after in itertools.pairwise(chain):
            assert mine[after].parents == [mine[earlier].id]
        last = Verdict.objects.filter(kind="incident_told").order_by("-id").first()
        assert breach in [one.record for one in records.ancestors(last)]

    def test_own_trouble_is_no_trouble(self, hands):
        """Neither the failing steps of incidents nor their verdicts are correlated: no incident is about an incident."""
        incident, _ = stage.opened(kind="permanent")
        stage.play(hands, incident.run_id)
        runs.refuse(incident.run_id, "approve", by="ann")
        stage.play(hands, incident.run_id)
        stage.correlate(2000), stage.watch(2000)
        assert (Window.objects.count(), Incident.objects.count()) == (1, 1)


def _but_not(left):
    """Return hands that leave these steps alone."""
    perform = stage.hand.Hands.perform
    return lambda self, step: perform(self, step) if step.id not in left else step


class TestOnce:
    """Each part is done once, whatever dies in between."""

    @pytest.mark.parametrize("name", ["triage", "investigate", "tell_began", "remediate", "verify", "tell_ended"])
    def test_part_is_done_once(self, hands, monkeypatch, name):
        """A process that dies after a part was written and before its step has ended does nothing a second time."""
        stage.with_retry(monkeypatch)
        stage.template()
        incident, _ = stage.opened()
        died = []

        def dying(ctx, key, part, make, *, parents):
            found = known(ctx, key, part, make, parents=parents)
            if part == name and not died:
                died.append(part)
                raise ConnectionError("the worker is gone")
            return found

        from recovery.workflows import incident as parts

        known = parts._once
        monkeypatch.setattr(parts, "_once", dying)
        stage.play(hands, incident.run_id)
        stage.watch()
        assert died == [name]
        assert Incident.objects.get().state == "resolved"
        kinds = list(Verdict.objects.filter(producer="recovery.incidents").values_list("kind", flat=True))
        assert sorted(kinds) == sorted(
            ["incident_triaged", "incident_investigated", "incident_told", "incident_remediated", "incident_verified",
             "incident_told"]
        )  # fmt: skip
        assert Event.objects.filter(kind="run.retried").exclude(run_id=incident.run_id).count() == 6
        assert len(stage.told("incident.told")) == 2

    def test_failing_investigation_fails_the_incident(self, hands, monkeypatch):
        """It is told, a person goes on, and a retry of the run opens the incident again and ends it well."""
        from recovery.workflows import incident as parts

        incident, _ = stage.opened(kind="permanent")
        monkeypatch.setattr(parts, "_found", lambda held: 1 / 0)
        stage.play(hands, incident.run_id)
        stage.watch()
        incident.refresh_from_db()
        assert (incident.state, Run.objects.get(pk=incident.run_id).state) == ("failed", "failed")
        assert "division by zero" in stage.told("incident.failed")[0]["text"]
        monkeypatch.undo()
        runs.retry(incident.run_id, by="ann")
        stage.watch()
        incident.refresh_from_db()
        assert incident.state == "open"
        stage.play(hands, incident.run_id)
        incidents.approve(incident, by="ann")
        stage.play(hands, incident.run_id)
        stage.watch()
        assert Incident.objects.get().state == "resolved"

    def test_failing_telling_fails_nothing(self, hands, monkeypatch):
        """That nobody could be told stops neither the remediation nor the incident."""
        stage.with_retry(monkeypatch)
        stage.template()
        incident, _ = stage.opened()
        monkeypatch.setattr(incidents, "tell", lambda kind, held, **more: 1 / 0 if kind == "incident.told" else None)
        stage.play(hands, incident.run_id)
        found = stage.states(incident.run_id)
        assert (found["tell_begin"], found["tell_end"], found["verify"]) == ("failed", "failed", "completed")
        stage.watch()
        assert Incident.objects.get().state == "resolved"

    def test_every_step_has_ninety_seconds(self):
        """Each part's step is bounded in time; gates wait as long as it takes."""
        incident, _ = stage.opened()
        boxes = {step.name: step.options.get("timebox") for step in Step.objects.filter(run_id=incident.run_id)}
        parts = ("triage", "investigate", "tell_begin", "remediate", "verify", "tell_end")
        assert [boxes[name] for name in parts] == [90.0] * 6
        assert boxes["approve"] is None


class TestPeople:
    """What a person does, and what they see."""

    def test_decision_once(self, hands):
        """The second decision is refused, and so is one about an incident that has ended."""
        incident, _ = stage.opened(kind="permanent")
        stage.play(hands, incident.run_id)
        incidents.approve(incident, by="ann")
        stage.play(hands, incident.run_id)
        with pytest.raises(NotPossible, match="nothing is to be decided"):
            incidents.approve(incident, by="bob")
        incidents.close(incident, by="ann")
        with pytest.raises(AlreadyDecided, match="closed"):
            incidents.refuse(incident, by="bob")

    def test_closing_cancels_the_run(self):
        """An incident that is closed by hand leaves no run behind that waits for ever."""
        incident, _ = stage.opened()
        incidents.close(incident, by="ann", reason="a drill")
        assert Run.objects.get(pk=incident.run_id).state == "cancelled"
        stage.watch()
        assert Incident.objects.get().state == "closed"

    def test_working_set_is_left_after_a_day(self):
        """What ended a day ago is not listed any more; its rows stay."""
        incident, _ = stage.opened()
        incidents.close(incident, by="ann")
        assert Incident.objects.current().count() == 1
        Incident.objects.update(ended_at=timezone.now() - timedelta(hours=25))
        assert (Incident.objects.current().count(), Incident.objects.count()) == (0, 1)
        assert incident.entries.count() >= 3

    def test_unknown_incident(self):
        """It is said how to find them."""
        with pytest.raises(NotFound, match="incidents list"):
            incidents.get(uuid.uuid4())
