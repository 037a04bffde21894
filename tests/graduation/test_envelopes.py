"""Envelopes: bounded, for a time, put back whatever happens; and the switch that ends them all."""

import threading
import time
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import IntegrityError, connection, connections, transaction
from django.utils import timezone
from psycopg.types.json import Jsonb

from execution import runs, tunables
from execution.exceptions import OptionInvalid, TunableUnknown
from execution.models import Event, Tunable
from graduation import envelopes
from graduation.envelopes import Bounds
from graduation.exceptions import EnvelopeRejected
from graduation.models import Envelope, EnvelopeDecision
from recovery.exceptions import AlreadyDecided, NotFound
from tests import tuned_skills
from tests.execution import test_tunables as tuned
from tests.execution.test_commands import document, refused, typed
from tests.hands import MARKS
from tests.patience import within

pytestmark = MARKS

WIDE = Bounds(least=0.01, most=3600)


def proposed(value=5, *, tunable="retries.base", importance="reliability", timebox="1h", bounds=WIDE, **more):
    """Propose an envelope."""
    return envelopes.propose(tunable, value, importance=importance, timebox=timebox, bounds=bounds, by="ann", **more)


def in_force(name="retries.base", subject=""):
    """Return what holds, as the rows say."""
    tunables.forget()
    return tunables.value(name, subject)


@pytest.fixture(autouse=True)
def _forget(transactional_db):
    tunables.forget()
    yield
    tunables.forget()


class TestLife:
    def test_active_until_its_time_is_over(self):
        """While it lasts its value holds; then what held before does, and it never lives again."""
        before = in_force()
        envelope = proposed(5)
        assert (envelope.state, envelope.baseline, in_force()) == ("active", before, 5)
        assert envelopes.expire() == 0
        Envelope.objects.filter(pk=envelope.pk).update(until=timezone.now() - timedelta(seconds=1))
        assert envelopes.expire() == 1
        assert in_force() == before
        assert not Tunable.objects.exists()
        with pytest.raises(AlreadyDecided, match="is expired"):
            envelopes.apply(envelope, by="ann")

    def test_what_an_operator_had_set_is_put_back(self):
        """The baseline is what was tuned, not the default."""
        tunables.tune("retries.base", 2, by="bob", reason="mine")
        envelopes.revert(proposed(3), by="ann", reason="enough")
        assert in_force() == 2

    def test_what_a_person_changed_meanwhile_stays(self):
        """A person's later word is not overwritten by the end of an envelope."""
        envelope = proposed(5)
        tunables.tune("retries.base", 7, by="bob", reason="I know better")
        row = envelopes.revert(envelope, by="ann", reason="enough")
        assert in_force() == 7
        assert "somebody has changed it since" in row.ended_reason

    def test_for_one_subject(self):
        """An envelope for one skill leaves the others as they are."""
        before = in_force()
        proposed(9, subject="a.skill")
        assert (in_force(subject="a.skill"), in_force(subject="another")) == (9, before)

    def test_every_decision_is_kept_for_ever(self):
        """Each decision is a row and an event; the database refuses to change the row."""
        envelope = proposed(5)
        envelopes.revert(envelope, by="ann", reason="enough")
        told = list(envelope.decisions.values_list("decision", flat=True))
        assert told == ["declared", "validated", "applied", "reverted"]
        events = Event.objects.filter(data__envelope=str(envelope.pk)).order_by("id")
        assert list(events.values_list("kind", flat=True)) == [f"envelope.{one}" for one in told]
        with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
            EnvelopeDecision.objects.update(reason="another")


