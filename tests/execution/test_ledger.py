"""The guarded writes: what each answers when it is repeated, late or refused, and how a graph comes to its end."""

import random
import threading
import time
import uuid

import pytest
from django.db import connections

from execution import ids, ledger, runs, values
from execution.exceptions import TokenReused
from execution.ledger import Claim, Refusal, Wish
from execution.models import Attempt, Checkpoint, Effect, Errand, Event, Run, Signal, Step, Timer
from execution.skills import skill
from tests import hands as by_hand
from tests.hands import finish, graph, open_run, record, side_by_side

pytestmark = by_hand.MARKS


@skill("ledger.note")
def note(ctx) -> int:
    """Record something."""
    ctx.save("place", 1)
    return ctx.once("note", lambda: 7)


@skill("ledger.ask")
def asks(ctx, timeout: float | None = None):
    """Wait for a signal."""
    return ctx.wait_for("answer", timeout=timeout)


def wish_of(hands, queue="default"):
    """Return the wish to go on with whatever is ready."""
    return Wish(
        queue=queue, skills=["tests.add", "ledger.note"], agent_id=uuid.UUID(int=0), attempt_id=ids.new(),
        worker_id=hands.worker_id, pid=1,
    )  # fmt: skip


def unring(*found):
    """Forget the messages that were sent for these runs."""
    Step.objects.filter(run_id__in=[one.id for one in found]).update(rung_at=None)


class TestClaim:
    def test_claim_again_with_the_same_attempt_returns_the_same_claim(self, hands):
        """A claim whose answer was lost is asked for again and found, not made twice."""
        run, attempt = open_run(), ids.new()
        first, again = hands.claim(run, attempt), hands.claim(run, attempt)
        assert isinstance(first, Claim)
        assert (again.epoch, again.attempt_id, again.input) == (first.epoch, first.attempt_id, first.input)
        assert Attempt.objects.filter(step_id=run.id).count() == 1
        assert Event.objects.filter(step_id=run.id, kind="step.started").count() == 1

    def test_claim_again_reserves_once(self, hands):
        """Asking again for a claim reserves nothing more."""
        run, attempt = open_run(budget="1"), ids.new()
        Step.objects.filter(pk=run.id).update(reserve_cost="0.4")
        hands.claim(run, attempt)
        assert hands.claim(run, attempt).reserved_cost == Run.objects.get(pk=run.id).reserved_cost

    def test_second_claimer_gets_nothing(self, hands):
        """One step is performed by one attempt."""
        run = open_run()
        hands.take(run)
        assert hands.claim(run) == Refusal(verdict="nothing", reason="running")

    def test_claimers_side_by_side_one_wins(self, hands):
        """However many ask at once, one claim is made."""
        found = [open_run() for _ in range(20)]
        for run in found:
            answers = side_by_side(*[lambda run=run: hands.claim(run)] * 8)
            assert sum(isinstance(one, Claim) for one in answers) == 1
            assert Attempt.objects.filter(step_id=run.id).count() == 1

    @pytest.mark.parametrize("ending", ["completed", "failed", "suspended", "parked", "cancelled"])
    def test_late_doorbell_claims_nothing(self, hands, ending):
        """A message that comes after the ending starts nothing, whatever the ending was."""
        run = open_run()
        finish(hands.take(run), ending, waiting="signal")
        assert hands.claim(run).verdict == "nothing"
        assert Attempt.objects.filter(step_id=run.id).count() == 1

    def test_duplicate_doorbell_performs_once(self, hands):
        """The same message twice performs the step once."""
        run = open_run("ledger.note", {})
        assert hands.perform(run).state == "completed"
        hands.perform(run)
        assert Attempt.objects.filter(step_id=run.id).count() == 1

    def test_unknown_step_is_told(self, hands):
        """A step that is not in the ledger is answered as unknown: another producer's message is adopted then."""
        assert hands.claim(ids.new()).verdict == "unknown"

    def test_ended_run_starts_nothing(self, hands):
        """A ready step of a run that was halted waits until the run goes on."""
        run, steps = graph([[], []])
        finish(hands.take(steps[0]), "failed", error={"kind": "permanent"})
        assert hands.claim(steps[1]) == Refusal(verdict="refused", reason="paused")
        runs.retry(run)
        assert isinstance(hands.claim(steps[1]), Claim)


