"""The outbox: each event once to each endpoint that wants it, by a leader, in order where that is asked, over all faults."""

import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F
from django.utils import timezone
from psycopg.types.json import Jsonb

from execution import ids, ledger
from execution.models import Event
from recovery import courier, locks, outbox, posting, webhooks
from recovery.models import Delivery, DistributedLock, OutboxEvent, WebhookEndpoint
from tests.conftest import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

TTL = 30


class Clock:
    """A clock that the test sets."""

    def __init__(self):
        """Begin a little later than now, so that what has just happened is due."""
        self.now = timezone.now() + timedelta(minutes=1)

    def __call__(self):
        return self.now

    def advance(self, **length):
        """Go on."""
        self.now += timedelta(**length)


@pytest.fixture
def clock():
    """Return a clock that stands still."""
    return Clock()


@pytest.fixture
def hook(receiver):
    """Add an endpoint at the receiver, which verifies what comes."""

    def add(name="shop", **options):
        made = webhooks.add(name, receiver.url(name), **options)
        receiver.knows(name, made.secret)
        return made.endpoint

    return add


def happen(kind="run.failed", run=None, **data):
    """Write an event."""
    ledger.ask_in_transaction(
        "SELECT execution_log_v1(%s, %s, NULL, NULL, NULL, %s)", [kind, run or ids.new(), Jsonb(data)]
    )


def leader():
    """Take the outbox's lock."""
    lock = locks.acquire(outbox.LOCK, ttl_seconds=TTL)
    assert lock
    return lock


def message():
    """Return the only message."""
    return OutboxEvent.objects.get()


class TestPublish:
    """From events to messages."""

    def test_each_event_once_to_each_that_wants_it(self, hook):
        """Kinds decide; reading again makes nothing twice."""
        hook("all")
        hook("some", kinds=["run.*", "step.failed"])
        for kind in ("run.failed", "step.failed", "step.completed"):
            happen(kind)
        while outbox.publish():
            pass
        found = Counter(OutboxEvent.objects.exclude(kind__startswith="webhook.").values_list("endpoint__name", "kind"))
        assert found == {
            ("all", "run.failed"): 1, ("all", "step.failed"): 1, ("all", "step.completed"): 1,
            ("some", "run.failed"): 1, ("some", "step.failed"): 1,
        }  # fmt: skip
        assert WebhookEndpoint.objects.get(name="some").published_count == 2

    def test_what_was_before_is_not_sent(self, hook):
        """An endpoint hears of what happens after it was added, and nothing while it is disabled."""
        happen()
        endpoint = hook(kinds=["run.*"])
        webhooks.disable(endpoint)
        happen()
        while outbox.publish():
            pass
        assert not OutboxEvent.objects.exists()

    def test_body_is_a_cloudevent_without_secrets(self, hook):
        """The body has CloudEvents' fields; a value that names a secret is hidden."""
        run = ids.new()
        hook(kinds=["run.failed"])
        happen(run=run, password="hunter2", error={"api_key": "k-1", "message": "no"})
        outbox.publish()
        body = message().body
        event = Event.objects.get(kind="run.failed")
        assert {name: body[name] for name in ("specversion", "id", "type", "subject", "datacontenttype")} == {
            "specversion": "1.0",
            "id": str(event.id),
            "type": "celeriac.run.failed",
            "subject": f"run:{run}",
            "datacontenttype": "application/json",
        }
        assert body["data"]["run_id"] == str(run)
        assert "hunter2" not in str(body)
        assert "k-1" not in str(body)


