"""Signals: early, late, twice, too late; and callback addresses that are signed, expire and can be used once."""

import json
import uuid
from unittest import mock

import pytest
from django.core import signing
from django.db import transaction

from execution import ledger, runs, signals
from execution.exceptions import OptionInvalid, RunEnded, RunUnknown, ValueTooLarge
from execution.models import Signal
from tests import hands

pytestmark = pytest.mark.django_db(transaction=True)


def wait(ctx, name: str = "answer", timeout: float | None = None):
    """Wait for one signal."""
    return ctx.wait_for(name, timeout=timeout)


def test_signal_wakes_the_step_that_waits_for_it(stage):
    """The wait frees the worker; the signal makes the step ready, and its data comes out of the wait."""
    run = stage.open(wait)
    step = stage.play(run)
    assert (step.state, step.waiting, step.awaits, step.worker_id) == ("waiting", "signal", ["answer"], None)
    assert runs.signal(run, "answer", {"yes": True}, sender="ann") == "woken"
    assert stage.step(run).state == "ready"
    assert stage.finish(run) == {"yes": True}


def test_signal_that_comes_early_is_kept(stage):
    """What comes before anybody waits is taken at once; the step never suspends."""
    run = stage.open(wait)
    assert runs.signal(run, "answer", [1, 2]) == "kept"
    assert stage.play(run).state == "completed"
    assert runs.result(run) == [1, 2]


def test_signal_of_another_name_wakes_nobody(stage):
    """A step that waits for one name sleeps through others."""
    run = stage.open(wait)
    stage.play(run)
    assert runs.signal(run, "something else") == "kept"
    assert stage.step(run).state == "waiting"


def test_signals_of_one_name_are_taken_in_order_and_once(stage):
    """Two waits take two signals, the oldest first; the same id sent again is the same signal."""

    def twice(ctx):
        return [ctx.wait_for("answer", token="first"), ctx.wait_for("answer", token="second")]

    run = stage.open(twice)
    first = uuid.uuid4()
    assert runs.signal(run, "answer", 1, signal_id=first) == "kept"
    assert runs.signal(run, "answer", 1, signal_id=first) == "already"
    assert stage.play(run).state == "waiting"
    runs.signal(run, "answer", 2)
    assert stage.finish(run) == [1, 2]


def test_wait_twice_under_one_name_wants_tokens(stage):
    """Two waits for one signal in one pass need a token each; the error names both places."""

    def twice(ctx):
        ctx.wait_for("answer")
        ctx.wait_for("answer")

    run = stage.open(twice)
    runs.signal(run, "answer")
    stage.play(run)
    assert "TokenReused" in stage.error(run)
    assert stage.error(run).count("test_signals.py:") == 2


def test_wait_times_out_once_and_for_all(stage):
    """A wait that timed out stays so on every replay, also when the signal comes afterwards."""
    outcomes = []

    def patient(ctx):
        try:
            outcomes.append(ctx.wait_for("answer", timeout=0.05))
        except TimeoutError:
            outcomes.append("timeout")
        ctx.sleep("nap", seconds=0.01)
        return outcomes[-1]

    run = stage.open(patient)
    stage.play(run)
    assert stage.step(run).wake_at is not None
    for _ in range(50):
        stage.wake(run)
        stage.play(run)
        if outcomes:
            break
    assert runs.signal(run, "answer", "late") == "kept"
    assert stage.finish(run) == "timeout"


def test_wait_deadline_counts_from_the_first_pass(stage):
    """A step that is woken for another reason goes on waiting until its first deadline."""
    run = stage.open(wait, timeout=3600)
    first = stage.play(run).wake_at
    runs.pause(run)
    runs.resume(run)
    stage.wake(run)
    assert stage.play(run).wake_at == first


def test_signal_taken_twice_because_the_answer_was_lost_is_the_same_one(stage):
    """Taking again under the same token answers with what was taken, and leaves the next signal alone."""
    run = stage.open(wait)
    runs.signal(run, "answer", 1)
    runs.signal(run, "answer", 2)
    claim = stage.hands.take(run)
    first = ledger.take_signal(claim.step_id, claim.epoch, "answer", "wait:answer:got", 1)
    again = ledger.take_signal(claim.step_id, claim.epoch, "answer", "wait:answer:got", 2)
    assert (first.verdict, again.verdict) == ("taken", "taken")
    assert first.data == again.data == b"j1"
    assert Signal.objects.filter(run_id=run.id, consumed_at=None).count() == 1


