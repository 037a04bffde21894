"""Sessions: state that is shared, changed from the version that was seen, and kept when the session times out."""

import contextlib
import threading
from datetime import timedelta

import pytest
from django.db import transaction
from django.db.models import F
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from execution import ledger, runs, sessions
from execution.exceptions import (
    NotJson,
    NotPossible,
    OptionInvalid,
    RunEnded,
    SessionChanged,
    SessionEnded,
    SessionUnknown,
)
from execution.models import Event, Run, Session, SessionCheckpoint, SessionStatus, Step
from tests import skills as _skills  # noqa: F401 - registers them
from tests.execution.stage import Crash
from tests.execution.test_commands import document, refused, typed
from tests.hands import deadlocks, side_by_side

pytestmark = pytest.mark.django_db
committed = pytest.mark.django_db(transaction=True)


def pass_time(session, **length):
    """Let so much time have passed since a session, and all that is in it, was used."""
    back = timedelta(**length)
    Session.objects.filter(pk=session.id).update(
        touched_at=session.touched_at - back, expires_at=session.expires_at - back
    )
    Step.objects.update(changed_at=F("changed_at") - back)
    Run.objects.update(ended_at=F("ended_at") - back)


def expired(session, **length):
    """Let a session time out and the next pass notice it."""
    pass_time(session, **(length or {"days": 2}))
    return sessions.WATCH.step({})


class TestOpening:
    """A session is opened once by its name, and found again."""

    def test_name_leads_to_the_one_that_is_open(self):
        """A second opening under a name returns the first, unchanged."""
        first = sessions.open("chat", state={"n": 1}, tags=["blue"])
        second = sessions.open("chat", state={"n": 2})
        assert (first.created, second.created, second.id) == (True, False, first.id)
        assert sessions.state("chat") == sessions.State(data={"n": 1}, version=0)
        assert sessions.get("chat").id == sessions.get(str(first.id)).id == first.id

    @committed
    def test_two_openings_at_once_make_one(self):
        """Of two that open the same name at the same moment one makes it and the other finds it."""
        made = side_by_side(*[lambda: sessions.open("chat")] * 4)
        assert sorted(one.created for one in made) == [False, False, False, True]
        assert Session.objects.count() == 1

    def test_state_that_is_not_json_is_refused_with_its_path(self):
        """The error names the value that cannot be stored, by its path."""
        with pytest.raises(NotJson, match=r"the state of the session\['a'\]\[1\]"):
            sessions.open("chat", state={"a": [1, object()]})
        assert not Session.objects.exists()

    def test_bad_words_are_refused(self):
        """A state that is no object, a time to live of nothing and a name that is an id are refused."""
        for state in ([1], "text", 3):
            with pytest.raises(OptionInvalid, match="is an object"):
                sessions.open("chat", state=state)
        for ttl in ("0s", "-1", 0, "soon"):
            with pytest.raises(OptionInvalid, match="ttl is"):
                sessions.open("chat", ttl=ttl)
        with pytest.raises(OptionInvalid, match="no id"):
            sessions.open(str(sessions.open("chat").id))

    def test_unknown_name_suggests_the_nearest(self):
        """A misspelt name is answered with the one that is meant."""
        sessions.open("planning")
        with pytest.raises(SessionUnknown, match="did you mean 'planning'"):
            sessions.get("planing")

    def test_registry_finds_by_status_tag_and_name(self):
        """Sessions are found by what they are doing, by all of some tags, and by how their name begins."""
        one = sessions.open("team/one", tags=["blue", "night"])
        two = sessions.open("team/two", tags=["blue"])
        runs.start("tests.add", {"left": 1}, session=two)
        assert {s.id for s in sessions.find(tags=["blue"])} == {one.id, two.id}
        assert [s.id for s in sessions.find(tags=["blue", "night"])] == [one.id]
        assert [s.id for s in sessions.find(name="team/t")] == [two.id]
        assert [s.id for s in sessions.find(status="active")] == [two.id]
        assert [s.id for s in sessions.find(status="idle")] == [one.id]
        with pytest.raises(OptionInvalid, match="did you mean 'expired'"):
            sessions.find(status="expird")


