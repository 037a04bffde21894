"""Tunables: within their bounds, in force in running workers within a second, and back again."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution import board as boards
from execution import conf, ids, ledger, runs, tunables
from execution.exceptions import NotPossible, OptionInvalid, TunableUnknown
from execution.models import ConcurrencyKey, Event, Step, Tunable, Worker
from execution.retries import Policy
from tests import tuned_skills
from tests.execution.test_commands import document, refused, typed
from tests.hands import MARKS
from tests.patience import within

pytestmark = MARKS

SKILLS = "tests.tuned_skills"


def kept():
    """Tell whether the keepers of all workers have begun to publish; until then the pools read the rows themselves."""
    workers = set(Worker.objects.values_list("id", flat=True))
    publishing = {board.worker_id for board in boards.on_this_host() if board.tuned_count}
    return bool(workers) and workers <= publishing


def held():
    """Return how many steps hold the key."""
    return Step.objects.filter(key="tuned", state="running").count()


def test_default_is_the_setting(transactional_db, settings):
    """Nothing tuned: the setting holds."""
    assert tunables.value("retries.base") == conf.current().retry_base_seconds
    settings.CELERIAC = settings.CELERIAC | {"retry_base_seconds": 3.5}
    assert tunables.value("retries.base") == 3.5


def test_order_of_what_is_said(transactional_db):
    """What is set for one goes before its own word, that before what is set for all, that before the setting."""
    tunables.tune("retries.cap", 20)
    assert (tunables.value("retries.cap", "a"), tunables.value("retries.cap", "a", own=9)) == (20, 9)
    tunables.tune("retries.cap", 30, subject="a")
    assert (tunables.value("retries.cap", "a", own=9), tunables.value("retries.cap", "b", own=9)) == (30, 9)
    assert tunables.reset("retries.cap", subject="a") == 20
    assert tunables.reset("retries.cap") == conf.current().retry_cap_seconds


def test_change_is_an_event(transactional_db):
    """The log keeps what was, what is, who and why; the row keeps the latest."""
    tunables.tune("doorbell.window", 100, by="ann", reason="broker is full")
    tunables.tune("doorbell.window", 200, by="bob", reason="it has room")
    tunables.reset("doorbell.window", by="ann")
    said = [
        (event.kind, event.data["before"], event.data["after"], event.data["by"])
        for event in Event.objects.filter(kind__startswith="tunable.").order_by("id")
    ]
    assert said == [
        ("tunable.set", 500, 100, "ann"),
        ("tunable.set", 100, 200, "bob"),
        ("tunable.reset", 200, 500, "ann"),
    ]


@pytest.mark.parametrize(
    ("name", "value", "subject", "error", "words"),
    [
        ("retries.bse", 1, "", TunableUnknown, "did you mean 'retries.base'"),
        ("retries.base", 0, "", OptionInvalid, "between 0.01 and 3,600 seconds"),
        ("retries.base", True, "", OptionInvalid, "no number of seconds"),
        ("retries.base", float("nan"), "", OptionInvalid, "no number of seconds"),
        ("jobs.chunk", 2.5, "", OptionInvalid, "a whole number"),
        ("jobs.chunk", float("nan"), "", OptionInvalid, "a whole number"),
        ("jobs.chunk", float("inf"), "", OptionInvalid, "a whole number"),
        ("jobs.chunk", "many", "", OptionInvalid, "no number of items"),
        ("steps.lease", "1s", "", OptionInvalid, "between 20"),
        ("doorbell.window", 100, "slow", OptionInvalid, "one for all"),
        ("keys.limit", 3, "", OptionInvalid, "say for which"),
        ("keys.limit", 3, "apii", NotPossible, "did you mean 'api'"),
    ],
)
def test_bad_value(transactional_db, name, value, subject, error, words):
    """What makes no sense is refused with its bounds, and nothing is written."""
    ConcurrencyKey.objects.create(name="api", limit_count=1)
    with pytest.raises(error, match=words):
        tunables.tune(name, value, subject=subject)
    assert not Tunable.objects.exists()


def test_reset_of_what_is_not_set(transactional_db):
    """It says so."""
    with pytest.raises(NotPossible, match="jobs.chunk is not set for skill 'a'"):
        tunables.reset("jobs.chunk", subject="a")


def test_more_than_a_board_holds(transactional_db, monkeypatch):
    """The rows are bounded, and one too many is refused whole."""
    monkeypatch.setattr(tunables, "MOST_ROWS", 2)
    for name in ("a", "b"):
        tunables.tune("jobs.chunk", 5, subject=name)
    with pytest.raises(NotPossible, match="reset one"):
        tunables.tune("jobs.chunk", 5, subject="c")
    assert Tunable.objects.count() == 2


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=8))
def test_board_tells_what_was_written_last(texts):
    """What was written last is read, whole, and its count tells that it is new."""
    board = boards.Board.make(ids.new())
    try:
        counts = [0]
        for text in texts:
            if board.tune(text):
                counts.append(board.tuned_count)
            assert board.tuned() == (counts[-1], text)
        assert counts == sorted(set(counts))
        assert not board.tune(bytes(2**20))
    finally:
        board.remove()


def test_keeper_that_dies_over_its_writing(transactional_db, monkeypatch):
    """Half a writing is never read: the pool goes on with what it had, and the next keeper mends it."""
    board = boards.Board.make(ids.new())
    monkeypatch.setattr(boards, "current", lambda: board)
    board.tune(json.dumps([["jobs.chunk", "", 7.0]]).encode())
    assert tunables.value("jobs.chunk") == 7
    sequence, text = board.tuned()
    boards._TUNED.pack_into(board._memory, boards._TUNED_AT, sequence | 1, 3)
    assert board.tuned() is None
    assert tunables.value("jobs.chunk") == 7
    assert board.tune(text)
    assert (board.tuned()[1], tunables.value("jobs.chunk")) == (text, 7)
    board.remove()


def test_most_that_may_be_tuned_fits_a_board(transactional_db):
    """The largest set of rows has room on a board."""
    Tunable.objects.bulk_create(
        Tunable(name="jobs.chunk", subject=chr(0x1F600) * 196 + f"{n:04}", value=5_000.0)
        for n in range(tunables.MOST_ROWS)
    )
    board = boards.Board.make(ids.new())
    assert board.tune(tunables.published())
    board.remove()


def test_policy_takes_what_is_tuned(transactional_db):
    """Base and cap reach the decision about a retry, also for one skill alone."""
    tunables.tune("retries.base", 2)
    tunables.tune("retries.cap", 60, subject="tuned.own")
    assert Policy.of({}).base_seconds == 2
    own = Policy.of({"retry_base": 7.0}, "tuned.own")
    assert (own.base_seconds, own.cap_seconds) == (7.0, 60)


def test_window_is_tuned(hands):
    """The doorbell asks for no more messages than the window that is tuned."""
    from execution import doorbell

    doorbell._rooms._rooms.clear()
    tunables.tune("doorbell.window", 3)
    assert doorbell._room_of("default") == 3


class TestKeys:
    """A key's limit, which claims read in its own row."""

    def test_limit_and_back(self, transactional_db):
        """The limit is the key's own row's, and a reset goes back to what stood there before the first setting."""
        ConcurrencyKey.objects.create(name="api", limit_count=None)
        assert tunables.value("keys.limit", "api") == float("inf")
        for limit in (4, 9):
            tunables.tune("keys.limit", limit, subject="api")
        assert ConcurrencyKey.objects.get(pk="api").limit_count == 9
        assert tunables.reset("keys.limit", subject="api") == float("inf")
        assert ConcurrencyKey.objects.get(pk="api").limit_count is None

    def test_room_is_used_at_once(self, hands):
        """Steps that wait for the key become ready in the transaction that makes room."""
        found = [runs.start(tuned_skills.hold, {"gate": "x"}) for _ in range(3)]
        hands.take(found[0])
        for run in found[1:]:
            assert hands.claim(run).reason == "key"
        tunables.tune("keys.limit", 2, subject="tuned")
        assert sorted(Step.objects.values_list("state", flat=True)) == ["ready", "running", "waiting"]