class TestFollow:
    def test_follow_claims_what_no_message_was_sent_for(self, hands):
        """An ending may claim the next step in its own transaction."""
        first, second = open_run(), open_run()
        unring(second)
        written = ledger.finish(hands.take(first), "completed", wish=wish_of(hands))
        assert [claim.step_id for claim in written.following] == [second.id]

    def test_follow_repeated_returns_the_same_claim(self, hands):
        """When the answer to an ending is lost with the claim that followed, asking again returns that claim."""
        first, second, _third = open_run(), open_run(), unring(open_run())
        unring(second)
        claim, wish = hands.take(first), wish_of(hands)
        written = ledger.finish(claim, "completed", wish=wish)
        again = ledger.finish(claim, "completed", wish=wish)
        assert again.verdict == "already"
        assert [claim.step_id for claim in again.following] == [claim.step_id for claim in written.following]
        assert Step.objects.filter(state="running").count() == 1

    def test_stale_ending_claims_nothing(self, hands):
        """A worker that lost its step does not leave another one claimed and unperformed."""
        first, second = open_run(), open_run()
        unring(second)
        claim = hands.take(first)
        hands.lose(claim)
        written = ledger.finish(claim, "completed", wish=wish_of(hands))
        assert (written.verdict, written.following) == ("stale", [])
        assert Step.objects.get(pk=second.id).state == "ready"

    def test_next_claim_repeated_returns_the_same(self, hands):
        """Claiming whatever is next, asked again with the same attempt, returns the first answer."""
        unring(open_run(), open_run())
        wish = wish_of(hands)
        first, again = ledger.claim_next(wish), ledger.claim_next(wish)
        assert first.step_id == again.step_id
        assert Step.objects.filter(state="running").count() == 1


