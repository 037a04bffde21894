"""Timers: fired in due order, each exactly once, by whoever looks first, and however many are pending."""

import random
import time
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from execution import ids, ledger, runs, timers, upkeep
from execution.exceptions import NotPossible, OptionInvalid
from execution.models import Event, Run, Step, Timer
from execution.skills import skill
from tests.hands import MARKS, finish, make_due, open_run, side_by_side

pytestmark = MARKS


@skill("timers.echo")
def echo(ctx, text: str = "hello") -> str:
    """Say something."""
    return text


@skill("timers.nap")
def nap(ctx, hours: int = 6) -> str:
    """Sleep, then say so."""
    ctx.sleep("nap", hours=hours)
    return "awake"


def wake(limit=1000):
    """Fire what is due."""
    return ledger.ask("SELECT * FROM execution_wake_v1(%s)", [limit])[0]


def let_be_due(*found, seconds=1):
    """Let timers be due for so long, as if time had passed."""
    Timer.objects.filter(pk__in=[one.pk for one in found]).update(due_at=timezone.now() - timedelta(seconds=seconds))


class TestWake:
    def test_sleeping_step_is_woken_when_it_is_due(self, hands):
        """A sleep holds no worker, wakes nobody early, and goes on when its time has come."""
        run = open_run("timers.nap", {})
        assert hands.perform(run).waiting == "timer"
        assert wake().fired == 0
        assert hands.claim(run).verdict == "nothing"
        make_due(run)
        assert (wake().fired, wake().fired) == (1, 0)
        assert Step.objects.get(pk=run.id).state == "ready"

    def test_timers_fire_in_due_order(self, hands):
        """The oldest is fired first, whatever the order in which they were stored."""
        found = [timers.at("1h", echo, {"text": str(number)}) for number in range(6)]
        for seconds, timer in zip((30, 60, 10, 50, 20, 40), found, strict=True):
            let_be_due(timer, seconds=seconds)
        assert wake(3).fired == 3
        assert set(Timer.objects.exclude(fired_at=None)) == {found[1], found[3], found[5]}
        assert wake(3).fired == 3

    def test_two_wakers_side_by_side_fire_each_once(self, hands):
        """However many wake at once, each timer opens its run once and wakes its step once."""
        found = [timers.at("1h", echo) for _ in range(150)]
        naps = [open_run("timers.nap", {}) for _ in range(20)]
        for run in naps:
            finish(hands.take(run), "suspended", waiting="timer", wake_seconds=0, timer="sleep")
        let_be_due(*found)
        answers = side_by_side(*[lambda: [wake(20).fired for _ in range(12)]] * 4)
        assert sum(sum(part) for part in answers) == 170
        assert Run.objects.filter(workflow="timers.echo").count() == 150
        assert Step.objects.filter(skill="timers.nap", state="ready").count() == 20

    def test_overdue_timers_fire_at_once(self, hands):
        """After a pause of all workers everything that fell due is fired, none of it a second time."""
        found = [timers.at("1h", echo) for _ in range(30)]
        let_be_due(*found, seconds=86400 * 3)
        assert upkeep.wake(limit=7) == 30
        assert upkeep.wake() == 0
        assert Run.objects.filter(workflow="timers.echo").count() == 30

    def test_timer_of_an_earlier_epoch_wakes_nobody(self, hands):
        """A step that went on by a signal and sleeps again is not woken by the timer of its first sleep."""
        run = open_run("timers.nap", {})
        claim = hands.take(run)
        finish(claim, "suspended", waiting="signal", awaits=["go"], wake_seconds=3600, timer="timeout")
        runs.signal(run, "go")
        finish(hands.take(run), "suspended", waiting="timer", wake_seconds=7200, timer="sleep")
        let_be_due(Timer.objects.get(kind="timeout"))
        assert wake().fired == 1
        assert Step.objects.get(pk=run.id).state == "waiting"

    def test_step_that_is_held_is_left_for_the_next_tick(self, hands):
        """A step that somebody holds at this moment delays only its own timer, which is not lost."""
        first, second = open_run("timers.nap", {}), open_run("timers.nap", {})
        for run in (first, second):
            finish(hands.take(run), "suspended", waiting="timer", wake_seconds=0, timer="sleep")
        with ledger.connect() as other, other.transaction():
            other.execute("SELECT 1 FROM execution_step WHERE id = %s FOR UPDATE", [first.id])
            assert wake().fired == 1
        assert wake().fired == 1
        assert Step.objects.filter(state="ready").count() == 2

    def test_run_with_a_later_start_waits_for_it(self, hands):
        """A run opened for later is not claimed before."""
        run = open_run("timers.echo", {}, start_at=timezone.now() + timedelta(hours=1))
        assert hands.claim(run).verdict == "nothing"
        make_due(run)
        wake()
        assert hands.perform(run).state == "completed"