class TestLease:
    """A lease is as long as was tuned from its next extension on."""

    def extended(self, claim, hands):
        """Extend a claim's lease, and return for how long."""
        ledger.ask(
            "SELECT * FROM execution_extend_v1(%s, %s, %s, %s)",
            [hands.worker_id, [claim.step_id], [claim.epoch], [0.0]],
        )
        sql = (
            "SELECT extract(epoch FROM lease_until - clock_timestamp())::float8 AS s FROM execution_step WHERE id = %s"
        )
        return round(ledger.ask(sql, [claim.step_id])[0].s)

    def test_lease_in_its_order(self, hands):
        """For the skill, the skill's own, for all, and what the step took."""
        plain, own = hands.take(runs.start("tests.add", {"left": 1})), hands.take(runs.start("tuned.own", {"gate": ""}))
        assert (self.extended(plain, hands), self.extended(own, hands)) == (conf.current().lease_seconds, 45)
        tunables.tune("steps.lease", "2m")
        assert (self.extended(plain, hands), self.extended(own, hands)) == (120, 45)
        tunables.tune("steps.lease", "5m", subject="tuned.own")
        assert (self.extended(plain, hands), self.extended(own, hands)) == (120, 300)
        tunables.reset("steps.lease")
        assert self.extended(plain, hands) == conf.current().lease_seconds