class TestRepeat:
    def test_finish_again_answers_already(self, hands):
        """An ending whose answer was lost is written once."""
        claim = hands.take(open_run())
        assert finish(claim, "completed", 1).verdict == "done"
        assert finish(claim, "completed", 1).verdict == "already"
        assert Event.objects.filter(step_id=claim.step_id, kind="step.completed").count() == 1

    def test_finish_again_after_a_suspension_answers_already(self, hands):
        """Also when the step has been claimed by another attempt since."""
        run = open_run("ledger.ask", {})
        claim = hands.take(run)
        finish(claim, "suspended", waiting="signal", awaits=["answer"])
        runs.signal(run, "answer")
        hands.take(run)
        assert finish(claim, "suspended", waiting="signal", awaits=["answer"]).verdict == "already"

    def test_finish_twice_at_once_counts_once(self, hands):
        """A worker that connects again while its first ending still waits for a lock writes it once, and learns so."""
        for _ in range(4):
            claim = hands.take(open_run("ledger.note", {}))
            answers = side_by_side(*[lambda claim=claim: finish(claim, "failed", error={}, breaker="failed")] * 2)
            assert sorted(one.verdict for one in answers) == ["already", "done"]
        rows = ledger.ask("SELECT failure_count AS n FROM execution_breaker WHERE name = 'ledger.note'")
        assert rows[0].n == 4

    def test_record_again_answers_already(self, hands):
        """A record whose answer was lost is kept once, unchanged."""
        claim = hands.take(open_run())
        assert ledger.record(claim.step_id, claim.epoch, [record("a", value=1)]).verdict == "saved"
        assert ledger.record(claim.step_id, claim.epoch, [record("a", value=2)]).verdict == "already"
        assert ledger.unpack(Checkpoint.objects.get(step_id=claim.step_id, token="a").data) == 1

    def test_save_again_answers_already(self, hands):
        """A plain checkpoint moves forward; the same one again, or an older one that comes late, changes nothing."""
        claim = hands.take(open_run())

        def save(value, position):
            return ledger.record(claim.step_id, claim.epoch, [record("a", "save", value, position=position)])

        assert [save(1, 1).verdict, save(2, 2).verdict, save(2, 2).verdict, save(1, 1).verdict] == [
            "saved", "saved", "already", "already",
        ]  # fmt: skip
        assert ledger.unpack(Checkpoint.objects.get(step_id=claim.step_id).data) == 2

    def test_token_with_two_meanings_is_refused(self, hands):
        """A token stands for one thing; the ledger names the one that stands for another."""
        claim = hands.take(open_run())
        ledger.record(claim.step_id, claim.epoch, [record("a", "once")])
        answer = ledger.record(claim.step_id, claim.epoch, [record("a", "save")])
        assert answer.conflict == "a"

    def test_token_with_two_meanings_in_a_skill_is_an_error(self, hands):
        """A skill that gives a recorded token another meaning fails with an error that names the token."""

        @skill("ledger.two_meanings", retries=0)
        def confused(ctx):
            ctx.once("a", lambda: 1)
            ctx.save("a", 2)

        run = open_run("ledger.two_meanings", {})
        assert hands.perform(run).error["type"] == TokenReused.__name__

    def test_signal_taken_again_is_the_same(self, hands):
        """Taking a signal again under its wait's token returns the one that was taken, and takes no second."""
        run = open_run("ledger.ask", {})
        claim = hands.take(run)
        runs.signal(run, "answer", 1)
        runs.signal(run, "answer", 2)
        taken = [ledger.take_signal(claim.step_id, claim.epoch, "answer", "wait:answer:got", 1) for _ in range(2)]
        assert [one.verdict for one in taken] == ["taken", "taken"]
        assert [ledger.unpack(one.data) for one in taken] == [1, 1]
        assert Signal.objects.filter(run_id=run.id, consumed_at=None).count() == 1

    def test_child_called_again_is_the_same(self, hands):
        """A child whose opening was not answered is opened and paid for once, also when the budget is used up by it."""
        run = open_run(budget="1")
        claim = hands.take(run)
        child = ids.new()
        answers = [by_hand.call(claim, child=child, cost="1") for _ in range(2)]
        assert [one.verdict for one in answers] == ["opened", "already"]
        assert Run.objects.get(pk=run.id).reserved_cost == 1

    @pytest.mark.parametrize("policy", ["retry", "ask", "fail"])
    def test_intent_again_is_the_same(self, hands, policy):
        """An intent whose answer was lost is not taken for an effect of unknown outcome."""
        claim = hands.take(open_run())
        effect = ids.new()

        def intend():
            return ledger.intend(
                claim.step_id, claim.epoch, effect, token="e", key="k", policy=policy, intent=values.pack(1, place="")
            )

        assert [intend().verdict, intend().verdict] == ["intended", "intended"]
        ledger.receipt(claim.step_id, claim.epoch, effect, state="failed", receipt=None)
        effect = ids.new()
        hands.lose(claim)
        claim = hands.take(claim.step_id)
        assert intend().verdict == "again"
        assert intend().verdict != "unknown"

    def test_receipt_again_answers_already(self, hands):
        """A receipt is stored once; another outcome does not replace it."""
        claim = hands.take(open_run())
        effect = ids.new()
        ledger.intend(
            claim.step_id, claim.epoch, effect, token="e", key="k", policy="ask", intent=values.pack(1, place="")
        )
        store = [
            ledger.receipt(claim.step_id, claim.epoch, effect, state=state, receipt=values.pack(1, place=""))
            for state in ("done", "done", "failed")
        ]
        assert [one.verdict for one in store] == ["saved", "already", "already"]
        assert Effect.objects.get(pk=effect).state == "done"


