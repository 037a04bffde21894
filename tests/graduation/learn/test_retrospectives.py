"""Retrospectives: once per source, each recommendation with its evidence, and nothing changes without a person."""

from datetime import timedelta

import pytest
from django.utils import timezone

from execution import records, services, tunables
from execution.exceptions import NotAllowed, OptionInvalid
from execution.models import Agent, Assessment, Event, RecordHold, Service, ServiceDependency, Tunable
from graduation.exceptions import EnvelopeRejected
from graduation.learn import outcomes, recommendations, recommending, retrospectives
from graduation.learn.recommending import Trouble
from graduation.models import Bucket, Envelope, Objective, ObjectiveState, Recommendation, Retrospective
from recovery import incidents
from recovery.exceptions import AlreadyDecided, NotFound
from recovery.models import Incident, Window
from tests.execution.test_commands import document, refused, typed
from tests.hands import MARKS, side_by_side
from tests.people import person
from tests.recovery import incident_stage as stage
from tests.recovery.incident_stage import clean_slate  # noqa: F401 - a fixture

pytestmark = [*MARKS, pytest.mark.usefixtures("clean_slate")]

START = timezone.now() - timedelta(minutes=10)


@pytest.fixture(autouse=True)
def _forget(clean_slate):  # noqa: F811 - the fixture
    for name in ("ann", "bob", "eve"):
        person(name)
    tunables.forget()
    yield
    tunables.forget()


def trouble(*nodes, **more):
    """Return trouble with these nodes, one after the other."""
    first = {node: (START + timedelta(seconds=number)).isoformat() for number, node in enumerate(nodes)}
    return Trouble(nodes=nodes, start=START, end=timezone.now(), first_at=first, **more)


def objective(name="pay", *, target=0.99, good=99_990, total=100_000, standing="healthy", **more):
    """Have an objective of the service payments that stands somewhere."""
    row = Objective.objects.create(name=name, subject="service:payments", service="payments", target=target, **more)
    ObjectiveState.objects.create(objective=row, standing=standing)
    Bucket.objects.create(objective=row, minute=START - timedelta(days=1), good=good, total=total)
    return row


def recommended(kind="tighten_objective", change=None, **more):
    """Write a recommendation as a retrospective does."""
    made = records.assess("retrospective", subject="service:payments", producer="tests")
    about = {"key": f"{kind}:x", "text": "do it", "evidence": {"n": 1}} | more
    row = Recommendation.objects.create(retrospective_id=made.id, kind=kind, change=change or {}, **about)
    records.hold(made, f"recommendation:{row.pk}")
    return row


def closed(**options):
    """Let something fail and its incident be closed; return the incident."""
    incident, _ = stage.opened(**options)
    incidents.close(incident, by="ann", reason="fixed by hand")
    return Incident.objects.get(pk=incident.pk)


