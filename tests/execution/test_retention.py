"""Retention: what is old leaves, what is in use stays, and nothing of a run that has not ended is touched."""

import random
from datetime import timedelta

import psycopg
import pytest
from django.utils import timezone

from execution import ids, ledger, retention, runs, timers
from execution.models import Blob, Checkpoint, Chord, ChordPart, Run, Signal, Step, Timer, Worker
from execution.skills import skill
from tests.hands import MARKS, finish, open_run, record, side_by_side

pytestmark = MARKS


@skill("retention.keep")
def keep(ctx, text: str = "") -> str:
    """Take something and give it back."""
    return text


def large(mark):
    """Return a text that is kept by its hash."""
    return mark + random.Random(mark).randbytes(80_000).hex()


def age(days):
    """Let everything be so much older."""
    for table, columns in {
        "execution_run": ["created_at", "ended_at"],
        "execution_timer": ["fired_at", "cancelled_at"],
        "execution_blob": ["created_at"],
        "execution_signal": ["created_at", "consumed_at"],
        "execution_chord": ["fired_at"],
        "execution_worker": ["gone_at"],
    }.items():
        changes = ", ".join(f"{column} = {column} - interval '{days} days'" for column in columns)
        ledger.ask(f"UPDATE {table} SET {changes}")  # noqa: S608 - names from above


def write_some(hands, run):
    """Let a run have some of everything."""
    runs.signal(run, "go", 1)
    claim = hands.take(run)
    ledger.record(claim.step_id, claim.epoch, [record("a", value=1), record("b", "save", 2)])
    Timer.objects.create(kind="sleep", due_at=timezone.now(), step_id=run.id, run_id=run.id, fired_at=timezone.now())
    Timer.objects.create(kind="sleep", due_at=timezone.now(), run_id=run.id, cancelled_at=timezone.now())
    return claim


def left_of(run):
    """Count what is left of a run."""
    return (
        Checkpoint.objects.filter(step_id=run.id).count(),
        Timer.objects.filter(run_id=run.id).count(),
        Signal.objects.filter(run_id=run.id).count(),
    )


@pytest.mark.parametrize("ending", ["completed", "failed", "cancelled"])
def test_run_that_ended_long_ago_is_cleaned(hands, ending):
    """Checkpoints, fired timers and signals leave seven days after their run's end, and not before."""
    run = open_run()
    finish(write_some(hands, run), ending, error={})
    age(6.9)
    retention.clean_up()
    assert left_of(run) == (2, 2, 1)
    age(0.2)
    retention.clean_up()
    assert left_of(run) == (0, 0, 0)
    assert Run.objects.filter(pk=run.id).exists()


@pytest.mark.parametrize("state", ["pending", "running", "waiting", "parked", "paused", "retried"])
def test_run_that_has_not_ended_is_never_touched(hands, state):
    """However old it is, a run that may go on keeps all it needs to go on."""
    run = open_run("retention.keep", {"text": large("input")}, key="once")
    claim = write_some(hands, run)
    if state == "waiting":
        finish(claim, "suspended", waiting="timer", wake_seconds=10**8, timer="sleep")
    elif state == "parked":
        finish(claim, "parked", waiting="effect")
    elif state == "paused":
        runs.pause(run)
    elif state == "retried":
        finish(claim, "failed", error={})
        runs.retry(run)
    elif state == "pending":
        hands.lose(claim)
    before = left_of(run)
    age(1000)
    retention.clean_up()
    assert left_of(run) == before
    assert (Run.objects.get(pk=run.id).key, Blob.objects.count()) == ("once", 1)


class TestKeys:
    def test_key_holds_a_day_after_the_end(self, hands):
        """A second start with the key finds the run until a day after its end; then the key is free."""
        run = open_run("retention.keep", {}, key="once")
        finish(hands.take(run), "completed")
        age(0.98)
        retention.clean_up()
        assert runs.start("retention.keep", {}, key="once").id == run.id
        age(0.05)
        retention.clean_up()
        again = runs.start("retention.keep", {}, key="once")
        assert again.created
        assert again.id != run.id