class TestSignal:
    def test_signal_against_suspension_is_never_lost(self, hands):
        """However a suspension and its signal fall together, the step is never asleep with its signal stored."""
        for _ in range(150):
            run = open_run("ledger.ask", {})
            claim = hands.take(run)
            side_by_side(
                lambda claim=claim: finish(claim, "suspended", waiting="signal", awaits=["answer"]),
                lambda run=run: runs.signal(run, "answer", 1),
            )
            assert Step.objects.get(pk=run.id).state == "ready"

    def test_performed_wait_against_signal(self, hands):
        """The same through the context: whoever is first, the skill returns what was sent."""
        for number in range(60):
            run = open_run("ledger.ask", {})
            side_by_side(
                lambda run=run: hands.perform(run), lambda run=run, number=number: runs.signal(run, "answer", number)
            )
            if Step.objects.get(pk=run.id).state != "completed":
                hands.perform(run)
            assert runs.result(run) == number

    def test_early_signal_is_kept(self, hands):
        """A signal that comes before anybody waits is found by who waits later."""
        run = open_run("ledger.ask", {})
        assert runs.signal(run, "answer", "early") == "kept"
        assert hands.perform(run).state == "completed"
        assert runs.result(run) == "early"

    def test_signal_is_taken_once(self, hands):
        """Two steps that wait for one name share its signals: each is taken by one."""
        run, steps = graph([[], []])
        claims = [hands.take(step) for step in steps]
        runs.signal(run, "answer", 1)
        taken = side_by_side(
            *[lambda claim=claim: ledger.take_signal(claim.step_id, claim.epoch, "answer", "t", 1) for claim in claims]
        )
        assert sorted(one.verdict for one in taken) == ["none", "taken"]

    def test_signals_of_a_name_come_in_order(self, hands):
        """The oldest signal is taken first."""
        run = open_run("ledger.ask", {})
        for number in range(3):
            runs.signal(run, "answer", number)
        claim = hands.take(run)
        taken = [ledger.take_signal(claim.step_id, claim.epoch, "answer", f"t{n}", n) for n in range(3)]
        assert [ledger.unpack(one.data) for one in taken] == [0, 1, 2]

    def test_signal_id_again_answers_already(self, hands):
        """A sender may repeat itself: the same id is one signal."""
        run, signal = open_run("ledger.ask", {}), ids.new()
        hands.perform(run)
        assert [runs.signal(run, "answer", 1, signal_id=signal) for _ in range(2)] == ["woken", "already"]
        assert Signal.objects.filter(run_id=run.id).count() == 1

    def test_timeout_wakes_and_raises(self, hands):
        """A wait whose signal does not come ends by its stored timer, with an error in the skill."""
        run = open_run("ledger.ask", {"timeout": 3600})
        assert hands.perform(run).waiting == "signal"
        passed = values.pack({"deadline": "2020-01-01T00:00:00+00:00"}, place="a test").data
        Checkpoint.objects.filter(step_id=run.id).update(data=passed)
        by_hand.make_due(run)
        ledger.ask("SELECT * FROM execution_wake_v1()")
        assert hands.perform(run).error["type"] == "WaitTimeout"

    def test_signal_before_the_timeout_keeps_the_timer_quiet(self, hands):
        """A timeout that comes after its signal wakes nothing."""
        run = open_run("ledger.ask", {"timeout": 3600})
        hands.perform(run)
        runs.signal(run, "answer", 1)
        hands.perform(run)
        by_hand.make_due(run)
        Timer.objects.filter(step_id=run.id).update(due_at="2020-01-01T00:00:00Z")
        ledger.ask("SELECT * FROM execution_wake_v1()")
        assert Step.objects.get(pk=run.id).state == "completed"

    def test_signal_to_an_ended_run_is_refused(self, hands):
        """A signal that nobody can take any more is an error that names the state."""
        run = open_run("ledger.note", {})
        hands.perform(run)
        with pytest.raises(runs.RunEnded, match="completed"):
            runs.signal(run, "answer")