class TestLookingBack:
    def test_incident_once(self):
        """A closed incident has one retrospective, whoever passes how often, and an open one has none."""
        incident, _ = stage.opened()
        assert retrospectives.look_back() == 0
        incidents.close(incident, by="ann", reason="fixed")
        side_by_side(*[retrospectives.look_back] * 3)
        assert retrospectives.look_back() == 0
        made = Assessment.objects.get(kind="retrospective")
        assert Retrospective.objects.get().assessment_id == made.id
        data = made.data
        assert (data["source"], data["state"], data["duration_seconds"] > 0) == (
            f"incident:{incident.pk}",
            "closed",
            True,
        )
        assert [one["kind"] for one in data["timeline"]][:2] == ["opened", "snapshot"]
        assert data["cause"]
        assert incident.snapshot_id in made.parents
        assert {one["node"] for one in data["blast_radius"]} >= {"skill:tests.add"}

    def test_failed_incident_waits_for_who_goes_on(self):
        """An incident that failed is looked back on after a day, because its run may be retried."""
        incident = closed()
        Incident.objects.update(state="failed", ended_at=timezone.now())
        assert retrospectives.look_back() == 0
        Incident.objects.update(ended_at=timezone.now() - timedelta(hours=25))
        assert retrospectives.look_back() == 1
        assert Retrospective.objects.get().source == f"incident:{incident.pk}"

    def test_snapshot_without_incident(self):
        """A snapshot about which no incident was opened is looked back on, once, after a while."""
        for number in range(3):
            stage.failed(ago=300 - number)
        stage.correlate()
        assert retrospectives.look_back() == 0
        window = Window.objects.get()
        aged_snapshot(window.snapshot_id)
        assert (retrospectives.look_back(), retrospectives.look_back()) == (1, 0)
        assert Retrospective.objects.get().source == f"snapshot:{window.snapshot_id}"

    def test_snapshot_that_an_incident_has_taken_in(self):
        """What an incident has taken in is looked back on with it: its snapshot is rested on, and has no look of its own."""
        incident, _ = stage.opened(ago=2000)
        for number in range(6):
            stage.failed(ago=300 - number)
        stage.correlate(), stage.watch()
        taken = Window.objects.taken_in_by(incident).get().snapshot_id
        aged_snapshot(taken)
        assert retrospectives.look_back() == 0
        incidents.close(incident, by="ann", reason="fixed")
        assert (retrospectives.look_back(), retrospectives.look_back()) == (1, 0)
        assert {incident.snapshot_id, taken} <= set(Assessment.objects.get(kind="retrospective").parents)

    def test_decisions_and_how_many_are_known(self):
        """It counts the decisions about what was affected, and of how many it is known what became of them."""
        incident, _ = stage.opened()
        decisions = [
            records.judge("review", subject="skill:tests.add", action="approve", producer="t") for _ in range(4)
        ]
        outcomes.truth(decisions[0], 1, source="t")
        incidents.close(incident, by="ann", reason="fixed")
        retrospectives.look_back()
        data = Assessment.objects.get(kind="retrospective").data
        assert data["decisions_affected"] == 4
        assert data["outcome_coverage"] == {"known": 1, "total": 4, "share": 0.25}

    def test_one_that_fails_stops_no_other(self, monkeypatch):
        """What goes wrong with one source is told, leaves nothing, and is tried again."""
        closed()
        work = recommending.recommend
        monkeypatch.setattr(recommending, "recommend", lambda _: 1 / 0)
        assert retrospectives.look_back() == 0
        assert not Retrospective.objects.exists()
        monkeypatch.setattr(recommending, "recommend", work)
        assert retrospectives.look_back() == 1

    def test_recommendations_of_a_storm(self):
        """Transient failures of a skill recommend a longer wait, with the evidence; nothing is changed by that."""
        closed()
        retrospectives.look_back()
        row = Recommendation.objects.get()
        assert (row.kind, row.state, row.change["subject"]) == ("change_retry_policy", "open", "tests.add")
        assert row.evidence["transient_errors"] >= 5
        assert not Tunable.objects.exists()
        assert RecordHold.objects.filter(name=f"recommendation:{row.pk}", record_id=row.retrospective_id).exists()