class TestCoordinator:
    def test_second_of_the_same_class_is_rejected(self):
        """Two envelopes never hold one tunable; the rejection is kept with its reason."""
        proposed(5)
        with pytest.raises(EnvelopeRejected, match="holds retries.base until"):
            proposed(6)
        assert in_force() == 5
        assert list(Envelope.objects.order_by("id").values_list("state", flat=True)) == ["active", "rejected"]

    def test_higher_class_preempts(self):
        """Safety goes before cost, and puts back what held before both."""
        before = in_force()
        low = proposed(5, importance="cost")
        high = proposed(2, importance="safety")
        low.refresh_from_db()
        assert (low.state, in_force()) == ("reverted", 2)
        assert str(high.pk) in low.ended_reason
        envelopes.revert(high, by="ann", reason="over")
        assert in_force() == before

    def test_lower_class_is_rejected(self):
        """Performance does not push safety aside."""
        proposed(5, importance="safety")
        with pytest.raises(EnvelopeRejected):
            proposed(6, importance="performance")
        assert in_force() == 5

    @pytest.mark.parametrize(
        ("bounds", "problem"),
        [(Bounds(most_percent=50), "50 % away"), (Bounds(most=4), "ceiling of 4"), (Bounds(least=6), "floor of 6")],
    )
    def test_out_of_bounds(self, bounds, problem):
        """What goes further than it may is rejected and changes nothing."""
        before = in_force()
        with pytest.raises(EnvelopeRejected, match=problem):
            proposed(5, bounds=bounds)
        assert in_force() == before

    def test_percent_is_of_what_held_before_both(self):
        """A preempting envelope is measured against what held before the one that it preempts."""
        tunables.tune("retries.base", 10, by="bob")
        proposed(14, importance="cost", bounds=Bounds(most_percent=50))
        with pytest.raises(EnvelopeRejected, match="away from 10"):
            proposed(16, importance="safety", bounds=Bounds(most_percent=50))
        assert in_force() == 14

    @pytest.mark.parametrize(
        ("wish", "error", "problem"),
        [
            ({"tunable": "retries.bse"}, TunableUnknown, "retries.base"),
            ({"value": -1}, OptionInvalid, "between"),
            ({"value": "soon"}, OptionInvalid, "no number"),
            ({"importance": "urgent"}, OptionInvalid, "safety, reliability, cost, performance"),
            ({"timebox": 0}, OptionInvalid, "between one second and 30 days"),
            ({"bounds": Bounds()}, OptionInvalid, "has bounds"),
            ({"bounds": Bounds(least=2, most=1)}, OptionInvalid, "above the ceiling"),
            ({"bounds": Bounds(most_percent=-5)}, OptionInvalid, "above 0"),
        ],
    )
    def test_bad_wish(self, wish, error, problem):
        """What cannot be wanted is refused where it is written, and leaves no row."""
        with pytest.raises(error, match=problem):
            proposed(**({"value": 5} | wish))
        assert not Envelope.objects.exists()

    def test_unknown_envelope(self):
        """An id that is none is said to be none."""
        with pytest.raises(NotFound, match="envelopes list"):
            envelopes.get("nonsense")


class TestKillSwitch:
    def test_reverts_all_and_keeps_out(self):
        """All at once; nothing applies until a person releases it."""
        before = in_force(), in_force("doorbell.window")
        proposed(5)
        proposed(100, tunable="doorbell.window", bounds=Bounds(least=1, most=1000), importance="safety")
        assert envelopes.engage(by="ann", reason="fire") == 2
        assert (in_force(), in_force("doorbell.window")) == before
        with pytest.raises(EnvelopeRejected, match="engaged by ann: fire"):
            proposed(5, importance="safety")
        assert envelopes.engage(by="bob", reason="again") == 0
        assert envelopes.switch().engaged_by == "ann"
        envelopes.release(by="bob", reason="out")
        assert proposed(5).state == "active"
        with pytest.raises(AlreadyDecided, match="not engaged"):
            envelopes.release(by="bob")

    def test_fifty_applications_at_once_leave_none(self):
        """Whoever is first, the switch or an application: when the switch has been thrown nothing is in force."""
        before = in_force()
        wish = {"importance": "cost", "timebox": "1h", "bounds": WIDE, "by": "ann"}
        ready = [envelopes.declare("retries.base", 5, subject=f"skill.{n}", **wish) for n in range(50)]
        start, rejected = threading.Barrier(9), []

        def apply(mine):
            start.wait()
            for envelope in mine:
                try:
                    envelopes.apply(envelope, by="ann")
                except EnvelopeRejected as error:
                    rejected.append(str(error))
            connections.close_all()

        hands = [threading.Thread(target=apply, args=[ready[n::8]]) for n in range(8)]
        for hand in hands:
            hand.start()
        start.wait()
        time.sleep(0.05)
        reverted = envelopes.engage(by="ann", reason="fire")
        for hand in hands:
            hand.join()
        assert not Envelope.objects.filter(state="active").exists()
        assert not Tunable.objects.exists()
        assert in_force() == before
        assert reverted + len(rejected) == 50


def test_wish_of_recovery_is_applied():
    """What recovery asks for by an event is proposed in its name, once; what makes no sense is told."""
    data = {"tunable": "retries.base", "value": 8, "least": 1, "most": 60, "reason": "it flaps", "by": "recovery"}
    with connection.cursor() as cursor:
        for wish in (data, {"tunable": "nothing"}):
            cursor.execute("SELECT execution_log_v1(%s, NULL, NULL, NULL, NULL, %s)", [envelopes.WANTED, Jsonb(wish)])
    assert envelopes._take_wishes() == 2
    assert envelopes._take_wishes() == 0
    Envelope.objects.update(created_at=timezone.now() - timedelta(seconds=5))
    assert envelopes._apply_validated() == 1
    assert in_force() == 8
    assert Event.objects.filter(kind="envelope.refused").count() == 1


