"""The command and the admin's pages of incidents: what a person sees and does."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from execution.models import Run
from recovery.models import Incident, Occurrence, Window
from tests.execution.test_commands import document, refused, typed
from tests.hands import MARKS, Hands
from tests.recovery import incident_stage as stage
from tests.recovery.incident_stage import clean_slate  # noqa: F401 - a fixture

pytestmark = [*MARKS, pytest.mark.usefixtures("clean_slate")]

# What a list asks, whatever it holds: session, user, its permissions twice, plan, count, rows.
QUERIES = {"incident": 7, "incidententry": 7, "window": 7, "occurrence": 7}


@pytest.fixture
def waiting(monkeypatch):
    """Return an incident that waits for an approval, and hands to go on with."""
    hands = Hands()
    stage.with_retry(monkeypatch)
    stage.template(needs_approval=True)
    incident, _ = stage.opened()
    stage.play(hands, incident.run_id)
    yield incident, hands
    hands.close()


class TestCommand:
    """`manage.py incidents`."""

    def test_list_and_show(self, waiting):
        """What waits is said, with the command that answers it; the timeline is told in order."""
        incident, _ = waiting
        assert "approval" in typed("incidents", "list")
        text = typed("incidents", "show", str(incident.id)[:18])
        assert "it waits for a person (retry-all needs an approval): retry-all 6 runs" in text
        assert f"manage.py incidents approve {incident.id}" in text
        found = document("incidents", "show", incident.id)
        assert [one["kind"] for one in found["timeline"]][:3] == ["opened", "snapshot", "triaged"]
        assert found["waits_for"]["plan"]["action"] == stage.RETRY
        assert document("incidents", "list")["incidents"][0]["id"] == str(incident.id)

    def test_approve_goes_on(self, waiting):
        """An approval by name and reason lets the remediation be done."""
        incident, hands = waiting
        typed("incidents", "approve", incident.id, "--by", "ann", "--reason", "it is back")
        stage.play(hands, incident.run_id)
        stage.watch()
        assert document("incidents", "show", incident.id)["state"] == "resolved"
        assert "approved      it is back (ann)" in typed("incidents", "show", incident.id)

    def test_refuse_comment_close(self, waiting):
        """Each is a line of the timeline, with who said it."""
        incident, hands = waiting
        assert document("incidents", "comment", incident.id, "I am on it", "--by", "bob")["by"] == "bob"
        typed("incidents", "refuse", incident.id, "--by", "bob", "--reason", "no")
        stage.play(hands, incident.run_id)
        stage.watch()
        typed("incidents", "close", incident.id, "--by", "bob")
        kinds = [one["kind"] for one in document("incidents", "show", incident.id)["timeline"]]
        assert [kind for kind in kinds if kind in ("comment", "refused", "failed", "closed")] == [
            "comment", "refused", "failed", "closed",
        ]  # fmt: skip

    def test_bad_input(self, waiting):
        """What is wrong is said in a sentence, and nothing is changed."""
        incident, _ = waiting
        assert "too short" in refused("incidents", "show", "0199")
        assert "incidents list" in refused("incidents", "show", "ffffffff")
        assert "incidents list" in refused("incidents", "show", "nonsense!")
        assert "says something" in refused("incidents", "comment", incident.id, "  ")
        assert "--limit is 0" in refused("incidents", "list", "--limit", "0")
        typed("incidents", "close", incident.id)
        assert "closed already" in refused("incidents", "close", incident.id)
        assert "cannot be approved any more" in refused("incidents", "approve", incident.id)

    def test_actions(self, waiting):
        """The safe actions are listed with risk, approval, cool-down and verification; risky ones are not."""
        assert "no action is safe" in typed("incidents", "actions")
        stage.template("retry-safe", cooldown_seconds=90)
        text = typed("incidents", "actions")
        assert all(word in text for word in ("retry-safe", "low", "1 min 30 s", "none has failed again"))
        assert stage.RETRY not in text


class TestAdmin:
    """The pages."""

    @pytest.fixture
    def client(self, client):
        """Return a browser of somebody who may look, and nothing else."""
        user = User.objects.create_user("ann", password="x", is_staff=True)
        user.user_permissions.set(
            Permission.objects.filter(content_type__app_label="recovery", codename__startswith="view_")
        )
        client.force_login(user)
        return client

    def may(self, name):
        """Let Ann do something."""
        User.objects.get(username="ann").user_permissions.add(Permission.objects.get(codename=name))

    @pytest.mark.parametrize("name", QUERIES)
    def test_lists_ask_the_same_whatever_they_hold(self, client, waiting, name):
        """No list asks more for more rows."""
        stage.failed()
        stage.correlate(0)
        address = reverse(f"admin:recovery_{name}_changelist")
        client.get(address)
        with CaptureQueriesContext(connection) as seen:
            assert client.get(address).status_code == 200
        assert len(seen) == QUERIES[name], [one["sql"][:100] for one in seen]

    @pytest.mark.parametrize("model", [Incident, Window, Occurrence])
    def test_pages_open(self, client, waiting, model):
        """Each row has a page that shows it."""
        stage.failed()
        stage.correlate(0)
        row = model.objects.first()
        found = client.get(reverse(f"admin:recovery_{model._meta.model_name}_change", args=[row.pk]))
        assert found.status_code == 200

    def test_timeline_and_what_is_waited_for(self, client, waiting):
        """The page tells the story; buttons are for who may answer."""
        incident, _ = waiting
        address = reverse("admin:recovery_incident_change", args=[incident.pk])
        page = client.get(address).content.decode()
        assert "It waits for a person" in page
        assert "retry-all 6 runs" in page
        assert "Approve …" not in page
        self.may("answer_incident")
        assert "Approve …" in client.get(address).content.decode()

    def test_approve_asks_why_and_is_audited(self, client, waiting):
        """Without the permission nothing is done; with it a reason is asked for, and kept."""
        incident, hands = waiting
        address = reverse("admin:recovery_incident_changelist")
        wish = {"action": "approve", "_selected_action": str(incident.pk), "index": "0"}
        client.post(address, wish | {"reason": "sneaky"})
        assert not incident.entries.filter(kind="approved").exists()
        self.may("answer_incident")
        assert b"Reason" in client.post(address, wish).content
        client.post(address, wish | {"reason": "it is back"})
        entry = incident.entries.get(kind="approved")
        assert (entry.by, entry.text) == ("ann", "it is back")
        assert "it is back" in LogEntry.objects.get().change_message
        stage.play(hands, incident.run_id)
        assert Run.objects.get(pk=incident.run_id).state == "completed"
