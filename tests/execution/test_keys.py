"""Concurrency keys: a limit is never passed, a rate is kept by the database's clock, what is freed wakes what fits."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import transaction
from django.db.models.expressions import RawSQL
from django.utils import timezone

from execution import ledger, runs
from execution.ledger import Claim
from execution.models import ConcurrencyKey, Step, Timer
from tests.hands import MARKS, finish, open_run, side_by_side

pytestmark = MARKS

BLOCKED = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def keyed(count, key="key", **changes):
    """Open runs that share a key."""
    found = [open_run() for _ in range(count)]
    Step.objects.filter(run_id__in=[run.id for run in found]).update(key=key, **changes)
    return found


def claimed(hands, found):
    """Claim each of these runs; return those that were."""
    return [one for one in (hands.claim(run) for run in found) if isinstance(one, Claim)]


def ready(key="key"):
    """Return the steps of a key that may be claimed."""
    return set(Step.objects.filter(key=key, state="ready").values_list("id", flat=True))


def fold():
    """Do what upkeep does about keys."""
    ledger.ask("SELECT execution_fold_v1()")


class TestLimit:
    def test_limit_is_never_passed_by_sixteen_threads(self, hands):
        """Sixteen workers that claim and end steps of one key never perform more than its limit, and end them all."""
        ConcurrencyKey.objects.create(name="key", limit_count=3)
        keyed(60)
        now, most, guard = [0], [0], threading.Lock()

        def change(by):
            with guard:
                now[0] += by
                most[0] = max(most[0], now[0])

        def work():
            for _ in range(2000):
                rows = ledger.ask("SELECT id FROM execution_step WHERE state = 'ready' ORDER BY random() LIMIT 1")
                if not rows:
                    if not Step.objects.exclude(state="completed").exists():
                        return
                    continue
                claim = hands.claim(rows[0].id)
                if isinstance(claim, Claim):
                    change(1)
                    change(-1)
                    finish(claim)

        side_by_side(*[work] * 16, timeout=100)
        assert not Step.objects.exclude(state="completed").exists()
        assert 1 <= most[0] <= 3

    def test_claims_side_by_side_take_the_limit_and_no_more(self, hands):
        """Of sixteen claims at the same moment as many succeed as the limit allows; the others wait for the key."""
        ConcurrencyKey.objects.create(name="key", limit_count=5)
        found = keyed(16)
        answers = side_by_side(*[lambda run=run: hands.claim(run) for run in found])
        assert sum(isinstance(one, Claim) for one in answers) == 5
        assert Step.objects.filter(state="waiting", waiting="key").count() == 11

    def test_unknown_key_does_not_limit(self, hands):
        """A key that nobody has limited holds nothing back."""
        assert len(claimed(hands, keyed(4))) == 4

    @pytest.mark.parametrize("ending", ["completed", "failed", "suspended", "retrying", "parked", "cancelled", "lost"])
    def test_slot_comes_back_by_every_door(self, hands, ending):
        """However a step leaves, a lost worker's too, its slot is free and wakes one that waits."""
        ConcurrencyKey.objects.create(name="key", limit_count=1)
        found = keyed(3)
        (claim,) = claimed(hands, found)
        if ending == "lost":
            hands.lose(claim)
        else:
            finish(claim, ending, waiting="signal", wake_seconds=60, error={})
        assert len(ready() - {claim.step_id}) == (0 if ending == "lost" else 1)
        assert len(claimed(hands, found)) == 1

    def test_raised_limit_wakes_as_many_as_fit(self, hands):
        """When an operator raises a limit the next upkeep wakes as many as fit, the most urgent first."""
        key = ConcurrencyKey.objects.create(name="key", limit_count=0)
        found = keyed(6)
        assert claimed(hands, found) == []
        urgent = [run.id for run in found[4:]]
        Step.objects.filter(run_id__in=urgent).update(priority=5)
        key.limit_count = 2
        key.save()
        fold()
        assert ready() == set(urgent)

    def test_removed_limit_wakes_everybody(self, hands):
        """A key without a limit holds nobody."""
        ConcurrencyKey.objects.create(name="key", limit_count=1)
        found = keyed(5)
        claimed(hands, found)
        ConcurrencyKey.objects.update(limit_count=None)
        fold()
        assert len(ready()) == 4

    def test_slot_that_its_heir_cannot_use_goes_on(self, hands):
        """A step that is woken for a slot and cannot start leaves the slot to another one."""
        ConcurrencyKey.objects.create(name="key", limit_count=1)
        found = keyed(3)
        (claim,) = claimed(hands, found)
        waiting = Step.objects.filter(state="waiting", waiting="key").order_by("id")
        first, second = waiting[0], waiting[1]
        runs.pause(first.run_id)
        finish(claim)
        assert hands.claim(first.id).reason == "paused"
        fold()
        assert ready() == {second.id}