class TestCustom:
    def test_custom_timer_opens_its_run_once(self, hands):
        """A custom timer opens one run, of the id that it was given, with its input."""
        timer = timers.at("1h", echo, {"text": "later"}, priority=3, tags=["t"])
        let_be_due(timer)
        wake()
        Timer.objects.filter(pk=timer.pk).update(fired_at=None)
        wake()
        run = Run.objects.get(workflow="timers.echo")
        assert str(run.id) == timer.opening["id"]
        hands.perform(run)
        assert runs.result(run) == "later"

    def test_large_input_is_there_when_it_fires(self, hands):
        """An input that is kept by its hash is opened as it was given."""
        text = random.Random(1).randbytes(80_000).hex()
        timer = timers.at("1h", echo, {"text": text})
        let_be_due(timer)
        wake()
        run = Run.objects.get(workflow="timers.echo")
        hands.perform(run)
        assert runs.result(run) == text

    def test_cancelled_timer_does_not_fire(self, hands):
        """A timer is cancelled by itself, its id or its name, once, and not after it has fired."""
        by_itself, by_id = timers.at("1h", echo), timers.at("1h", echo)
        timers.at("1h", echo, name="nightly")
        fired = timers.at("1h", echo)
        let_be_due(fired)
        wake()
        assert [timers.cancel(one) for one in (by_itself, by_id.id, "nightly", fired, "nightly", ids.new())] == [
            True, True, True, False, False, False,
        ]  # fmt: skip
        Timer.objects.update(due_at=timezone.now() - timedelta(seconds=1))
        assert wake().fired == 0

    def test_cancel_against_firing(self, hands):
        """A timer that is cancelled at the moment it fires does one of the two."""
        for _ in range(30):
            timer = timers.at("1h", echo)
            let_be_due(timer)
            cancelled, _ = side_by_side(lambda timer=timer: timers.cancel(timer), wake)
            assert Run.objects.filter(pk=timer.opening["id"]).exists() is not cancelled

    def test_name_is_pending_once(self, hands):
        """Under a name one timer is pending at a time; when it has fired the name is free."""
        first = timers.at("1h", echo, name="nightly")
        with pytest.raises(NotPossible, match="nightly"):
            timers.at("2h", echo, name="nightly")
        let_be_due(first)
        wake()
        assert timers.at("1h", echo, name="nightly").pk != first.pk

    def test_names_side_by_side_one_is_stored(self, hands):
        """Six that store a timer of one name at once: one succeeds."""

        def store():
            try:
                return timers.at("1h", echo, name="nightly")
            except NotPossible:
                return None

        assert sum(one is not None for one in side_by_side(*[store] * 6)) == 1

    def test_opening_that_fails_holds_up_no_other(self, hands):
        """A timer that cannot open its run is cancelled and told of in the log; the others fire."""
        broken, fine = timers.at("1h", echo, name="broken"), timers.at("1h", echo)
        broken.opening["template"]["skill"] = None
        broken.save()
        let_be_due(broken, fine)
        wake()
        broken.refresh_from_db()
        assert broken.cancelled_at is not None
        assert Event.objects.get(kind="timer.failed").data["name"] == "broken"
        assert Run.objects.count() == 1

    def test_deadline_counts_from_the_firing(self, hands):
        """A deadline given as a length is that long after the run opens, not after the timer was stored."""
        timer = timers.at("5h", echo, deadline="1h")
        template = timer.opening["template"]
        assert template["deadline_at"] == (timer.due_at + timedelta(hours=1)).isoformat()

    def test_moment_without_a_zone_is_refused(self, hands):
        """A time that could mean several is an error."""
        with pytest.raises(OptionInvalid, match="no time zone"):
            timers.at(timezone.now().replace(tzinfo=None), echo)

    def test_timer_of_a_rolled_back_transaction_is_not_there(self, hands):
        """A timer is stored in the caller's transaction."""

        @transaction.atomic
        def store():
            timers.at("1h", echo)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store()
        assert not Timer.objects.exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_million_pending_cost_no_more_than_a_thousand(hands):
    """With a million timers pending, due ones fire as late and as cheaply as with a thousand."""
    insert = (
        "INSERT INTO execution_timer (id, kind, due_at, created_at) "
        "SELECT execution_uuid7_v1(), 'sleep', clock_timestamp() + interval '1 day' + n * interval '1 second', "
        "clock_timestamp() FROM generate_series(1, %s) n"
    )
    seconds = {}
    for pending in (1000, 1_000_000):
        ledger.ask(insert, [pending])
        ledger.ask("ANALYZE execution_timer")
        wake()
        measured = []
        for _ in range(15):
            naps = runs.start_many("timers.nap", [{} for _ in range(100)])
            ledger.ask(
                "UPDATE execution_step SET state = 'waiting', waiting = 'timer', wake_at = '2020-01-01' WHERE id = ANY(%s)",
                [naps],
            )
            ledger.ask(
                "INSERT INTO execution_timer (id, kind, due_at, step_id, run_id, epoch, created_at) "
                "SELECT execution_uuid7_v1(), 'sleep', '2020-01-01', n, n, 0, now() FROM unnest(%s::uuid[]) n",
                [naps],
            )
            began = time.perf_counter()
            assert (answer := wake()).woken == 100, answer
            measured.append(time.perf_counter() - began)
        seconds[pending] = sorted(measured)[len(measured) // 2]
    assert seconds[1_000_000] < 2 * seconds[1000] + 0.01, seconds