class TestRuns:
    """Runs belong to a session, and follow it."""

    @committed
    def test_status_follows_from_the_runs(self, stage):
        """A session is open until something happens in it, active while a run goes on, and idle after it."""
        session = sessions.open("chat")
        assert sessions.status_of(session) == "open"
        run = runs.start("tests.add", {"left": 1}, session=session)
        assert sessions.status_of(session) == "active"
        stage.play(run)
        assert sessions.status_of(session) == "idle"

    @committed
    def test_children_are_in_their_parents_session(self, stage):
        """A run that a skill of the session calls is in the session too."""
        session = sessions.open("chat")

        def calling(ctx):
            return ctx.begin("tests.add", left=1) and None

        run = stage.skill(calling).start(session=session)
        stage.play(run)
        child = Run.objects.get(parent_run_id=run.id)
        assert child.session_id == run.session_id == session.id

    @committed
    def test_chain_stays_in_the_session(self, stage):
        """What follows a step in a chain is in the step's session."""
        from tests.skills import add

        session = sessions.open("chat")
        first = (add.s(1, 2) | add.s(3)).apply_async()
        Run.objects.filter(pk=first.parent.id).update(session_id=session.id)
        stage.hands.perform(Step.objects.get(pk=first.parent.id))
        assert Run.objects.get(pk=first.id).session_id == session.id

    @pytest.mark.parametrize("how", ["expired", "closed"])
    def test_no_run_starts_in_an_ended_session(self, how):
        """Starting one is an error that says what to do, and opens nothing."""
        session = sessions.open("chat")
        if how == "closed":
            sessions.close(session)
        else:
            expired(session)
        for start in (runs.start, lambda *a, **k: runs.start_many(a[0], [a[1]], **k)):
            with pytest.raises(SessionEnded, match=f"is {how}.*reopen it first"):
                start("tests.add", {"left": 1}, session=session)
        assert not Run.objects.exists()

    @committed
    def test_start_and_close_wait_for_each_other(self):
        """A close waits for a start that has not committed, and then sees its run."""
        session = sessions.open("chat")
        answers = []

        def close():
            try:
                sessions.close(session)
            except NotPossible as error:
                answers.append(str(error))

        with transaction.atomic():
            runs.start("tests.add", {"left": 1}, session=session)
            closing = threading.Thread(target=lambda: side_by_side(close), daemon=True)
            closing.start()
            closing.join(0.5)
            assert closing.is_alive(), "the close waits"
        closing.join(10)
        assert "1 runs that have not ended" in answers[0]

    def test_close_cancels_when_asked(self):
        """A session with open runs is closed with them, or not at all."""
        session = sessions.open("chat", state={"a": 1})
        run = runs.start("tests.add", {"left": 1}, session=session)
        with pytest.raises(NotPossible, match="--cancel"):
            sessions.close(session)
        sessions.close(session, cancel=True, by="anna", reason="enough")
        assert Run.objects.get(pk=run.id).state == "cancelled"
        kept = SessionCheckpoint.objects.get(session=session)
        assert (kept.status, ledger.unpack(kept.state)) == ("closed", {"a": 1})
        assert sessions.open("chat").id != session.id, "its name is free"

    @committed
    def test_fork_is_in_the_session(self, stage):
        """A fork stays in its origin's session, and is refused when that has ended."""
        session = sessions.open("chat")
        run = runs.start("tests.add", {"left": 1}, session=session)
        stage.play(run)
        assert runs.fork(run).session_id == session.id
        sessions.close(session, cancel=True)
        with pytest.raises(SessionEnded):
            runs.fork(run)


class TestState:
    """The state is changed from the version that was seen."""

    def test_stale_version_is_refused(self):
        """Who decided on an older state learns it, and changes nothing."""
        session = sessions.open("chat")
        seen = sessions.state(session)
        sessions.update(session, {"a": 1}, version=seen.version)
        with pytest.raises(SessionChanged, match="another writer was"):
            sessions.update(session, {"a": 2}, version=seen.version)
        assert sessions.state(session) == sessions.State(data={"a": 1}, version=1)

    @committed
    def test_writers_side_by_side_lose_nothing(self):
        """Eight writers that each count on from what they see count to eight."""
        session = sessions.open("chat", state={"n": 0})
        side_by_side(*[lambda: sessions.update(session, lambda s: {**s, "n": s["n"] + 1})] * 8)
        assert sessions.state(session) == sessions.State(data={"n": 8}, version=8)

    @committed
    def test_step_changes_once_although_it_crashes(self, stage):
        """A change is not made twice when the step that made it is resumed."""
        session = sessions.open("chat", state={"n": 0})

        def counting(ctx):
            ctx.session.update("count", lambda s: {**s, "n": s["n"] + 1})
            if ctx.attempt == 1:
                raise Crash
            return ctx.session.state["n"]

        run = stage.skill(counting).start(session=session)
        stage.crash(run)
        assert stage.finish(run) == 1
        assert "session.updated" in stage.events(run)

    @committed
    def test_late_step_changes_nothing(self, stage):
        """A step that was given to another worker is refused by the write."""
        session = sessions.open("chat")

        def late(ctx):
            ledger.give_back(ctx.step_id, ctx.attempt, ending="lost", reason="its lease ran out")
            ctx.session.update("late", {"late": True})

        run = stage.skill(late).start(session=session)
        stage.play(run)
        assert sessions.state(session) == sessions.State(data={}, version=0)

    @committed
    def test_steps_and_callers_lose_nothing(self, stage):
        """A step whose change meets another's makes it again from what the other has made."""
        session = sessions.open("chat", state={"n": 0})
        once = []

        def counting(ctx):
            def more(state):
                if not once:
                    once.append(sessions.update(session, lambda s: {**s, "n": s["n"] + 10}))
                return {**state, "n": state["n"] + 1}

            ctx.session.update("count", more)

        stage.finish(stage.skill(counting).start(session=session))
        assert sessions.state(session).data == {"n": 11}

    @committed
    def test_run_without_a_session_says_so(self, stage):
        """A skill that asks for a session where there is none is told how to have one."""
        run = stage.open(lambda ctx: ctx.session.state)
        stage.play(run)
        assert "belongs to no session: start it with session=" in stage.error(run)

    @hypothesis_settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers() | st.text(max_size=5)), max_size=6))
    def test_state_is_the_sum_of_its_changes(self, changes):
        """Whatever is changed in whatever order, the state is what a dictionary would be."""
        session, model = sessions.open(), {}
        for change in changes:
            model |= change
            assert sessions.update(session, change).data == model
        assert sessions.state(session) == sessions.State(data=model, version=len(changes))