class TestRate:
    def test_rate_lets_as_many_start_as_it_says(self, hands):
        """Sixteen claims at the same moment take the tokens that there are; the others wait."""
        ConcurrencyKey.objects.create(name="key", rate_count=5, rate_seconds=3600, token_count=5)
        found = keyed(16)
        answers = side_by_side(*[lambda run=run: hands.claim(run) for run in found])
        assert sum(isinstance(one, Claim) for one in answers) == 5
        due = Timer.objects.filter(kind="rate").values_list("due_at", flat=True)
        assert len(due) == 11
        expected = timezone.now() + timedelta(seconds=720)
        assert all(abs(one - expected) < timedelta(seconds=30) for one in due)

    def test_rate_is_counted_from_the_claim_before(self, hands, eventually):
        """A claim that had to wait for the key finds the tokens as the claim before it left them, not fewer."""
        ConcurrencyKey.objects.create(name="key", rate_count=5, rate_seconds=5, token_count=0)
        (run,) = keyed(1)
        with ThreadPoolExecutor(1) as pool:
            with transaction.atomic():
                ConcurrencyKey.objects.select_for_update().get()
                answer = pool.submit(lambda: side_by_side(lambda: hands.claim(run)))
                eventually(lambda: ledger.ask(BLOCKED))
                ConcurrencyKey.objects.update(token_count=1, refilled_at=RawSQL("clock_timestamp()", []))
            (claim,) = answer.result()
        assert isinstance(claim, Claim)

    def test_tokens_come_back_with_the_databases_clock(self, hands):
        """After the time for two tokens two may start, and never more than a full bucket."""
        ConcurrencyKey.objects.create(name="key", rate_count=5, rate_seconds=3600, token_count=0)
        assert claimed(hands, keyed(2)) == []
        ConcurrencyKey.objects.update(refilled_at=timezone.now() - timedelta(seconds=1500))
        assert len(claimed(hands, keyed(4))) == 2
        ConcurrencyKey.objects.update(refilled_at=timezone.now() - timedelta(days=30))
        assert len(claimed(hands, keyed(9))) == 5

    def test_waiting_steps_are_woken_by_their_timers(self, hands):
        """What waits for a rate is woken by a stored timer, also when nothing else happens to the key."""
        ConcurrencyKey.objects.create(name="key", rate_count=1, rate_seconds=3600, token_count=0)
        found = keyed(1)
        claimed(hands, found)
        moment = timezone.now() - timedelta(seconds=1)
        Timer.objects.update(due_at=moment)
        Step.objects.update(wake_at=moment)
        ledger.ask("SELECT * FROM execution_wake_v1()")
        ConcurrencyKey.objects.update(refilled_at=timezone.now() - timedelta(hours=1))
        assert len(claimed(hands, found)) == 1

    def test_full_key_takes_no_token(self, hands):
        """A claim that the limit refuses leaves the rate's tokens alone."""
        ConcurrencyKey.objects.create(name="key", limit_count=1, rate_count=9, rate_seconds=3600, token_count=9)
        assert len(claimed(hands, keyed(6))) == 1
        assert 8 <= ConcurrencyKey.objects.get().token_count < 8.1