class TestBlobs:
    def test_blob_in_use_stays_and_unused_goes(self, hands):
        """A large value stays as long as anything refers to it, wherever that is, and goes when nothing does."""
        texts = [large(f"{number}") for number in range(8)]
        run = open_run("retention.keep", {"text": texts[0]})
        claim = hands.take(run)
        ledger.record(claim.step_id, claim.epoch, [record("a", value=texts[1])])
        runs.signal(run, "go", texts[2])
        effect = ids.new()
        packed = record("", value=texts[3]).packed
        ledger.intend(claim.step_id, claim.epoch, effect, token="e", key="k", policy="ask", intent=packed)
        ledger.receipt(claim.step_id, claim.epoch, effect, state="done", receipt=record("", value=texts[4]).packed)
        finish(claim, "completed", texts[5])
        timers.at("30d", keep, {"text": texts[6]})
        part = record("", value=texts[7]).packed
        ledger.keep_blobs([part])
        ChordPart.objects.create(group_id="g", task_id="t", index=0, is_success=True, result=part.data)
        ledger.keep_blobs([record("", value=large("unused")).packed])
        assert Blob.objects.count() == 9
        age(2)
        retention.clean_up()
        assert Blob.objects.count() == 8
        assert not Blob.objects.filter(hash=record("", value=large("unused")).packed.blob[0]).exists()

    def test_blob_of_a_day_stays(self, hands):
        """What was stored a moment ago may be referred to in a moment."""
        ledger.keep_blobs([record("", value=large("fresh")).packed])
        age(0.9)
        retention.clean_up()
        assert Blob.objects.count() == 1

    def test_blob_stored_again_while_it_is_removed(self, hands):
        """A value that is stored again at the moment its old blob goes is there afterwards, however the two fall together."""
        for number in range(15):
            packed = record("", value=large(f"{number}")).packed
            ledger.keep_blobs([packed])
            age(3)
            side_by_side(
                lambda packed=packed: ledger.keep_blobs([packed]), lambda: retention._batches(retention._BLOBS)
            )
            assert Blob.objects.filter(hash=packed.blob[0]).exists()

    def test_blob_stored_again_in_an_open_transaction(self, hands):
        """The same when the one who stores it commits after the clean-up has begun to wait for it."""
        packed = record("", value=large("again")).packed
        ledger.keep_blobs([packed])
        age(3)
        with ledger.connect() as other, other.transaction():
            other.execute("UPDATE execution_blob SET created_at = now() WHERE hash = %b", [packed.blob[0]])
            with ledger.connect() as cleaner:
                cleaner.execute("SET lock_timeout = 300")
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    cleaner.execute(retention._BLOBS, [10])
        assert retention._batches(retention._BLOBS) == 0


class TestRest:
    def test_workers_and_chords_that_are_gone_leave(self, hands):
        """Workers gone for a day and chords fired a week ago are forgotten; others stay."""
        Worker.objects.create(hostname="gone", pid=1, lock_number=1, gone_at=timezone.now())
        Worker.objects.create(hostname="here", pid=2, lock_number=2)
        Chord.objects.create(group_id="fired", size=1, fired_at=timezone.now())
        Chord.objects.create(group_id="open", size=1)
        for group in ("fired", "open"):
            ChordPart.objects.create(group_id=group, task_id="t", index=0, is_success=True)
        age(8)
        retention.clean_up()
        assert list(Worker.objects.values_list("hostname", flat=True)) == ["here"]
        assert list(Chord.objects.values_list("group_id", flat=True)) == ["open"]
        assert ChordPart.objects.count() == 1

    def test_clean_up_twice_at_once(self, hands):
        """Two that clean up side by side do it once, and neither fails."""
        found = [open_run() for _ in range(20)]
        for run in found:
            finish(write_some(hands, run), "completed")
        age(9)
        side_by_side(retention.clean_up, retention.clean_up)
        assert not Checkpoint.objects.exists()
        assert not Signal.objects.exists()

    def test_batches_go_on_until_nothing_is_left(self, hands, monkeypatch):
        """What is more than a batch leaves in several."""
        monkeypatch.setattr(retention, "_BATCH", 3)
        run = open_run()
        claim = hands.take(run)
        ledger.record(claim.step_id, claim.epoch, [record(f"t{number}", value=1) for number in range(10)])
        finish(claim, "completed")
        age(9)
        retention.clean_up()
        assert not Checkpoint.objects.exists()

    def test_steps_and_attempts_stay(self, hands):
        """The run's story stays readable after the clean-up."""
        run = open_run()
        finish(write_some(hands, run), "completed", 5)
        age(9)
        retention.clean_up()
        assert runs.result(run) == 5
        assert Step.objects.get(pk=run.id).attempts.count() == 1

    def test_young_ones_are_not_old_by_another_clock(self, hands):
        """What is old is decided by the database's clock."""
        run = open_run()
        finish(write_some(hands, run), "completed")
        Run.objects.update(ended_at=timezone.now() - timedelta(days=6))
        assert ledger.ask("SELECT execution_cleanup_checkpoints_v1(7) AS n")[0].n == 0
        assert ledger.ask("SELECT execution_cleanup_checkpoints_v1(5) AS n")[0].n == 2