class TestCommands:
    def test_life_by_hand(self):
        """Proposed, shown, reverted by the command line."""
        row = document(
            "envelopes", "propose", "retries.base", "4", "--most", "60", "--timebox", "5m", "--reason", "try"
        )
        assert row["state"] == "active"
        assert "retries.base" in typed("envelopes", "list")
        shown = document("envelopes", "show", row["id"])
        assert [one["decision"] for one in shown["decisions"]] == ["declared", "validated", "applied"]
        assert "enough" in typed("envelopes", "revert", row["id"], "--reason", "enough")
        assert document("envelopes", "show", row["id"])["state"] == "reverted"

    def test_switch_by_hand(self):
        """Engaged, shown and released by the command line, without a worker."""
        proposed(5)
        assert "1 envelope reverted" in typed("killswitch", "engage", "--reason", "fire")
        assert document("killswitch", "show")["is_engaged"] is True
        assert "not engaged" in typed("killswitch", "release", "--reason", "over")

    def test_without_bounds(self):
        """The sentence says what is missing."""
        assert "--within" in refused("envelopes", "propose", "retries.base", "4")


class TestAdmin:
    def test_pages_open(self, admin_client):
        """The lists and an envelope's page, with its decisions."""
        envelope = proposed(5)
        for path in ("envelope/", f"envelope/{envelope.pk}/change/", "killswitch/"):
            page = admin_client.get(f"/admin/graduation/{path}", follow=True)
            assert page.status_code == 200, path
        assert (
            "the value, its bounds"
            in admin_client.get(f"/admin/graduation/envelope/{envelope.pk}/change/").content.decode()
        )

    def test_switch_is_engaged_with_a_reason(self, admin_client):
        """The word and the reason come first, then what follows is confirmed; one step alone does nothing."""
        proposed(5)
        page = "/admin/kill-switch/"
        for given in ({"verb": "engage", "reason": "fire"}, {"verb": "engage", "word": "stop", "reason": "fire"},
                      {"verb": "ask", "word": "STOP", "reason": "fire"}):  # fmt: skip
            assert admin_client.post(page, given).status_code == 200
            assert not envelopes.switch().is_engaged
        assert b"1 envelope" in admin_client.post(page, {"verb": "ask", "word": "STOP", "reason": "fire"}).content
        admin_client.post(page, {"verb": "engage", "word": "STOP", "reason": "fire"})
        assert (envelopes.switch().is_engaged, envelopes.switch().reason) == (True, "fire")
        assert b"By admin: fire" in admin_client.get("/admin/banners/").content
        assert "Engaged: fire" in LogEntry.objects.get().change_message
        admin_client.post(page, {"verb": "release", "reason": ""})
        assert envelopes.switch().is_engaged
        admin_client.post(page, {"verb": "release", "reason": "over"})
        assert not envelopes.switch().is_engaged
        assert admin_client.get("/admin/banners/").content == b""

    def test_switch_is_each_ones_own_to_throw(self, client):
        """Who may only look throws nothing; who operates envelopes engages it, and does not release it."""
        user = User.objects.create_user("bob", is_staff=True)
        user.user_permissions.add(Permission.objects.get(codename="view_killswitch"))
        client.force_login(user)
        given = {"word": "STOP", "reason": "fire"}
        assert b"Type STOP" not in client.get("/admin/kill-switch/").content
        assert client.post("/admin/kill-switch/", {"verb": "engage", **given}).status_code == 403
        user.user_permissions.add(Permission.objects.get(codename="operate_envelope"))
        assert client.post("/admin/kill-switch/", {"verb": "engage", **given}).status_code == 302
        assert b"Only a governor" in client.get("/admin/kill-switch/").content
        assert client.post("/admin/kill-switch/", {"verb": "release", "reason": "over"}).status_code == 403
        assert envelopes.switch().is_engaged

    def test_envelope_is_proposed_by_a_form(self, admin_client):
        """What the coordinator refuses is told in its words; what it lets in is in force, and shown with its time."""
        form = {
            "tunable": "retries.base", "subject": "", "value": "5", "timebox": "1h", "importance": "reliability",
            "within": "", "least": "0.01", "most": "3", "reason": "slow",
        }  # fmt: skip
        page = "/admin/graduation/envelope/add/"
        assert b"above its ceiling of 3" in admin_client.post(page, form).content
        answer = admin_client.post(page, form | {"most": "60"}, follow=True)
        assert in_force() == 5
        assert b"left" in answer.content
        assert Envelope.objects.filter(state="active", by="admin", reason="slow").count() == 1


@within(1.5, busy=15)
def test_in_force_in_workers_within_a_second(workers, eventually, tmp_path, bound):
    """A running worker has an envelope's value within a second, and loses it within a second of the switch."""
    worker = workers(skills="tests.tuned_skills", concurrency=1)
    before = in_force(subject="tuned.watch")

    def seen(value, change, name):
        gate = tmp_path / name
        run = runs.start(tuned_skills.watch, {"name": "retries.base", "value": value, "gate": str(gate)})
        eventually(gate.exists, message=f"the skill looks; {worker}")
        began = time.monotonic()
        change()
        return run.wait(timeout=20) - began

    eventually(tuned.kept, message="the keeper publishes")
    assert seen(5.0, lambda: proposed(5, subject="tuned.watch"), "on") < bound
    assert seen(before, lambda: envelopes.engage(by="ann", reason="fire"), "off") < bound