class TestTimeOut:
    """An unused session expires, and can be opened again."""

    @committed
    def test_time_out_keeps_the_state_warns_and_pauses(self, stage):
        """Its state is kept, a warning is written, its waiting runs are paused; reopened, all goes on."""
        session = sessions.open("chat", state={"a": 1}, ttl="1h")
        run = stage.skill(lambda ctx: ctx.wait_for("go")).start(session=session)
        stage.play(run)
        assert expired(session, hours=2) == 2
        kept = SessionCheckpoint.objects.get(session=session)
        assert (kept.status, kept.version, ledger.unpack(kept.state)) == (SessionStatus.EXPIRED, 0, {"a": 1})
        event = Event.objects.get(kind="session.expired")
        assert (event.data["session"], event.data["run_count"]) == (str(session.id), 1)
        paused = Run.objects.get(pk=run.id)
        assert (paused.state, paused.waiting, sessions.status_of(session)) == ("paused", "session", "expired")
        with pytest.raises(SessionEnded, match="reopen"):
            runs.resume(run)

        sessions.reopen("chat", by="anna")
        runs.signal(run, "go", 5)
        assert stage.finish(run) == 5
        assert sessions.state(session).data == {"a": 1}

    @committed
    def test_what_is_used_lives(self, stage):
        """Performing, waiting for a worker, starting, ending and touching keep a session; sleep alone does not."""
        session = sessions.open("chat", ttl="1h")
        run = runs.start("tests.add", {"left": 1}, session=session)
        assert expired(session, hours=2) == 0, "a run waits for a worker"
        claim = stage.hands.take(run)
        session.refresh_from_db()
        assert expired(session, hours=2) == 0, "a run is performed"
        from tests.hands import finish

        finish(claim, value=1)
        Session.objects.filter(pk=session.id).update(touched_at=session.opened_at, expires_at=session.opened_at)
        assert sessions.WATCH.step({}) == 0, "a run has just ended"
        session.refresh_from_db()
        pass_time(session, hours=2)
        sessions.touch(session)
        assert sessions.WATCH.step({}) == 0, "it was touched"
        session.refresh_from_db()
        assert expired(session, hours=2) == 1

    @committed
    def test_passes_side_by_side_expire_once(self):
        """Four passes at once write one ending each session."""
        for number in range(5):
            pass_time(sessions.open(f"chat-{number}"), days=2)
        side_by_side(*[lambda: sessions.WATCH.step({})] * 4)
        assert Event.objects.filter(kind="session.expired").count() == 5
        assert SessionCheckpoint.objects.count() == 5

    @committed
    def test_pass_that_was_cut_off_is_finished_by_the_next(self, stage):
        """A session that expired before its runs were paused has them paused later, and a child that came in between."""
        session = sessions.open("chat")
        run = stage.skill(lambda ctx: ctx.wait_for("go")).start(session=session)
        stage.play(run)
        pass_time(session, days=2)
        assert sessions.expire_due() == 1
        assert Run.objects.get(pk=run.id).state == "running"
        assert sessions.WATCH.step({}) == 1
        assert Run.objects.get(pk=run.id).state == "paused"
        assert sessions.WATCH.step({}) == 0

    @committed
    def test_nobody_waits_in_a_circle(self, stage):
        """Time-outs, reopenings, starts, changes, pauses and a performing step side by side break no deadlock."""
        session = sessions.open("chat", state={"n": 0})
        waiting = [stage.skill(lambda ctx: ctx.wait_for("go")).start(session=session) for _ in range(3)]
        for run in waiting:
            stage.play(run)
        before = deadlocks()

        def over_and_over(*verbs, times=8):
            def act():
                for _ in range(times):
                    for verb in verbs:
                        with contextlib.suppress(SessionEnded, NotPossible, RunEnded):
                            verb()

            return act

        def time_out():
            Session.objects.filter(pk=session.id).update(touched_at=session.opened_at, expires_at=session.opened_at)
            ledger.ask("UPDATE execution_session SET ttl = interval '1 millisecond'")
            sessions.WATCH.step({})

        side_by_side(
            over_and_over(time_out, lambda: sessions.reopen(session)),
            over_and_over(lambda: sessions.update(session, lambda s: {"n": s["n"] + 1})),
            over_and_over(lambda: runs.start("tests.add", {"left": 1}, session=session)),
            over_and_over(lambda: runs.pause(waiting[0]), lambda: runs.resume(waiting[0])),
            over_and_over(sessions.pause_waiting),
        )
        assert deadlocks() == before
        assert sessions.state(session).data["n"] == sessions.state(session).version

    def test_name_of_an_expired_session_is_not_taken(self):
        """Opening under it is refused, so that its state is not lost from sight."""
        session = sessions.open("chat")
        expired(session)
        with pytest.raises(SessionEnded, match="reopen it, or close it"):
            sessions.open("chat")
        with pytest.raises(SessionEnded, match="be changed"):
            sessions.update(session, {"a": 1})
        with pytest.raises(SessionEnded, match="be touched"):
            sessions.touch(session)

    def test_reopening_under_a_taken_name_is_refused(self):
        """A closed session whose name another one has now stays closed."""
        first = sessions.open("chat")
        sessions.close(first)
        sessions.open("chat")
        with pytest.raises(NotPossible, match="named 'chat' now"):
            sessions.reopen(first)


