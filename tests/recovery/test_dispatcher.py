"""The dispatcher: each event once to each handler, whoever hangs, fails, dies, asks or is switched off."""

import json
from datetime import timedelta

import pytest
import redis
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import transaction
from django.utils import timezone
from psycopg.types.json import Jsonb

from config import substrate
from execution import ids, ledger
from execution.exceptions import OptionInvalid
from execution.models import Event, EventReader
from recovery import dead_letters, dispatcher, handlers, handling, handling_process, redis_server
from recovery.exceptions import AlreadyDecided, Late, NotFound
from recovery.models import DeadLetter, HandlerSwitch, Handling, HandlingState
from tests.hands import MARKS, side_by_side
from tests.workers import test_environment

pytestmark = MARKS


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """Know no handlers but the test's own, read what happens from now on, and start no process by itself."""
    monkeypatch.setattr(dispatcher, "KNOWN", {})
    monkeypatch.setattr(dispatcher, "discover", lambda: None)
    monkeypatch.setattr(handling_process, "ensure", lambda: None)
    redis_server.forget()
    EventReader.objects.get_or_create(name=dispatcher.READER)
    while dispatcher.fan_out():
        pass


def happen(kind="tests.seen", **data):
    """Let something happen; returns the event's id."""
    with transaction.atomic():
        ledger.ask_in_transaction("SELECT execution_log_v1(%s, NULL, NULL, NULL, NULL, %s)", [kind, Jsonb(data)])
    return Event.objects.filter(kind=kind).order_by("-id").values_list("id", flat=True)[0]


def handle_due(name):
    """Carry out in this process what is due for a handler; returns how many that were."""
    batch = handling.claim(name)
    if batch is None:
        return 0
    handling.work_off(batch, dispatcher.KNOWN[name].function)
    handling.let_go(batch)
    return len(batch.ids)


def make_due(**wanted):
    """Let what waits for its next try be due."""
    Handling.objects.filter(**wanted).update(due_at=timezone.now() - timedelta(seconds=1))


def seen_by(*kinds, **options):
    """Register a handler that notes what it sees."""
    seen = []
    dispatcher.on(*kinds, **({"name": "tests.seen"} | options))(seen.append)
    return seen


class TestRegistration:
    def test_kinds(self):
        """A kind, a prefix, everything."""
        handler = dispatcher.Handler(name="x", kinds=("run.failed", "step.*"), function=print)
        assert [handler.wants(kind) for kind in ("run.failed", "run.failed2", "step.parked", "steps.x", "step")] == [
            True, False, True, False, False,
        ]  # fmt: skip
        assert dispatcher.Handler(name="x", kinds=("*",), function=print).wants("anything.at.all")

    @pytest.mark.parametrize("kinds", [(), ("run.fai*led",), ("Run failed",), ("*.failed",), ("",)])
    def test_wrong_kinds(self, kinds):
        """What no event can be is refused where it is written."""
        with pytest.raises(OptionInvalid, match="a handler asks for kinds such as"):
            dispatcher.on(*kinds)

    def test_two_of_one_name(self):
        """A name is stored with what it handles: two cannot share it; a module may be loaded again."""

        def one(_):
            """Do nothing."""

        dispatcher.on("a.b", name="tests.one")(one)
        dispatcher.on("a.b", name="tests.one")(one)
        with pytest.raises(OptionInvalid, match=r"two handlers are named 'tests\.one'"):
            dispatcher.on("a.b", name="tests.one")(print)