def aged_snapshot(key):
    """Let a snapshot be some minutes old."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE execution_assessment DISABLE TRIGGER USER")
        cursor.execute(
            "UPDATE execution_assessment SET created_at = created_at - interval '5 minutes' WHERE id = %s", [key]
        )
        cursor.execute("ALTER TABLE execution_assessment ENABLE TRIGGER USER")


class TestRules:
    def test_blind_objective_is_tightened(self):
        """An objective that stood healthy all the while and does far better than it must is recommended tighter."""
        objective()
        advised = recommending.recommend(trouble("service:payments"))
        assert [(one.kind, one.change["to"]) for one in advised] == [("tighten_objective", 0.995)]
        assert advised[0].evidence == {"good": 99_990, "total": 100_000, "days": 30, "standing": "healthy"}

    @pytest.mark.parametrize(
        "given",
        [
            {"standing": "exhausted"},
            {"good": 99_000},
            {"good": 50, "total": 50},
            {"is_enabled": False},
            {"target": 0.99999},
        ],
    )
    def test_objective_is_left(self, given):
        """One that saw it, hardly keeps its target, has few counts, is off, or is tight already is left as it is."""
        objective(**given)
        assert not recommending.recommend(trouble("service:payments"))

    def test_tighter_or_nothing(self):
        """Over the whole range of targets and of what is attained, what is recommended is tighter, and attainable."""
        for target in [number / 50 for number in range(51)] + [0.999, 0.9999, 0.9999999]:
            for attained in [number / 50 for number in range(51)] + [0.999, 0.99999, 1.0]:
                wanted = recommending.tightened(target, attained)
                assert wanted is None or target < wanted < 1
                assert wanted is None or wanted <= attained or attained == 1

    def test_gate_where_a_change_went_before(self):
        """A service that failed after a change, and whose gate nobody asks, is recommended a gate."""
        Service.objects.create(name="payments", tier="critical")
        change = {"at": START.isoformat(), "kind": "workflow.registered", "nodes": ["service:payments"]}
        advised = recommending.recommend(trouble("service:payments", suspects=(change,)))
        assert [(one.kind, one.change["service"]) for one in advised] == [("add_gate", "payments")]
        assert advised[0].evidence["changes"] == [change]
        assert not recommending.recommend(trouble("service:payments"))

    def test_dependency_that_nobody_declared(self):
        """Two services that failed together without a way from one to the other are recommended a dependency."""
        for name in ("ledger", "payments"):
            Service.objects.create(name=name)
        told = trouble("service:ledger", "service:payments")
        assert [one.change for one in recommending.recommend(told)] == [{"service": "payments", "needs": "ledger"}]
        ServiceDependency.objects.create(service_id="payments", needed_id="ledger")
        assert not recommending.recommend(told)


class TestDeciding:
    def test_target_is_tightened(self):
        """Accepting writes the target, who and why."""
        objective()
        row = recommended(change={"objective": "pay", "from": 0.99, "to": 0.995})
        assert "0.995" in recommendations.accept(row, by="ann", reason="it hid the outage")
        assert (Objective.objects.get().target, Objective.objects.get().changed_by) == (0.995, "ann")
        row.refresh_from_db()
        assert (row.state, row.decided_by, row.reason) == ("accepted", "ann", "it hid the outage")
        assert not RecordHold.objects.filter(name=f"recommendation:{row.pk}").exists()
        assert set(Event.objects.filter(data__by="ann").values_list("kind", flat=True)) >= {
            "objective.tightened",
            "recommendation.accepted",
        }

    @pytest.mark.parametrize("now", [0.995, 0.999, 0.9951])
    def test_what_would_loosen_is_refused_by_the_write(self, now):
        """Where somebody has tightened it meanwhile, accepting does not loosen; it stays open."""
        objective(target=now)
        row = recommended(change={"objective": "pay", "from": 0.99, "to": 0.995})
        with pytest.raises(NotAllowed, match="would loosen"):
            recommendations.accept(row, by="ann", reason="yes")
        assert Objective.objects.get().target == now
        assert Recommendation.objects.get().state == "open"

    def test_retry_policy_by_an_envelope(self):
        """A longer wait is an envelope, in the person's name, that ends."""
        row = recommended(
            "change_retry_policy",
            {"tunable": "retries.base", "subject": "tests.add", "from": 1, "to": 2, "timebox": "7d"},
        )
        assert "envelope" in recommendations.accept(row, by="ann", reason="the provider is slow")
        envelope = Envelope.objects.get()
        assert (envelope.state, envelope.value, envelope.by, envelope.seconds) == ("active", 2, "ann", 7 * 86400)

    def test_envelope_that_is_rejected_leaves_it_open(self):
        """What the coordinator does not let apply is told, its row is kept, and the recommendation stays open."""
        given = {"tunable": "retries.base", "subject": "tests.add", "from": 1, "to": 2, "timebox": "7d"}
        recommendations.accept(recommended("change_retry_policy", given), by="ann", reason="a")
        row = recommended("change_retry_policy", given)
        with pytest.raises(EnvelopeRejected, match="holds retries.base"):
            recommendations.accept(row, by="ann", reason="b")
        row.refresh_from_db()
        assert (row.state, Envelope.objects.filter(state="rejected").count()) == ("open", 1)

    def test_dependency_is_declared(self):
        """Accepting declares what the service needs, and leaves what else it declared."""
        services.declare("ledger", services.Declaration.model_validate({}))
        services.declare("mail", services.Declaration.model_validate({}))
        about = {"tier": "critical", "owner": "us", "dependencies": {"mail": {"wants": ["ordered"]}}}
        services.declare("payments", services.Declaration.model_validate(about))
        recommendations.accept(
            recommended("add_dependency", {"service": "payments", "needs": "ledger"}), by="ann", reason="seen"
        )
        found = services.Declaration.of(services.get("payments"))
        assert (found.tier, set(found.dependencies)) == ("critical", {"ledger", "mail"})
        assert list(found.dependencies["mail"].wants) == ["ordered"]

    def test_decline_changes_nothing(self):
        """Declined, with who and why; it cannot be accepted then."""
        objective()
        row = recommended(change={"objective": "pay", "from": 0.99, "to": 0.995})
        recommendations.decline(row, by="ann", reason="too dear")
        with pytest.raises(AlreadyDecided, match="declined already, by ann: too dear"):
            recommendations.accept(row, by="bob", reason="yes")
        assert Objective.objects.get().target == 0.99

    def test_two_at_once(self):
        """Of two who decide at once one is told that the other was faster, and it is done once."""
        row = recommended(
            "change_retry_policy",
            {"tunable": "retries.base", "subject": "tests.add", "from": 1, "to": 2, "timebox": "7d"},
        )

        def decide(by):
            try:
                return recommendations.accept(row.pk, by=by, reason="r")
            except AlreadyDecided:
                return None

        answers = side_by_side(*[lambda by=by: decide(by) for by in ("ann", "bob", "eve")])
        assert (len([one for one in answers if one]), Envelope.objects.count()) == (1, 1)

    @pytest.mark.parametrize(
        ("given", "error", "problem"),
        [
            ({"by": "scout", "reason": "r"}, NotAllowed, "an agent's own account"),
            ({"by": "nobody", "reason": "r"}, NotAllowed, "no account named"),
            ({"by": "carl", "reason": "r"}, NotAllowed, "the permission 'graduation.decide_recommendation'"),
            ({"by": "ann", "reason": ""}, OptionInvalid, "give a reason"),
        ],
    )
    def test_always_a_person_with_a_reason(self, given, error, problem):
        """No agent, nobody without an account or the permission, and not without a reason."""
        Agent.objects.create(name="scout")
        person("scout")
        person("carl", may_decide=False)
        objective()
        row = recommended(change={"objective": "pay", "from": 0.99, "to": 0.995})
        for verb in (recommendations.accept, recommendations.decline):
            with pytest.raises(error, match=problem):
                verb(row, **given)
        assert (Recommendation.objects.get().state, Objective.objects.get().target) == ("open", 0.99)