class TestCancel:
    @pytest.mark.parametrize(
        ("ending", "details"),
        [
            ("suspended", {"waiting": "timer", "wake_seconds": 3600, "timer": "sleep"}),
            ("suspended", {"waiting": "signal", "awaits": ["never"]}),
            ("retrying", {"waiting": "retry", "wake_seconds": 60}),
            ("parked", {"waiting": "effect"}),
            ("cancelled", {}),
        ],
    )
    def test_cancelled_run_ends_however_its_step_leaves(self, hands, ending, details):
        """A step that falls asleep or parks when it was asked to cancel is cancelled, and its run ends."""
        run = open_run()
        claim = hands.take(run)
        runs.cancel(run)
        assert finish(claim, ending, **details).state == "cancelled"
        run.refresh_from_db()
        assert run.state == "cancelled"

    def test_cancel_against_suspension(self, hands):
        """However a cancellation and a suspension fall together, the run ends."""
        for _ in range(60):
            run = open_run()
            claim = hands.take(run)
            side_by_side(
                lambda claim=claim: finish(claim, "suspended", waiting="timer", wake_seconds=3600, timer="sleep"),
                lambda run=run: runs.cancel(run),
            )
            assert Run.objects.get(pk=run.id).state == "cancelled"

    def test_cancel_outlives_pause_and_resume(self, hands):
        """A cancellation asked for is not forgotten when the run is paused and resumed before the step has stopped."""
        run = open_run()
        claim = hands.take(run)
        runs.cancel(run)
        runs.pause(run)
        runs.resume(run)
        assert Step.objects.get(pk=run.id).control == "cancel"
        finish(claim, "suspended", waiting="timer", wake_seconds=60)
        assert Run.objects.get(pk=run.id).state == "cancelled"

    def test_cancelled_graph_ends_with_its_last_step(self, hands):
        """What waits is cancelled at once; the run ends when the last performed step has left, by whatever door."""
        run, steps = graph([[], [], [0, 1]])
        first, second = hands.take(steps[0]), hands.take(steps[1])
        runs.cancel(run)
        finish(first, "cancelled")
        assert Run.objects.get(pk=run.id).state == "running"
        assert hands.lose(second) == "cancelled"
        assert Run.objects.get(pk=run.id).state == "cancelled"
        assert Step.objects.get(pk=steps[2].id).state == "cancelled"


def endings_of(run):
    """Return the kinds of the events that ended a run."""
    return list(
        Event.objects.filter(run_id=run.id, kind__in=["run.completed", "run.failed", "run.cancelled"])
        .order_by("id")
        .values_list("kind", flat=True)
    )