def test_signal_and_suspension_at_once_never_leave_a_step_asleep(stage):
    """Signals sent at the moment in which the step suspends are either seen by it or wake it."""
    task = stage.skill(wait)
    for _ in range(15):
        run = task.start()
        hands.side_by_side(lambda run=run: stage.play(run), lambda run=run: runs.signal(run, "answer", 1))
        assert stage.finish(run) == 1


def test_signal_for_an_ended_or_unknown_run_says_so(stage):
    """Nobody will take it: the error says what became of the run."""
    run = stage.open(wait)
    runs.cancel(run)
    with pytest.raises(RunEnded, match="is cancelled: it cannot take the signal 'answer'"):
        runs.signal(run, "answer")
    with pytest.raises(RunUnknown, match="there is no run"):
        runs.signal(uuid.uuid4(), "answer")


@pytest.mark.parametrize("name", ["", "x" * 256, "a\0b", 7])
def test_signal_name_is_checked(stage, name):
    """A name that the ledger cannot hold is refused before anything is written."""
    run = stage.open(wait)
    with pytest.raises(OptionInvalid, match="a signal needs a name"):
        runs.signal(run, name)


def test_signal_in_a_transaction_that_is_rolled_back_was_never_sent(stage):
    """Nothing is published before the commit, and nothing is left of a rollback."""
    run = stage.open(wait)
    stage.play(run)
    with mock.patch("execution.doorbell.publish") as publish, transaction.atomic():
        assert runs.signal(run, "answer") == "woken"
        transaction.set_rollback(True)
    assert not publish.called
    assert stage.step(run).state == "waiting"
    assert not Signal.objects.filter(run_id=run.id).exists()


def test_signal_data_may_be_large_but_not_too_large(stage, settings):
    """Large data is kept as a blob and comes out whole; too large is refused with its size."""
    run = stage.open(wait)
    runs.signal(run, "answer", {"bytes": [uuid.uuid4().hex for _ in range(6000)]})
    assert len(stage.finish(run)["bytes"]) == 6000
    other = stage.open(wait)
    settings.CELERIAC = settings.CELERIAC | {"max_value_bytes": 1024}
    with pytest.raises(ValueTooLarge, match="the data of the signal 'answer' has 2,002 bytes"):
        runs.signal(other, "answer", "x" * 2000)


# Callback addresses


def called_back(stage, **options):
    """Open a run that hands out an address and waits; return both."""
    addresses = []

    def ask(ctx):
        addresses.append(ctx.callback("answer", **options))
        return ctx.wait_for("answer")

    run = stage.open(ask)
    stage.play(run)
    return run, addresses[0]


def post(client, address, data):
    """POST to an address as an outside system does."""
    return client.post(address[address.index("/", 8) :] if "://" in address else address, data, "application/json")


def test_callback_address_takes_one_post(stage, client):
    """Whoever has the address can answer once, with JSON; a second POST is told so."""
    run, address = called_back(stage)
    assert post(client, address, json.dumps({"ok": 1})).status_code == 200
    assert post(client, address, json.dumps({"ok": 2})).status_code == 409
    assert stage.finish(run) == {"ok": 1}
    assert Signal.objects.get(run_id=run.id).sender == "callback"


def test_callback_address_is_the_same_use_on_every_pass(stage):
    """A replay signs anew; what it hands out is still the one address that can be used once."""
    run, address = called_back(stage)
    token = address.rstrip("/").rpartition("/")[2]
    run_id, name, nonce, _ = signing.loads(token, salt=signals._SALT)
    assert (run_id, name, nonce) == (str(run.id), "answer", f"{run.id}:wait:answer")


@pytest.mark.parametrize("what", ["forged", "expired", "ended"])
def test_callback_address_that_is_no_good_is_refused(stage, client, what):
    """A forged, expired or outlived address changes nothing."""
    run, address = called_back(stage, expires=0.0 if what == "expired" else "1h")
    if what == "forged":
        address = address.rstrip("/")[:-3] + "abc"
    if what == "ended":
        runs.cancel(run)
    status = post(client, address, "{}").status_code
    assert status == {"forged": 404, "expired": 410, "ended": 410}[what]
    assert not Signal.objects.filter(run_id=run.id).exists()
