"""Webhooks: added, changed, tested, rotated, disabled, replayed; and nobody is told a secret twice."""

import json
import logging
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from execution import doctor, ids, ledger
from execution.exceptions import NotAllowed, OptionInvalid
from execution.models import Event
from recovery import courier, event_kinds, outbox, webhooks
from recovery.exceptions import NotFound
from recovery.models import Delivery, OutboxEvent, WebhookEndpoint
from tests.conftest import REPOSITORY
from tests.execution.test_commands import document, refused, typed
from tests.recovery.test_outbox import happen

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shop(receiver):
    """Add an endpoint at the receiver."""
    made = webhooks.add("shop", receiver.url("shop"), kinds=["run.*"])
    receiver.knows("shop", made.secret)
    return made


class TestEndpoints:
    """What an operator may do to an endpoint."""

    @pytest.mark.parametrize(
        ("patterns", "told"),
        [
            (["rum.*"], "did you mean 'run'?"),
            (["run.faild"], "did you mean 'run.failed'?"),
            (["run"], "did you mean 'run.*'?"),
            (["Run.*"], "write run.failed, run.* or *"),
            (["zzz.*"], "kinds begin with action, advice,"),
        ],
    )
    def test_pattern_that_fits_nothing_is_refused(self, patterns, told):
        """A typing error would be an endpoint that is silent for ever."""
        with pytest.raises(OptionInvalid) as caught:
            event_kinds.checked(patterns)
        assert told in str(caught.value)

    def test_kinds_that_the_log_knows_are_accepted(self, shop):
        """Each kind of event that a run writes may be named."""
        for ending in (
            "opened",
            "completed",
            "failed",
            "cancelled",
            "parked",
            "paused",
            "resumed",
            "retried",
            "forked",
        ):
            assert event_kinds.checked([f"run.{ending}"])
        assert event_kinds.checked(["run.failed", "*"]) == []
        assert event_kinds.checked(["webhook.disabled", "incident.*", "step.started"])

    def test_every_kind_that_the_code_writes_is_known(self):
        """The first word of each kind that stands in the apps' code may be named in a pattern."""
        code = [
            path.read_text()
            for app in ("execution", "recovery", "graduation")
            for ending in ("py", "sql")
            for path in (REPOSITORY / app).rglob(f"*.{ending}")
        ]
        written = {family for text in code for family in re.findall(r"""_log_v1\(\s*'([a-z_]+)\.""", text)}
        written |= {family for text in code for family in re.findall(r"""\bnote\(\s*"([a-z_]+)\.""", text)}
        assert written > {"run", "step", "breaker"}
        assert written - set(event_kinds.FAMILIES) == set()
        runs = {kind for text in code for kind in re.findall(r"""(?:_log_v1|note)\(\s*['"](run\.[a-z_]+)['"]""", text)}
        assert event_kinds.checked(sorted(runs)) == sorted(runs)

    def test_name_is_taken_or_bad(self, shop, receiver):
        """Names are unique and simple."""
        with pytest.raises(OptionInvalid, match="already"):
            webhooks.add("shop", receiver.url("x"))
        with pytest.raises(OptionInvalid, match="name"):
            webhooks.add("Shop!", receiver.url("x"))

    def test_found_by_name_or_id(self, shop):
        """An endpoint is named by its name, its id or the beginning of one; the nearest name is suggested."""
        found = shop.endpoint
        assert webhooks.get("shop") == webhooks.get(str(found.id)) == webhooks.get(found.id.hex[:20]) == found
        with pytest.raises(NotFound, match="did you mean 'shop'"):
            webhooks.get("shup")

    def test_change_is_checked_and_an_event(self, shop, receiver):
        """What is changed is told, without the address itself."""
        webhooks.change("shop", url=receiver.url("other?token=t-1"), kinds=["step.*"], by="ann", reason="moved")
        event = Event.objects.get(kind="webhook.changed")
        assert event.data["changed"] == ["kinds", "url"]
        assert "t-1" not in json.dumps(event.data)
        with pytest.raises(OptionInvalid):
            webhooks.change("shop", kinds=["nothing"])

    def test_disabled_and_enabled(self, shop, receiver):
        """Disabled, nothing is sent; enabled, what waits goes out; twice is refused."""
        happen()
        outbox.publish()
        webhooks.disable("shop", by="ann", reason="it is moving house")
        courier.lead()
        assert receiver.seen == []
        with pytest.raises(NotAllowed, match="disabled already: it is moving house"):
            webhooks.disable("shop")
        webhooks.enable("shop", by="ann")
        courier.lead()
        assert len(receiver.seen) == 1
        with pytest.raises(NotAllowed, match="active already"):
            webhooks.enable("shop")
        assert list(
            Event.objects.filter(kind__startswith="webhook.").order_by("id").values_list("kind", flat=True)
        ) == [
            "webhook.added",
            "webhook.disabled",
            "webhook.enabled",
        ]

    def test_removed_with_its_messages(self, shop):
        """Nothing of an endpoint stays."""
        happen()
        courier.lead()
        happen()
        outbox.publish()
        assert webhooks.remove("shop") == 1
        assert not OutboxEvent.objects.exists()
        assert not Delivery.objects.exists()