class TestGraph:
    def test_last_two_steps_side_by_side_end_the_run_once(self, hands):
        """Two last steps that end at the same moment cannot miss each other."""
        for _ in range(60):
            run, steps = graph([[], []])
            claims = [hands.take(step) for step in steps]
            side_by_side(*[lambda claim=claim: finish(claim) for claim in claims])
            assert endings_of(run) == ["run.completed"]

    def test_need_of_two_is_released_once(self, hands):
        """A step that needs two becomes ready when the second has ended, once, however close they come."""
        for _ in range(60):
            _, steps = graph([[], [], [0, 1]])
            claims = [hands.take(step) for step in steps[:2]]
            answers = side_by_side(*[lambda claim=claim: finish(claim) for claim in claims])
            assert sum(steps[2].id in one.ready for one in answers) == 1
            assert Step.objects.get(pk=steps[2].id).state == "ready"

    def test_fan_in_of_200_by_8_threads(self, hands):
        """Eight workers end two hundred steps that one step needs: it becomes ready once, and the run ends once."""
        run, steps = graph([[] for _ in range(200)] + [range(200)])
        parts = [steps[number:200:8] for number in range(8)]
        readies = side_by_side(*[lambda part=part: [finish(hands.take(s)).ready for s in part] for part in parts])
        assert sum(steps[200].id in ready for part in readies for ready in part) == 1
        finish(hands.take(steps[200]))
        assert endings_of(run) == ["run.completed"]

    @pytest.mark.slow
    @pytest.mark.timeout(300)
    def test_fan_in_of_10_000_costs_as_much_at_its_end(self, hands):
        """Ending a step of a large run does not cost more, the more steps it has."""
        seconds = {}
        for count in (500, 10_000):
            run, steps = graph([[] for _ in range(count)] + [range(count)])
            measured = []
            for step in steps[:count]:
                claim = hands.take(step)
                began = time.perf_counter()
                finish(claim)
                measured.append(time.perf_counter() - began)
            seconds[count] = sorted(measured)[count // 2]
            assert Step.objects.get(pk=steps[count].id).state == "ready"
            finish(hands.take(steps[count]))
            assert endings_of(run) == ["run.completed"]
        assert seconds[10_000] < 3 * seconds[500], seconds

    def test_failed_step_halts_the_run(self, hands):
        """A failure ends the run, starts nothing new, and keeps all state for a retry."""
        run, steps = graph([[], [0]])
        finish(hands.take(steps[0]), "failed", error={"message": "no"})
        assert endings_of(run) == ["run.failed"]
        assert Step.objects.get(pk=steps[1].id).state == "blocked"
        runs.retry(run)
        finish(hands.take(steps[0]))
        finish(hands.take(steps[1]))
        assert Run.objects.get(pk=run.id).state == "completed"

    def test_what_runs_finishes_after_a_halt(self, hands):
        """A step that was performed when another failed still writes its ending, and the run stays failed."""
        run, steps = graph([[], []])
        claims = [hands.take(step) for step in steps]
        finish(claims[0], "failed", error={})
        assert finish(claims[1]).verdict == "done"
        assert endings_of(run) == ["run.failed"]

    def test_failure_that_continues_releases_what_needs_it(self, hands):
        """With on_failure continue a failed step counts as ended, and the run completes."""
        run, steps = graph([[], [0]], step={"options": {"on_failure": "continue"}})
        assert finish(hands.take(steps[0]), "failed", error={}).ready == [steps[1].id]
        finish(hands.take(steps[1]))
        assert endings_of(run) == ["run.completed"]

    def test_random_graph_ends_once_whatever_the_order(self, hands):
        """Random graphs performed by four threads in any order end once, every step having ended once."""
        chance = random.Random(11)
        for _ in range(5):
            needs = [[n for n in range(number) if chance.random() < 0.3] for number in range(25)]
            run, steps = graph(needs)

            def work(run=run, seed=0):
                own = random.Random(seed)
                for _ in range(3000):
                    ready = list(Step.objects.filter(run_id=run.id, state="ready").values_list("id", flat=True))
                    if not ready:
                        if Run.objects.get(pk=run.id).is_ended:
                            return
                        continue
                    claimed = hands.claim(own.choice(ready))
                    if isinstance(claimed, Claim):
                        finish(claimed)

            side_by_side(*[lambda seed=seed: work(seed=seed) for seed in range(4)])
            assert endings_of(run) == ["run.completed"]
            assert Event.objects.filter(run_id=run.id, kind="step.completed").count() == len(steps)

    def test_ended_run_tells_its_parent_once(self, hands):
        """The last two steps of a child run owe its parent one errand."""
        parent = open_run()
        run, steps = graph([[], []], run={"parent_step_id": parent.id, "parent_run_id": parent.id})
        claims = [hands.take(step) for step in steps]
        side_by_side(*[lambda claim=claim: finish(claim) for claim in claims])
        assert Errand.objects.filter(payload__run=str(run.id)).count() == 1


class TestSession:
    def test_short_statements_are_never_compiled(self, hands, monkeypatch):
        """On a server that compiles costly plans, as PostgreSQL does by itself, the ledger's sessions do not."""
        monkeypatch.setitem(connections["default"].settings_dict["OPTIONS"], "options", "-c jit=on")
        ledger.close()
        assert ledger.address()["options"] == "-c jit=on"
        assert ledger.ask("SHOW jit")[0].jit == "off"

    def test_thread_that_ends_leaves_no_connection(self, hands):
        """A thread that has asked the ledger, as a server makes for a request, closes its connection as it ends."""
        held = []

        def work():
            ledger.ask("SELECT 1 AS one")
            held.append(ledger.connection())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(20)
        assert held[0].closed