class TestDeliver:
    """From messages to receivers."""

    def test_delivered_signed_and_counted(self, hook, receiver):
        """What happens arrives once, verified by the public library, and is told as delivered."""
        hook(kinds=["run.*"])
        for number in range(20):
            happen(number=number)
        courier.lead()
        assert len(set(receiver.ids("shop"))) == len(receiver.seen) == 20
        assert not receiver.refused
        endpoint = WebhookEndpoint.objects.get()
        assert (endpoint.delivered_count, endpoint.failed_count, endpoint.failing_since) == (20, 0, None)
        assert set(OutboxEvent.objects.values_list("state", "try_count")) == {("delivered", 1)}
        assert outbox.counts() == outbox.Counts(
            published=20, delivered=20, failed=0, dead=0, pending=0, lag_seconds=0.0
        )
        assert not DistributedLock.objects.exclude(holder="").exists(), "the lock is let go of"

    def test_tick_leads_in_the_background(self, hook, receiver):
        """A tick of the cycle starts a courier and returns; what is due goes out."""
        hook(kinds=["run.*"])
        happen()
        assert courier.CYCLE.run() is not None
        wait_until(lambda: not courier._here[0].is_alive)
        assert len(receiver.seen) == 1
        assert courier.deliver() == 0

    def test_stopped_courier_lets_go(self, hook, receiver):
        """A pool process that ends finishes what is quick, leaves what hangs to the next, and lets go of the lock."""
        hook(kinds=["run.*"])
        receiver.behave("shop", wait=60)
        happen()
        courier.deliver()
        wait_until(lambda: receiver.seen)
        courier.stop()
        assert not courier._here[0].is_alive
        assert DistributedLock.objects.get().holder == ""
        assert message().state == "pending"

    @pytest.mark.parametrize(
        ("how", "told"),
        [
            ({"status": 500}, "answered 500 Said"),
            ({"status": 409}, "answered 409 Said"),
            ({"status": 422, "body": b"\xff\x00 what"}, "answered 422 Said"),
            ({"status": 302, "headers": {"location": "/elsewhere"}}, "answered 302 Said: redirects are not followed"),
            ({"reset": True}, "the connection was reset"),
            ({"talk": b"SMTP ready\r\n"}, "the answer was no HTTP"),
        ],
    )
    def test_failure_is_told_and_tried_again(self, hook, receiver, how, told):
        """Only 2xx is success; everything else waits for the next try, with its reason in words."""
        hook(kinds=["run.*"])
        receiver.behave("shop", **how)
        happen()
        began = timezone.now()
        courier.lead()
        found = message()
        assert (found.state, found.try_count, found.lease_token) == ("pending", 1, None)
        assert found.due_at - began > timedelta(seconds=3)
        assert found.due_at - timezone.now() < timedelta(seconds=6.1)
        tried = Delivery.objects.get()
        assert told in tried.error
        assert "\0" not in tried.response
        assert told in WebhookEndpoint.objects.get().last_error
        receiver.behave("shop")
        OutboxEvent.objects.update(due_at=timezone.now())
        courier.lead()
        assert message().state == "delivered"
        assert len(set(receiver.ids("shop"))) == 1, "the same id each time"
        assert not receiver.of("elsewhere")
        assert WebhookEndpoint.objects.get().failing_since is None

    @pytest.mark.parametrize("how", [{"wait": 1.5}, {"trickle": 0.1, "body": b"x" * 15}])
    def test_late_answer_is_a_failure(self, hook, receiver, settings, how):
        """A 200 after the time-out, or one that trickles past it, is a failure; it comes again under the same id."""
        settings.CELERIAC = settings.CELERIAC | {"webhook_timeout_seconds": 0.5}
        hook(kinds=["run.*"])
        receiver.behave("shop", **how)
        happen()
        courier.lead()
        assert Delivery.objects.get().error == "no whole answer within 0.5 s"
        assert message().state == "pending"

    @pytest.mark.parametrize(
        ("url", "told"),
        [
            ("http://no-such-host.invalid/x", "could not connect: the name no-such-host.invalid was not found"),
            ("http://127.0.0.1:1/x", "could not connect: 127.0.0.1 port 1: Connection refused"),
            ("https://127.0.0.1:{port}/x", "SSL"),
        ],
    )
    def test_unreachable(self, receiver, url, told):
        """A name that does not exist and a server without TLS are told as such."""
        webhooks.add("far", url.format(port=receiver.port), kinds=["run.*"])
        happen()
        courier.lead()
        assert told in Delivery.objects.get().error

    def test_answer_is_stored_up_to_20_kb(self, hook, receiver):
        """A large answer is cut; what cannot be read is replaced."""
        hook(kinds=["run.*"])
        receiver.behave("shop", body=b"\xe4" * 300_000)
        happen()
        courier.lead()
        assert message().state == "delivered"
        assert len(Delivery.objects.get().response) == posting.RESPONSE_BYTES

    def test_gone_disables(self, hook, receiver):
        """410 disables the endpoint, with an event; its message stays."""
        hook(kinds=["run.*"])
        receiver.behave("shop", status=410)
        happen()
        courier.lead()
        endpoint = WebhookEndpoint.objects.get()
        assert endpoint.state == "disabled"
        assert "410" in endpoint.disabled_reason
        assert message().state == "pending"
        assert Event.objects.get(kind="webhook.disabled").data["name"] == "shop"

    def test_retry_after_is_kept_within_bounds(self, hook, receiver):
        """429 with Retry-After leaves the endpoint alone for so long; it cannot shorten the schedule."""
        hook(kinds=["run.*"])
        receiver.behave("shop", status=429, headers={"retry-after": "60"})
        happen()
        happen()
        courier.lead()
        endpoint = WebhookEndpoint.objects.get()
        assert timedelta(seconds=50) < endpoint.held_until - timezone.now() < timedelta(seconds=61)
        assert message_dues() == [60, 60]
        happen()
        courier.lead()
        assert len(receiver.seen) == 2, "it is left alone"

    @pytest.mark.parametrize("how", [{"status": 429, "headers": {"retry-after": "60"}}, {"status": 410}])
    def test_what_waits_for_a_place_is_not_sent_either(self, hook, receiver, settings, how):
        """After a 410 or a 429 only what was under way already has been sent."""
        settings.CELERIAC = settings.CELERIAC | {"webhook_per_endpoint": 2}
        hook(kinds=["run.*"])
        receiver.behave("shop", wait=0.1, **how)
        for _ in range(8):
            happen()
        courier.lead()
        assert len(receiver.seen) <= 3
        assert OutboxEvent.objects.filter(state="pending").count() == 8

    def test_ten_tries_over_days_then_dead(self, hook, receiver, clock):
        """500 for days: the schedule is kept with its jitter, then the message is dead, and a replay brings it back."""
        hook(kinds=["run.*"])
        receiver.behave("shop", status=500)
        happen()
        waits = []
        for _ in range(len(outbox.SCHEDULE) - 1):
            courier.lead(clock=clock)
            waits.append((message().due_at - clock.now).total_seconds())
            clock.now = message().due_at - timedelta(milliseconds=1)
            courier.lead(clock=clock)
            clock.advance(milliseconds=2)
        courier.lead(clock=clock)
        assert message().state == "dead"
        assert [posted.id for posted in receiver.seen] == [str(message().event_id)] * 10
        assert message().try_count == Delivery.objects.count() == 10
        for wait, planned in zip(waits, outbox.SCHEDULE[1:], strict=True):
            assert 0.8 <= wait / planned.total_seconds() <= 1.2
        assert (
            len(
                {
                    round(wait / planned.total_seconds(), 3)
                    for wait, planned in zip(waits, outbox.SCHEDULE[1:], strict=True)
                }
            )
            > 2
        )
        assert WebhookEndpoint.objects.get().dead_count == 1
        receiver.behave("shop")
        webhooks.replay(message().id)
        courier.lead()
        assert message().state == "delivered"
        assert len(set(receiver.ids("shop"))) == 1

    def test_failing_for_120_hours_disables(self, hook, receiver, clock):
        """An endpoint of which every try has failed for so long is disabled, and says so."""
        hook(kinds=["run.*"])
        receiver.behave("shop", status=503)
        happen()
        courier.lead(clock=clock)
        clock.advance(hours=119)
        courier.lead(clock=clock)
        assert WebhookEndpoint.objects.get().state == "active"
        clock.advance(hours=2)
        courier.lead(clock=clock)
        endpoint = WebhookEndpoint.objects.get()
        assert endpoint.state == "disabled"
        assert "every try has failed for 120 hours" in endpoint.disabled_reason
        assert "503" in endpoint.disabled_reason
        assert Event.objects.filter(kind="webhook.disabled").count() == 1