class TestSecrets:
    """Signatures and their secrets."""

    def test_both_sign_while_one_is_rotated(self, shop, receiver):
        """During a rotation old and new secret verify; after it only the new one."""
        new = webhooks.rotate("shop", keep="1h")
        happen()
        courier.lead()
        receiver.knows("shop", new)
        happen()
        courier.lead()
        assert len(receiver.seen) == 2
        assert not receiver.refused
        assert len(receiver.seen[0].signatures) == 2
        endpoint = WebhookEndpoint.objects.get()
        endpoint.secrets[1]["until"] = (timezone.now() - timedelta(seconds=1)).isoformat()
        endpoint.save()
        assert webhooks.secret_count(endpoint) == 1
        receiver.knows("shop", shop.secret)
        happen()
        courier.lead()
        assert len(receiver.refused) == 1, "the old secret is over"

    def test_kept_for_no_time(self, shop):
        """With keep 0 the old one ends at once; there is a bound to how many are valid."""
        webhooks.rotate("shop", keep=0)
        assert webhooks.secret_count(WebhookEndpoint.objects.get()) == 1
        for _ in range(webhooks.SECRETS_MOST - 1):
            webhooks.rotate("shop")
        with pytest.raises(NotAllowed, match="5 secrets"):
            webhooks.rotate("shop")

    def test_changed_body_is_not_verified(self, shop, receiver):
        """The signature covers id, time and body."""
        happen()
        courier.lead()
        seen = receiver.seen[0]
        with pytest.raises(WebhookVerificationError):
            Webhook(shop.secret).verify(json.dumps(seen.body | {"id": "other"}), seen.headers)

    def test_nobody_is_told_a_secret_twice(self, receiver, client, caplog, capfd):
        """Neither commands nor pages nor events nor messages nor logs show a secret, or what an address hides."""
        caplog.set_level(logging.DEBUG)
        url = receiver.url("shop") + "?token=t-12345"
        secret = document("webhooks", "add", "shop", url, "--kinds", "run.*", "webhook.*")["secret"]
        happen()
        courier.lead()
        receiver.behave("shop", status=500)
        happen()
        courier.lead()
        client.force_login(User.objects.create_superuser("operator"))
        told = [
            typed("webhooks", "list"),
            typed("webhooks", "show", "shop"),
            json.dumps(document("webhooks", "list")),
            json.dumps(document("webhooks", "show", "shop")),
            json.dumps(document("webhooks", "disable", "shop")),
            client.get(reverse("admin:recovery_webhookendpoint_changelist")).content.decode(),
            client.get(
                reverse("admin:recovery_webhookendpoint_change", args=[webhooks.get("shop").pk])
            ).content.decode(),
            client.get(
                reverse("admin:recovery_outboxevent_change", args=[OutboxEvent.objects.first().pk])
            ).content.decode(),
            json.dumps(list(Event.objects.values_list("data", flat=True))),
            json.dumps([seen.body for seen in receiver.seen]),
            caplog.text,
            "".join(capfd.readouterr()),
            "".join(finding.text for finding in doctor.examine()),
        ]
        for number, text in enumerate(told):
            assert secret not in text, number
            assert secret.removeprefix("whsec_") not in text, number
            assert "t-12345" not in text, number