class TestFanOut:
    def test_once_per_event_and_handler(self):
        """Each handler is given each event of its kinds, with all that it holds."""
        seen = seen_by("tests.*")
        other = seen_by("tests.other", name="tests.other")
        first = happen(number=1)
        happen("tests.other", number=2)
        happen("elsewhere.seen")
        assert dispatcher.dispatch() >= 3
        dispatcher.dispatch()
        assert handle_due("tests.seen") == 2
        assert handle_due("tests.seen") == 0
        assert handle_due("tests.other") == 1
        assert [(event.kind, event.data, event.try_number) for event in seen] == [
            ("tests.seen", {"number": 1}, 1),
            ("tests.other", {"number": 2}, 1),
        ]
        assert seen[0].id == first
        assert len(other) == 1
        assert set(Handling.objects.values_list("state", flat=True)) == {HandlingState.DONE}

    def test_side_by_side(self):
        """Several dispatchers give each event once."""
        seen_by("tests.seen")
        dispatcher.introduce()
        for number in range(20):
            happen(number=number)
        side_by_side(*[dispatcher.fan_out] * 4)
        dispatcher.fan_out()
        assert Handling.objects.count() == 20

    def test_cursor_and_handlings_commit_together(self, monkeypatch):
        """A dispatcher that dies in between has written neither."""
        seen_by("tests.seen")
        dispatcher.introduce()
        happen()
        with monkeypatch.context() as patched:
            patched.setattr(dispatcher.transaction, "on_commit", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                dispatcher.fan_out()
        assert Handling.objects.count() == 0
        dispatcher.fan_out()
        assert Handling.objects.count() == 1

    def test_coalescing(self):
        """Who only wants to know that something happened is told once of what is read together."""
        seen = seen_by("tests.seen", coalesce=True)
        happen(number=1)
        happen(number=2)
        dispatcher.dispatch()
        handle_due("tests.seen")
        assert [event.data["number"] for event in seen] == [2]

    def test_history_is_not_handled(self):
        """What happened long before a handler was known is history to it."""
        seen_by("tests.seen")
        dispatcher.introduce()
        HandlerSwitch.objects.update(known_at=timezone.now() + timedelta(seconds=60))
        happen()
        dispatcher.fan_out()
        assert Handling.objects.count() == 0

    def test_not_told_of_itself(self):
        """A handler of everything that fails at everything does not fail at its own failing for ever."""

        @dispatcher.on("*", name="tests.all")
        def fails(_):
            raise ValueError

        happen()
        for _ in range(3):
            dispatcher.dispatch()
            Handling.objects.update(try_count=4, due_at=timezone.now())
            handle_due("tests.all")
        dispatcher.dispatch()
        kinds = set(Handling.objects.values_list("kind", flat=True))
        assert "tests.seen" in kinds
        assert not kinds & {"handler.gave_up", "letter.died"}

    def test_two_that_fail_at_everything_come_to_an_end(self):
        """Two broken handlers of everything do not tell each other of their failing for ever; each letter is kept."""

        def fails(_):
            raise ValueError

        for name in ("tests.one", "tests.two"):
            dispatcher.on("*", name=name)(fails)
        happen()
        for _ in range(10):
            dispatcher.dispatch()
            Handling.objects.filter(state="pending").update(try_count=4, due_at=timezone.now())
            worked = [handle_due(name) for name in ("tests.one", "tests.two")]
            if not any(worked):
                break
        assert not any(worked), "they go on telling each other"
        told = Event.objects.filter(kind__in=("handler.gave_up", "letter.died"))
        assert sorted(told.values_list("data__handler", flat=True)) == ["tests.one"] * 2 + ["tests.two"] * 2
        assert DeadLetter.objects.count() == Handling.objects.filter(state="dead").count() == 6


def long_ago():
    """Return a moment that retention has left behind."""
    return timezone.now() - timedelta(days=31)


class TestTries:
    def test_backoff_and_dead_letter(self):
        """A handler that fails is tried again later and later, and ends as a dead letter with its reason; replay is once."""
        calls = []

        @dispatcher.on("tests.seen", name="tests.fails")
        def fails(event):
            calls.append(event.try_number)
            if len(calls) <= 5:
                raise ValueError(f"no {event.try_number}")

        event_id = happen()
        dispatcher.dispatch()
        delays = []
        for _ in range(5):
            assert handle_due("tests.fails") == 1
            assert handle_due("tests.fails") == 0, "it is not due yet"
            row = Handling.objects.get()
            delays.append((row.due_at - timezone.now()).total_seconds())
            make_due()
        assert calls == [1, 2, 3, 4, 5]
        assert delays == pytest.approx([5, 10, 20, 40, 80], abs=2)
        assert row.state == HandlingState.DEAD
        letter = DeadLetter.objects.get()
        assert (letter.queue, letter.original_id, letter.tries) == ("handler:tests.fails", f"{event_id}/1", 5)
        assert letter.reason.strip().endswith("ValueError: no 5")
        assert Event.objects.filter(kind="handler.gave_up", data__handling=str(row.pk)).count() == 1

        dead_letters.replay(letter, by="ann", reason="mended")
        with pytest.raises(AlreadyDecided, match="was replayed by ann already"):
            dead_letters.replay(DeadLetter.objects.get(), by="bob")
        assert handle_due("tests.fails") == 1
        assert Handling.objects.get().state == HandlingState.DONE

    def test_error_that_no_database_holds(self):
        """Whatever an error says, it is kept."""

        @dispatcher.on("tests.seen", name="tests.fails")
        def fails(event):
            raise ValueError("NUL \0 and half a character \ud800")

        happen()
        dispatcher.dispatch()
        handle_due("tests.fails")
        assert "half a character" in Handling.objects.get().last_error

    def test_dies_again_after_replay(self):
        """What dies in its next life leaves a letter of its own."""

        @dispatcher.on("tests.seen", name="tests.fails")
        def fails(event):
            raise ValueError("still")

        event_id = happen()
        dispatcher.dispatch()
        for life in (1, 2):
            Handling.objects.update(try_count=4, due_at=timezone.now())
            handle_due("tests.fails")
            letter = DeadLetter.objects.get(original_id=f"{event_id}/{life}")
            if life == 1:
                dead_letters.replay(letter, by="ann")
        assert DeadLetter.objects.count() == 2

    def test_dies_again_when_an_earlier_letter_is_forgotten(self):
        """Retention of the first letter takes no later one its name; with a dismissed one goes what was given up."""

        @dispatcher.on("tests.seen", name="tests.fails")
        def fails(event):
            raise ValueError("still")

        event_id = happen()
        dispatcher.dispatch()
        for life in (1, 2, 3):
            Handling.objects.update(try_count=4, due_at=timezone.now())
            handle_due("tests.fails")
            letter = DeadLetter.objects.get(replayed_at=None)
            assert letter.original_id == f"{event_id}/{life}"
            if life < 3:
                dead_letters.replay(letter, by="ann")
            if life == 2:
                DeadLetter.objects.filter(original_id=f"{event_id}/1").update(replayed_at=long_ago())
                assert dead_letters.forget() == 1
        dead_letters.dismiss(letter, by="ann")
        DeadLetter.objects.filter(pk=letter.pk).update(replayed_at=long_ago())
        assert (dead_letters.forget(), Handling.objects.count()) == (1, 0)
        assert DeadLetter.objects.get().original_id == f"{event_id}/2"

    def test_killed_at_its_last_try(self):
        """A try that nobody answers counts: after the last one it is given up, and not begun again."""
        seen_by("tests.seen")
        happen()
        dispatcher.dispatch()
        batch = handling.claim("tests.seen")
        Handling.objects.update(try_count=4)
        assert handling._begin(batch.ids[0], batch) is not None
        handling.let_go(batch)
        assert handling.claim("tests.seen") is None
        letter = DeadLetter.objects.get()
        assert "it took longer than 30 s, or its process died" in letter.reason
        assert letter.tries == 5

    def test_late_process_writes_nothing(self):
        """Who has lost its lease changes nothing, and what it wants to settle is refused."""
        seen_by("tests.seen")
        happen()
        dispatcher.dispatch()
        first = handling.claim("tests.seen")
        row = handling._begin(first.ids[0], first)
        hold = handling.Hold(handling_id=row.pk, token=first.token)
        make_due()
        handling.let_go(first)
        second = handling.claim("tests.seen")
        assert second.ids == first.ids
        assert handling._begin(first.ids[0], first) is None
        handling.perform(row, hold, lambda _: None)
        assert Handling.objects.get().state == HandlingState.PENDING
        with pytest.raises(Late):
            handling._happened(row, hold).settle()

    def test_settled_with_the_handlers_own_writes(self):
        """What a handler writes and that it is done commit together, whatever becomes of it afterwards."""

        @dispatcher.on("tests.seen", name="tests.exact")
        def exact(event):
            with transaction.atomic():
                HandlerSwitch.objects.create(handler=f"written-{event.id}")
                event.settle()
            raise ValueError("too late to matter")

        event_id = happen()
        dispatcher.dispatch()
        handle_due("tests.exact")
        assert Handling.objects.get().state == HandlingState.DONE
        assert HandlerSwitch.objects.filter(pk=f"written-{event_id}").exists()
        assert handle_due("tests.exact") == 0

    def test_claims_side_by_side_share_nothing(self):
        """Two attendants never hold the same event."""
        seen_by("tests.seen")
        dispatcher.introduce()
        for number in range(30):
            happen(number=number)
        dispatcher.fan_out()
        batches = [one for one in side_by_side(*[lambda: handling.claim("tests.seen", 10)] * 4) if one]
        held = [one for batch in batches for one in batch.ids]
        assert len(held) == len(set(held)) >= 10

    def test_one_batch_a_handler(self):
        """While a handler holds a batch it is given no other: it handles one after the other."""
        seen_by("tests.seen")
        dispatcher.introduce()
        for number in range(3):
            happen(number=number)
        dispatcher.fan_out()
        assert handling.due(["tests.seen", "tests.unknown"]) == ["tests.seen"]
        batch = handling.claim("tests.seen", 1)
        assert handling.due(["tests.seen"]) == []
        handling.let_go(batch)
        assert handling.due(["tests.seen"]) == ["tests.seen"]


class TestPerson:
    def test_asks_waits_and_goes_on(self):
        """A handler stops at a question and goes on with its answer, as often as it asks."""
        decided = []

        @dispatcher.on("tests.seen", name="tests.asking")
        def asking(event):
            decided.append((event.ask("Which?"), event.ask("Why?")))

        happen()
        dispatcher.dispatch()
        for question, answer in (("Which?", "left"), ("Why?", {"because": 1})):
            assert handle_due("tests.asking") == 1
            row = handling.waiting().get()
            assert row.question == question
            assert handle_due("tests.asking") == 0
            handling.resolve(row, answer, by="ann", reason="asked")
        handle_due("tests.asking")
        assert decided == [("left", {"because": 1})]
        row.refresh_from_db()
        assert (row.state, row.answered_by) == (HandlingState.DONE, "ann")
        kinds = Event.objects.filter(data__handling=str(row.pk)).order_by("id").values_list("kind", flat=True)
        assert list(kinds) == ["handler.asked", "handler.answered"] * 2

    def test_answered_once(self):
        """Of two who answer at once one learns that the other was earlier."""

        @dispatcher.on("tests.seen", name="tests.asking")
        def asking(event):
            raise dispatcher.NeedsPerson("Which?")

        happen()
        dispatcher.dispatch()
        handle_due("tests.asking")
        row = handling.waiting().get()
        handling.resolve(Handling.objects.get(pk=row.pk), "left", by="ann")
        with pytest.raises(AlreadyDecided, match="waits for no answer"):
            handling.resolve(row, "right", by="bob")

    def test_except_exception_does_not_eat_it(self):
        """A question is no error."""

        @dispatcher.on("tests.seen", name="tests.asking")
        def asking(event):
            try:
                event.ask("Which?")
            except Exception:  # noqa: BLE001 - as a handler might
                pytest.fail("it was eaten")

        happen()
        dispatcher.dispatch()
        handle_due("tests.asking")
        assert handling.waiting().count() == 1


class TestSwitch:
    def test_off_waits_and_on_goes_on(self):
        """While a handler is off nothing is handled and nothing is lost; others are not touched."""
        seen = seen_by("tests.seen")
        seen_by("tests.seen", name="tests.other")
        dispatcher.introduce()
        dispatcher.switch("tests.seen", is_enabled=False, by="ann", reason="mad")
        happen()
        dispatcher.dispatch()
        assert handling.due(list(dispatcher.KNOWN)) == ["tests.other"]
        dispatcher.switch("tests.seen", is_enabled=True, by="ann")
        assert "tests.seen" in handling.due(list(dispatcher.KNOWN))
        handle_due("tests.seen")
        assert len(seen) == 1

    def test_fresh(self):
        """Who is to begin afresh is not given what has waited."""
        seen_by("tests.seen")
        dispatcher.introduce()
        dispatcher.switch("tests.seen", is_enabled=False, by="ann")
        happen()
        dispatcher.dispatch()
        dispatcher.switch("tests.seen", is_enabled=True, by="ann", is_fresh=True)
        assert Handling.objects.count() == 0

    def test_unknown_name(self):
        """A name that nobody has is answered with the nearest."""
        seen_by("tests.seen")
        with pytest.raises(NotFound, match=r"did you mean 'tests\.seen'"):
            dispatcher.switch("tests.sen", is_enabled=False, by="ann")


class TestPublishing:
    def test_every_event_to_whoever_listens(self):
        """Each event is published as JSON after its commit; a large one without its data."""
        with redis.from_url(substrate.addresses().redis_url, decode_responses=True) as client, client.pubsub() as heard:
            heard.subscribe(dispatcher.channel())
            heard.get_message(timeout=5)
            happen(number=1)
            happen("tests.large", text="x" * 10_000)
            dispatcher.fan_out()
            messages = [json.loads(heard.get_message(timeout=5)["data"]) for _ in range(2)]
        assert [one["kind"] for one in messages] == ["tests.seen", "tests.large"]
        assert messages[0]["data"] == {"number": 1}
        assert (messages[1]["data"], messages[1]["is_shortened"]) == ({}, True)

    def test_no_redis(self, settings):
        """Without Redis nobody is told live, and every handler is."""
        settings.REDIS_URL = "redis://127.0.0.1:1/0"
        seen_by("tests.seen")
        happen()
        dispatcher.dispatch()
        assert handle_due("tests.seen") == 1


def test_shipped_handlers_nudge(monkeypatch):
    """A failure, an opened candidate and an ended run each send the task of the cycle that looks after them."""
    sent = []
    monkeypatch.setattr(
        handlers.current_app, "send_task", lambda task, **options: sent.append((task, options["queue"]))
    )
    for nudge in (handlers.nudge_intake, handlers.nudge_stream, handlers.nudge_measuring):
        nudge(None)
    assert [queue for _, queue in sent] == ["celeriac"] * 3
    assert len({task for task, _ in sent}) == 3


def test_old_handlings_are_forgotten():
    """What was handled long ago leaves; what is pending, waiting or dead stays."""
    old = timezone.now() - timedelta(days=30)
    for state in HandlingState.values:
        Handling.objects.create(
            handler="x", event_id=ids.new(), kind="a.b", event={}, state=state, ended_at=old, created_at=old
        )
    assert handling.forget() == 1
    assert set(Handling.objects.values_list("state", flat=True)) == {"pending", "waiting", "dead"}


def told(*arguments):
    """Run a command and return what it says."""
    from io import StringIO

    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


class TestCommands:
    def test_handlers(self):
        """Listed, switched, asked and answered, as text and as JSON."""

        @dispatcher.on("tests.seen", name="tests.asking")
        def asking(event):
            event.ask("Which?")

        happen()
        dispatcher.dispatch()
        handle_due("tests.asking")
        assert "tests.asking" in told("handlers", "list")
        (row,) = [
            r for r in json.loads(told("handlers", "list", "--json"))["handlers"] if r["handler"] == "tests.asking"
        ]
        assert (row["waiting"], row["is_enabled"], row["kinds"]) == (1, True, ["tests.seen"])
        assert "switched off" in told("handlers", "disable", "tests.asking", "--reason", "mad")
        assert "switched on" in told("handlers", "enable", "tests.asking", "--fresh")
        (asked,) = json.loads(told("handlers", "questions", "--json"))["questions"]
        assert asked["question"] == "Which?"
        assert "goes on with the answer to 'Which?'" in told("handlers", "resolve", asked["id"], "left", "--by", "ann")
        assert told("handlers", "questions") == "nobody asks anything\n"
        with pytest.raises(CommandError, match="there is no question"):
            told("handlers", "resolve", asked["id"], "left")
        with pytest.raises(CommandError, match="did you mean 'tests.asking'"):
            told("handlers", "disable", "tests.askin")

    def test_dead_letters(self):
        """Listed, shown, replayed by id and by time, dismissed; what cannot be is said, with status 1."""
        for number in range(3):
            dead_letters.keep(queue="stream", original_id=f"1-{number}", body={"candidate": "x"}, reason="r", tries=5)
        letter = DeadLetter.objects.order_by("id")[0]
        assert told("dead-letters", "list").count("\n") == 4
        assert len(json.loads(told("dead-letters", "list", "--json", "--queue", "stream"))["letters"]) == 3
        assert told("dead-letters", "list", "--queue", "express") == "there is no dead letter\n"
        assert "1-0" in told("dead-letters", "show", str(letter.pk))
        with pytest.raises(SystemExit):
            told("dead-letters", "replay", str(letter.pk))
        assert DeadLetter.objects.filter(replayed_at=None).count() == 3
        answer = json.loads(told("dead-letters", "dismiss", str(letter.pk), "--json", "--by", "ann"))
        assert answer["dismissed"] == 1
        answer = json.loads(told("dead-letters", "dismiss", "--since", "1h", "--json"))
        assert answer["dismissed"] == 2
        assert "dismissed" in told("dead-letters", "list", "--all")
        with pytest.raises(CommandError, match="name letters by their ids"):
            told("dead-letters", "replay")
        with pytest.raises(CommandError, match="there is no dead letter"):
            told("dead-letters", "show", "nonsense")


# With real processes


@pytest.fixture
def attendant(monkeypatch, tmp_path):
    """Start an attendant on the test's database, with the tests' handlers; it ends with the test."""
    for name, value in test_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CELERIAC_HANDLER_SECONDS", "4")
    from importlib import reload

    from tests import handler_skills

    reload(handler_skills)
    process = handling_process.start()
    yield process
    process.kill()
    process.wait(10)
    process.stdin.close()


def lines(folder, name):
    """Return what handlers have noted in a file."""
    path = folder / name
    return path.read_text().splitlines() if path.exists() else []


def test_hanging_handler_delays_nobody(attendant, tmp_path, eventually):
    """A handler that hangs, deaf to its alarm, is ended at its limit and tried again later; others go on meanwhile."""
    dispatcher.introduce()
    happen("tests.hanging", folder=str(tmp_path))
    dispatcher.fan_out()
    eventually(lambda: lines(tmp_path, "hanging"), timeout=30)
    happen("tests.quick", folder=str(tmp_path))
    dispatcher.fan_out()
    eventually(lambda: lines(tmp_path, "quick"))
    still = Handling.objects.get(handler="tests.hanging", kind="tests.hanging")
    assert still.lease_until > timezone.now(), "the one that hangs has not been ended yet"
    eventually(lambda: len(lines(tmp_path, "hanging")) == 2, message="its next event is handled")
    row = Handling.objects.get(handler="tests.hanging", kind="tests.hanging")
    assert row.state == HandlingState.PENDING
    assert "it did not end" in row.last_error
    assert row.due_at - row.created_at > timedelta(seconds=handling.BACKOFF_SECONDS)


def test_killed_child_is_replaced(attendant, tmp_path, eventually):
    """A handler whose process is killed is tried again; the events behind it are handled."""
    dispatcher.introduce()
    happen("tests.deadly", folder=str(tmp_path))
    dispatcher.fan_out()
    eventually(lambda: Handling.objects.filter(try_count=1, lease_until__lte=timezone.now()).exists(), timeout=30)
    make_due()
    eventually(lambda: Handling.objects.filter(state=HandlingState.DONE).exists())
    assert len(lines(tmp_path, "deadly")) == 2
    assert len(lines(tmp_path, "survived")) == 1


def test_attendant_leaves_with_its_starter(attendant, tmp_path, eventually):
    """When whoever started it is gone it finishes what is handled and leaves; nothing is left without a lease's end."""
    dispatcher.introduce()
    happen("tests.slow", folder=str(tmp_path), seconds=1)
    dispatcher.fan_out()
    eventually(lambda: lines(tmp_path, "slow"), timeout=30)
    attendant.stdin.close()
    assert attendant.wait(15) == 0
    assert len(lines(tmp_path, "slow-done")) == 1
    assert Handling.objects.get().state == HandlingState.DONE


@pytest.mark.slow
def test_worker_killed_with_everything(workers, tmp_path, eventually, monkeypatch):
    """The worker, its attendant and the handler's child are killed at once: another worker handles it again."""
    from importlib import reload

    from tests import handler_skills

    reload(handler_skills)
    options = {
        "queues": "celeriac", "concurrency": 1, "skills": "tests.handler_skills",
        "environment": {"CELERIAC_HANDLER_SECONDS": "20"},
    }  # fmt: skip
    first = workers("first", **options)
    event_id = happen("tests.slow", folder=str(tmp_path), seconds=30)
    handlers.nudge("recovery.dispatch")
    eventually(lambda: lines(tmp_path, "slow"), timeout=40)
    first.kill()
    row = Handling.objects.get(handler="tests.slow")
    assert (row.event_id, row.state) == (event_id, HandlingState.PENDING)
    Handling.objects.update(
        lease_until=timezone.now(), due_at=timezone.now(), event=row.event | {"data": {"folder": str(tmp_path)}}
    )
    workers("second", **options)
    eventually(lambda: bool(handlers.nudge("recovery.dispatch")) or lines(tmp_path, "slow-done"), timeout=40, every=0.5)
    eventually(lambda: Handling.objects.get(handler="tests.slow").state == HandlingState.DONE)
    assert len(lines(tmp_path, "slow")) == 2