class TestCommand:
    """An operator finds sessions, opens, closes and reopens them."""

    def test_life_of_a_session(self):
        """Opened, found by its name, closed with its runs and opened again, each with one document."""
        opened = document("sessions", "open", "chat", "--state", '{"n": 1}', "--ttl", "2h", "--tag", "blue")
        assert (opened["created"], opened["ttl_seconds"]) == (True, 7200.0)
        run = document("start", "tests.add", "--input", "left=1", "--session", "chat")["run"]
        assert [row["status"] for row in document("sessions", "list", "--tag", "blue")["sessions"]] == ["active"]
        assert [row["id"] for row in document("runs", "--session", "chat")["runs"]] == [run]
        told = document("sessions", "show", "chat")
        assert (told["state"], told["last_runs"][0]["run"]) == ({"n": 1}, run)
        assert "--cancel" in refused("sessions", "close", "chat")
        assert document("sessions", "close", "chat", "--cancel")["status"] == "closed"
        assert typed("sessions", "reopen", opened["id"]) == f"session {opened['id']} is idle"
        assert typed("sessions", "open", "chat") == opened["id"]
        assert "chat" in typed("sessions", "list")
        assert '"n": 1' in typed("sessions", "show", "chat")

    def test_beginning_of_an_id_will_do(self):
        """A session is found by the beginning of its id, as a run is, also when it is closed."""
        session = sessions.open("chat")
        sessions.close(session)
        short = str(session.id)[:18]
        assert typed("sessions", "reopen", short) == f"session {session.id} is open"
        assert str(session.id) in typed("sessions", "show", short)
        assert "no session" in refused("sessions", "show", "ffffffff-ffff")

    def test_why_names_the_session(self):
        """A run that is paused with its session is moved by reopening that."""
        session = sessions.open("chat", ttl="1h")
        run = runs.start("tests.add", {"left": 1}, session=session)
        Step.objects.filter(pk=run.id).update(state="waiting", waiting="signal", awaits=["go"])
        expired(session, hours=2)
        for waiting in ("signal", "paused"):
            Step.objects.filter(pk=run.id).update(waiting=waiting)
            told = typed("why", run.id)
            assert f"its session {session.id} (chat) expired at" in told
            assert "unused for 1 h" in told
            assert "an operator" not in told
        assert f"manage.py sessions reopen {session.id}" in told

    def test_bad_words(self):
        """What is misspelt is answered with the nearest."""
        sessions.open("planning")
        assert "did you mean 'planning'" in refused("sessions", "show", "planing")
        assert "did you mean 'idle'" in refused("sessions", "list", "--status", "idel")
        assert "--state is not JSON" in refused("sessions", "open", "--state", "{")