class TestWithWorkers:
    """Real workers see a change within a second, without being restarted."""

    @within(1, busy=10)
    def test_change_is_seen_within_a_second(self, workers, eventually, tmp_path, bound):
        """A running pool process has the value within a second of the commit, and the reset as fast."""
        workers(skills=SKILLS, concurrency=1)
        for number, (act, value) in enumerate(
            [(lambda: tunables.tune("retries.base", 42), 42.0), (lambda: tunables.reset("retries.base"), 1.0)]
        ):
            eventually(kept)
            gate = tmp_path / f"gate{number}"
            run = tuned_skills.watch.start(name="retries.base", value=value, gate=str(gate))
            eventually(gate.exists)
            time.sleep(0.3 * number)  # the second change comes at another moment between two looks
            act()
            done = time.monotonic()
            assert eventually(lambda run=run: result_of(run)) - done < bound

    @within(1.5, busy=15)
    def test_lease_of_what_runs(self, workers, eventually, tmp_path, bound):
        """A step that is being performed has the longer lease within a second or so of the change."""
        workers(skills=SKILLS, concurrency=1)
        eventually(kept)
        gate = tmp_path / "gate"
        run = tuned_skills.watch.start(name="jobs.chunk", value=7, gate=str(gate))
        eventually(gate.exists)
        tunables.tune("steps.lease", "1h")
        sql = "SELECT lease_until - clock_timestamp() > interval '50 minutes' AS is_long FROM execution_step WHERE id = %s"
        eventually(lambda: ledger.ask(sql, [run.id])[0].is_long, timeout=bound)
        tunables.tune("jobs.chunk", 7)
        eventually(lambda: result_of(run))

    def test_retry_comes_as_tuned(self, workers, eventually):
        """A running worker takes the base for the next failure."""
        workers(skills=SKILLS, concurrency=1)
        tunables.tune("retries.base", 3600)
        tunables.tune("retries.cap", 0.1, subject="tuned.fail")
        run = tuned_skills.fail.start()
        eventually(lambda: runs.get(run.id).state == "failed")

    @within(2, busy=9)  # after ten seconds they would be rung for again
    def test_limit_of_a_key(self, workers, eventually, tmp_path, bound):
        """Room made while workers run is used at once."""
        workers(skills=SKILLS, concurrency=3)
        gate = tmp_path / "gate"
        for _ in range(3):
            tuned_skills.hold.start(gate=str(gate))
        eventually(lambda: held() == 1 and Step.objects.filter(waiting="key").count() == 2)
        tunables.tune("keys.limit", 3, subject="tuned")
        eventually(lambda: held() == 3, timeout=bound)
        gate.touch()
        eventually(lambda: Step.objects.filter(state="completed").count() == 3)


def result_of(run):
    """Return a run's result once it has ended."""
    return runs.result(run) if runs.get(run.id).state == "completed" else None


class TestCommand:
    """The command line."""

    def test_set_list_reset(self, transactional_db):
        """What is set is listed with its default, bounds and author, and can be reset."""
        assert "retries.base is set: 2 seconds now" in typed("tunables", "set", "retries.base", "2", "--by", "ann")
        told = {one["tunable"]: one for one in document("tunables", "list")["tunables"]}
        assert (told["retries.base"]["value"], told["retries.base"]["default"]) == (2, 1)
        assert (told["keys.limit"]["value"], told["jobs.chunk"]["is_set"]) == (None, False)
        assert set(told) == set(tunables.KNOWN)
        assert "ann" in typed("tunables", "list")
        assert document("tunables", "reset", "retries.base") == {"tunable": "retries.base", "subject": "", "value": 1}
        assert "is not set" in refused("tunables", "reset", "retries.base")
        assert "did you mean" in refused("tunables", "set", "retries.bas", "1")