def message_dues():
    """Return in how many seconds each message is due."""
    now = timezone.now()
    return [round((due - now).total_seconds()) for due in OutboxEvent.objects.values_list("due_at", flat=True)]


class TestClaim:
    """Who gets what."""

    def test_stale_leader_claims_and_completes_nothing(self, hook):
        """A leader whose time has run out claims nothing; one that was succeeded completes nothing either."""
        hook(kinds=["run.*"])
        happen()
        happen()
        outbox.publish()
        first = leader()
        held = outbox.claim(first, limit=1)
        DistributedLock.objects.update(until=timezone.now() - timedelta(seconds=1))
        assert outbox.claim(first) == []
        second = leader()
        assert second.token == first.token + 1
        delivered = [outbox.judge(one, posting.Answer(status=200)) for one in held]
        assert outbox.complete(first, delivered) == set()
        assert not Delivery.objects.exists()
        assert len(outbox.claim(second)) == 1, "the other's is leased"
        OutboxEvent.objects.update(due_at=F("due_at") - timedelta(hours=1))
        again = outbox.claim(second)
        assert {one.lease_token for one in again}.isdisjoint({one.lease_token for one in held})
        assert outbox.complete(second, delivered) == set(), "another lease"
        assert len(outbox.complete(second, [outbox.judge(one, posting.Answer(status=200)) for one in again])) == 2
        assert outbox.complete(second, [outbox.judge(again[0], posting.Answer(status=200))]) == set(), "once"

    def test_one_endpoint_cannot_fill_a_batch(self, hook):
        """Endpoints take turns, and none has more in hand than its bound."""
        hook("noisy", kinds=["run.*"])
        hook("quiet", kinds=["run.failed"])
        for number in range(40):
            happen("run.failed" if number > 36 else "run.opened")
        while outbox.publish():
            pass
        lock = leader()
        found = Counter(one.endpoint for one in outbox.claim(lock, limit=6, each=5))
        assert found == {"noisy": 3, "quiet": 3}
        assert Counter(one.endpoint for one in outbox.claim(lock, limit=100, each=5)) == {"noisy": 2}
        assert outbox.claim(lock, limit=100, each=5) == []

    def test_order_of_an_aggregate(self, hook):
        """Of one run there is one message under way at a time, the oldest; other runs go on."""
        hook(kinds=["run.*"], is_ordered=True)
        one, other = ids.new(), ids.new()
        for number in range(3):
            happen(run=one, number=number)
            happen(run=other, number=number)
        outbox.publish()
        lock = leader()
        seen = {str(one): [], str(other): []}
        for turn in range(3):
            held = outbox.claim(lock)
            assert len({parcel.message.body["subject"] for parcel in held}) == len(held) == 2
            assert outbox.claim(lock) == []
            fails = [outbox.judge(held[0], posting.Answer(error="no"))] if turn == 1 else []
            outbox.complete(
                lock, [*fails, *(outbox.judge(one, posting.Answer(status=200)) for one in held[len(fails) :])]
            )
            for parcel in held[len(fails) :]:
                seen[parcel.message.body["data"]["run_id"]].append(parcel.message.body["data"]["number"])
            if fails:
                assert len(outbox.claim(lock)) == 1, "what failed holds back only its own"
                OutboxEvent.objects.filter(state="pending").update(
                    lease_token=None, lease_until=None, due_at=timezone.now()
                )
        assert all(numbers == sorted(numbers) for numbers in seen.values())

    def test_endpoint_that_hangs_holds_its_bound_and_no_more(self, hook, receiver, settings, eventually):
        """A hundred endpoints, one hangs: all others are served while it does, and it holds no more than its bound."""
        settings.CELERIAC = settings.CELERIAC | {
            "webhook_timeout_seconds": 40.0,
            "webhook_concurrency": 8,
            "webhook_per_endpoint": 3,
        }
        for number in range(100):
            hook(f"e{number}", kinds=["run.*"])
        receiver.behave("e7", wait=60)
        for _ in range(4):
            happen()
        courier.deliver()
        others = [f"e{number}" for number in range(100) if number != 7]
        eventually(lambda: all(len(receiver.of(name)) == 4 for name in others), timeout=60)
        assert courier._here[0].is_alive, "it still waits for the one that hangs"
        assert receiver.most_open["e7"] <= 3
        before = len(receiver.seen)
        happen()
        eventually(lambda: len(receiver.seen) >= before + 99, message="without a tick, and at once")