class TestTestAndReplay:
    """By hand."""

    def test_test_message_is_answered_at_once(self, shop, receiver):
        """A test message is verified as any; what was answered is told and kept; it is never tried again."""
        assert webhooks.send_test("shop", by="ann").status == 200
        receiver.behave("shop", status=422, body=b"no such field")
        answer = webhooks.send_test("shop")
        assert (answer.error, answer.response) == ("answered 422 Said", "no such field")
        assert receiver.seen[0].body["type"] == "celeriac.webhook.test"
        assert not receiver.refused
        assert sorted(OutboxEvent.objects.values_list("state", flat=True)) == ["dead", "delivered"]
        courier.lead()
        assert len(receiver.seen) == 2

    def test_replay_by_id_keeps_the_id(self, shop, receiver):
        """A delivered message comes again under its id; one that is under way is refused."""
        happen()
        courier.lead()
        message = OutboxEvent.objects.get()
        webhooks.replay(str(message.id)[:30], by="ann")
        webhooks.replay(message.event_id)
        courier.lead()
        assert len(receiver.seen) == 2
        assert len(set(receiver.ids("shop"))) == 1
        OutboxEvent.objects.update(
            state="pending", lease_token=ids.new(), lease_until=timezone.now() + timedelta(hours=1)
        )
        with pytest.raises(NotAllowed, match="at this moment"):
            webhooks.replay(message.id)
        for wrong in ("12", "no-id", str(ids.new())):
            with pytest.raises(NotFound):
                webhooks.replay(wrong)

    def test_replay_of_a_time(self, shop, receiver):
        """What is dead since then goes out again, and what happened while the endpoint was disabled is made up for, once."""
        happen(number=1)
        outbox.publish()
        OutboxEvent.objects.update(state="dead")
        webhooks.disable("shop")
        happen(number=2)
        happen("step.failed")
        while outbox.publish():
            pass
        webhooks.enable("shop")
        hour_ago = timezone.now() - timedelta(hours=1)
        assert webhooks.replay_since("shop", hour_ago) == (1, 1)
        assert webhooks.replay_since("shop", hour_ago) == (0, 0)
        courier.lead()
        assert sorted(seen.body["data"]["number"] for seen in receiver.seen) == [1, 2]
        with pytest.raises(OptionInvalid, match="not later"):
            webhooks.replay_since("shop", timezone.now() + timedelta(hours=1))


class TestCommand:
    """`manage.py webhooks`."""

    def test_way_of_an_endpoint(self, receiver):
        """Added, listed, tested, changed, rotated, replayed, disabled, enabled, removed."""
        assert "no webhook" in typed("webhooks", "list")
        assert "It is not shown again" in typed("webhooks", "add", "shop", receiver.url("shop"), "--kinds", "run.*")
        assert typed("webhooks", "test", "shop").startswith("taken: 200 after")
        receiver.behave("shop", status=500, body=b"out of order")
        assert refused("webhooks", "test", "shop") == "not taken: answered 500 Said; it said out of order"
        assert document("webhooks", "change", "shop", "--kinds", "run.failed", "--ordered")["is_ordered"] is True
        assert document("webhooks", "rotate", "shop", "--keep", "1h")["secret"].startswith("whsec_")
        happen()
        courier.lead()
        shown = document("webhooks", "show", "shop")
        assert (shown["secrets"], shown["tries"][0]["error"]) == (2, "answered 500 Said")
        assert "failing since" in typed("webhooks", "show", "shop")
        assert "failing" in typed("webhooks", "list")
        assert document("webhooks", "replay", shown["tries"][0]["message"])["state"] == "pending"
        assert document("webhooks", "replay", "shop", "--since", "1h") == {"webhook": "shop", "again": 0, "missed": 0}
        assert document("webhooks", "disable", "shop", "--reason", "enough")["disabled_reason"] == "enough"
        assert document("webhooks", "enable", "shop")["state"] == "active"
        assert "removed" in typed("webhooks", "remove", "shop")

    def test_errors_are_sentences(self, shop):
        """What is wrong is said with what to do."""
        assert "did you mean 'shop'" in refused("webhooks", "show", "shp")
        assert "--since" in refused("webhooks", "replay", "shop")
        assert "nothing to change" in refused("webhooks", "change", "shop")
        assert "is no web address" in refused("webhooks", "add", "x", "nowhere")
        assert "--until goes with" in refused("webhooks", "replay", "shop", "--until", "1h")