class TestCommandsAndPages:
    def test_by_hand(self):
        """Listed, shown, accepted, declined."""
        assert typed("recommendations", "list") == "there is no recommendation"
        first, second = recommended("add_gate", {"service": "payments"}), recommended("add_gate", {"service": "mail"})
        assert len(document("recommendations", "list", "--state", "open")["recommendations"]) == 2
        assert "accepted: recorded" in typed("recommendations", "accept", first.pk, "--by", "ann", "--reason", "yes")
        assert document("recommendations", "decline", second.pk, "--by", "ann", "--reason", "no")["state"] == "declined"
        assert "accepted" in typed("recommendations", "show", first.pk)
        assert "recommendations list" in refused("recommendations", "show", "nonsense")
        assert "already" in refused("recommendations", "accept", first.pk, "--by", "ann", "--reason", "yes")
        with pytest.raises(NotFound):
            recommendations.get("nonsense")

    def test_pages(self, admin_client, django_assert_max_num_queries):
        """The pages open; a person accepts there, with a reason."""
        rows = [recommended("add_gate", {"service": f"s{number}"}) for number in range(6)]
        Retrospective.objects.create(source="incident:1", assessment_id=rows[0].retrospective_id)
        with django_assert_max_num_queries(8):
            assert admin_client.get("/admin/graduation/recommendation/").status_code == 200
        for path in (f"recommendation/{rows[0].pk}/change/", "retrospective/", "retrospective/incident:1/change/"):
            assert admin_client.get(f"/admin/graduation/{path}").status_code == 200, path
        given = {"action": "accept", "_selected_action": str(rows[0].pk), "reason": "yes"}
        admin_client.post("/admin/graduation/recommendation/", given)
        rows[0].refresh_from_db()
        assert (rows[0].state, rows[0].decided_by, rows[0].reason) == ("accepted", "admin", "yes")