class TestLook:
    """What is counted and what is removed."""

    def test_counts_and_lag(self, hook, receiver):
        """The counts follow what happens; the lag is the age of the oldest that is due."""
        hook(kinds=["run.*"])
        receiver.behave("shop", status=500)
        happen()
        courier.lead()
        OutboxEvent.objects.update(due_at=timezone.now() - timedelta(seconds=90))
        found = outbox.counts()
        assert (found.published, found.delivered, found.failed, found.pending) == (1, 0, 1, 1)
        assert 89 < found.lag_seconds < 100

    def test_old_messages_leave(self, hook, receiver):
        """What was delivered or given up long ago leaves with its tries; what waits stays."""
        hook(kinds=["run.*"])
        for _ in range(3):
            happen()
        courier.lead()
        old = timezone.now() - timedelta(days=31)
        rows = list(OutboxEvent.objects.order_by("id"))
        OutboxEvent.objects.filter(pk__in=[rows[0].pk, rows[1].pk]).update(created_at=old)
        OutboxEvent.objects.filter(pk=rows[1].pk).update(state="pending")
        assert courier.CLEAN_UP.run() == 1
        assert set(OutboxEvent.objects.values_list("id", flat=True)) == {rows[1].id, rows[2].id}
        assert Delivery.objects.count() == 2


def test_delay_is_the_longer_of_schedule_and_wish():
    """Retry-After lengthens, never shortens, and never beyond a day."""
    assert outbox.delay_before(1, asked=1, chance=0) == 5
    assert outbox.delay_before(1, asked=600, chance=0) == 600
    assert outbox.delay_before(1, asked=10**9, chance=0) == 86_400
    assert outbox.delay_before(9, chance=1) == pytest.approx(86_400 * 1.2)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("120", 120.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 60.0),
        ("Wed, 21 Oct 2020 07:28:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("9" * 400, 999_999_999_999.0),
        ("²", None),
    ],
)
def test_retry_after(text, found):
    """Seconds or a date; what is neither is not heard."""
    now = datetime(2026, 10, 21, 7, 27, tzinfo=UTC)
    assert posting.retry_after(text, now) == found


def test_ids():
    """A message's id is its event's."""
    event = uuid.uuid4()
    assert posting.signed(event, "{}", [webhooks.new_secret()])["webhook-id"] == str(event)