class TestHealth:
    """Who is told that an endpoint is not well."""

    def test_doctor_says_so(self, shop, receiver):
        """A failing and a disabled endpoint are warnings with how to mend them."""
        assert "webhooks.well" in found_by_doctor()
        receiver.behave("shop", status=500)
        happen()
        courier.lead()
        assert "has failed for" in found_by_doctor()["webhooks.failing"]
        webhooks.disable("shop", reason="enough")
        assert "enough" in found_by_doctor()["webhooks.disabled"]

    def test_admin_shows_and_acts(self, shop, receiver, client):
        """The pages show health and last tries; who may operate can test, disable and enable, with a reason."""
        client.force_login(User.objects.create_superuser("operator"))
        receiver.behave("shop", status=500, body=b"<b>broken</b>")
        happen()
        courier.lead()
        listed = reverse("admin:recovery_webhookendpoint_changelist")
        assert "failing since" in client.get(listed).content.decode()
        page = client.get(reverse("admin:recovery_webhookendpoint_change", args=[shop.endpoint.pk])).content.decode()
        assert "answered 500 Said" in page
        chosen = {"_selected_action": [str(shop.endpoint.pk)]}
        answer = client.post(listed, chosen | {"action": "test"}, follow=True).content.decode()
        assert "did not take the test message: answered 500 Said" in answer
        client.post(listed, chosen | {"action": "disable", "reason": "enough"})
        assert webhooks.get("shop").disabled_reason == "enough"
        client.post(listed, chosen | {"action": "enable", "reason": "again"})
        assert webhooks.get("shop").state == "active"
        message = OutboxEvent.objects.exclude(kind="webhook.test").get()
        page = client.get(reverse("admin:recovery_outboxevent_change", args=[message.pk])).content.decode()
        assert "&lt;b&gt;broken" in page
        messages = reverse("admin:recovery_outboxevent_changelist")
        client.post(messages, {"_selected_action": [str(message.pk)], "action": "replay", "reason": "again"})
        message.refresh_from_db()
        assert (message.state, message.try_count) == ("pending", 0)

    def test_viewer_may_not_act(self, shop, client):
        """Looking is one permission, operating another."""
        viewer = User.objects.create_user("viewer", is_staff=True)
        viewer.user_permissions.add(Permission.objects.get(codename="view_webhookendpoint"))
        client.force_login(viewer)
        listed = reverse("admin:recovery_webhookendpoint_changelist")
        assert client.get(listed).status_code == 200
        client.post(listed, {"_selected_action": [str(shop.endpoint.pk)], "action": "disable", "reason": "x"})
        assert webhooks.get("shop").state == "active"

    def test_lists_ask_a_fixed_number_of_queries(self, receiver, client, django_assert_num_queries):
        """A list asks as much for three rows as for six."""
        client.force_login(User.objects.create_superuser("operator"))
        for turn in range(2):
            for number in range(3):
                webhooks.add(f"e{turn}{number}", receiver.url("x"))
                happen()
                outbox.publish()
            for name in ("webhookendpoint", "outboxevent", "distributedlock"):
                with django_assert_num_queries(6, info=name):
                    assert client.get(reverse(f"admin:recovery_{name}_changelist")).status_code == 200


def found_by_doctor():
    """Return what the doctor says, by id."""
    from recovery import doctor as recovery_doctor

    ledger.close()
    return {finding.id: finding.text for look in recovery_doctor.LOOKS for finding in look()}
