"""Effects: intent, then receipt; what is not known is done again, asked about, or failed, as the policy says."""

import os
import signal

import pytest

from execution import effects, ledger, runs
from execution.exceptions import NotDone, NotPossible, OptionInvalid
from execution.models import Effect
from tests.execution.stage import Crash

pytestmark = pytest.mark.django_db(transaction=True)


class Refused(Exception):
    """What an HTTP client raises when the server says no."""

    status_code = 422


class Outside:
    """The world outside: it counts what is done to it, and may die or lose the answer."""

    def __init__(self, *, dies=False, error=None, after=True):
        self.keys, self.dies, self.error, self.after = [], dies, error, after

    def post(self, text, idempotency_key=None):
        if self.error and not self.after:
            raise self.error
        self.keys.append(idempotency_key)
        if self.dies:
            self.dies = False
            raise Crash
        if self.error:
            error, self.error = self.error, None
            raise error
        return {"posted": text}


def open_effect(stage, outside, *, policy="ask", **options):
    """Open a run that posts once, with a pause behind it."""

    def publish(ctx):
        receipt = ctx.effect("post", outside.post, "page", on_unknown=policy)
        ctx.sleep("nap", seconds=0.01)
        return receipt

    return stage.open(publish, options=options)


def effect_of(run):
    """Return a run's only effect."""
    return Effect.objects.get(step_id=run.id)


def test_effect_is_done_once_and_its_receipt_served(stage):
    """Replays are served the receipt; the other side is handed one idempotency key."""
    outside = Outside()
    run = open_effect(stage, outside)
    assert stage.finish(run) == {"posted": "page"}
    assert outside.keys == [f"{run.id}:effect:post"]
    assert effect_of(run).state == "done"
    assert ledger.unpack(effect_of(run).intent) == {"args": ["page"], "kwargs": {}}


def test_effect_unknown_with_retry_is_done_again_under_the_same_key(stage):
    """After a crash between intent and receipt the other side is asked again, with the key that it knows."""
    outside = Outside(dies=True)
    run = open_effect(stage, outside, policy="retry")
    stage.crash(run)
    assert stage.finish(run) == {"posted": "page"}
    assert outside.keys == [f"{run.id}:effect:post"] * 2


def test_effect_unknown_with_fail_fails_the_step(stage):
    """With `fail` nobody guesses: the step fails, also when it is retried, until a person has decided."""
    outside = Outside(dies=True)
    run = open_effect(stage, outside, policy="fail")
    stage.crash(run)
    stage.play(run)
    assert stage.error(run).startswith("EffectUnknown:")
    runs.retry(run)
    stage.play(run)
    assert stage.error(run).startswith("EffectUnknown:")
    effects.decide(effect_of(run), "done", receipt="seen on the page", by="ann")
    runs.retry(run)
    assert stage.finish(run) == "seen on the page"
    assert len(outside.keys) == 1


@pytest.mark.parametrize(
    ("decision", "state", "posts"), [("done", "completed", 1), ("again", "completed", 2), ("failed", "cancelled", 1)]
)
def test_effect_unknown_with_ask_is_decided_by_a_person(stage, decision, state, posts):
    """`ask` parks the run; a person who looked says that it was done, shall be done again, or has failed."""
    outside = Outside(dies=True)
    run = open_effect(stage, outside)
    stage.crash(run)
    step = stage.play(run)
    assert (step.state, step.waiting, stage.run(run).state) == ("parked", "effect", "parked")
    assert len(outside.keys) == 1
    effects.decide(effect_of(run), decision, receipt={"posted": "by hand"}, by="ann", reason="looked")
    if state == "completed":
        assert stage.finish(run) == ({"posted": "by hand"} if decision == "done" else {"posted": "page"})
    assert stage.run(run).state == state
    assert len(outside.keys) == posts
    assert effect_of(run).decided_by == "ann"
    assert "effect.decided" in stage.events(run)
    with pytest.raises(NotPossible, match="there is nothing to decide"):
        effects.decide(effect_of(run), "done") if decision != "failed" else effects.decide(effect_of(run), "again")


@pytest.mark.parametrize("error", [ConnectionResetError("lost"), KeyError("parsing the answer"), TimeoutError()])
def test_effect_whose_answer_was_lost_is_unknown(stage, error):
    """Any error after the call leaves nobody sure, whatever its kind: the run parks."""
    run = open_effect(stage, Outside(error=error), retries=3)
    step = stage.play(run)
    assert (step.state, step.waiting) == ("parked", "effect")
    assert effect_of(run).state == "intended"


@pytest.mark.parametrize("error", [NotDone("the queue is closed"), Refused(), ConnectionRefusedError()])
def test_effect_that_was_surely_not_done_fails_and_may_be_retried(stage, error):
    """Where the function, or the server, says that nothing was done, the step fails in the usual way."""
    outside = Outside(error=error, after=False)
    run = open_effect(stage, outside)
    stage.play(run)
    assert stage.error(run).startswith(type(error).__name__)
    assert effect_of(run).state == "failed"
    outside.error = None
    runs.retry(run)
    assert stage.finish(run) == {"posted": "page"}


def test_effect_with_a_receipt_that_is_not_json_is_done_all_the_same(stage):
    """It was done: the error names the receipt, and a retry does not do it again."""
    calls = []
    run = stage.open(lambda ctx: ctx.effect("post", lambda: calls.append(1) or object()))
    stage.play(run)
    assert "NotJson: the receipt of 'post'" in stage.error(run)
    runs.retry(run)
    assert stage.finish(run).startswith("<object object")
    assert len(calls) == 1


def test_effect_in_each_is_one_per_iteration(stage):
    """Each iteration has its own intent; a crash leaves only the open one unknown."""
    done, died = [], []

    def post(item, idempotency_key):
        done.append((item, idempotency_key))
        if item == 2 and not died:
            died.append(1)
            raise Crash

    def publish(ctx):
        for item in ctx.each("item", [1, 2, 3]):
            ctx.effect("post", post, item, on_unknown="retry")

    run = stage.open(publish)
    stage.crash(run)
    stage.finish(run)
    assert [item for item, _ in done] == [1, 2, 2, 3]
    assert len({key for _, key in done}) == 3


def test_effect_policy_is_checked(stage):
    """A policy that does not exist is refused with the nearest that does."""
    run = stage.open(lambda ctx: ctx.effect("post", print, on_unknown="retri"))
    stage.play(run)
    assert "did you mean 'retry'?" in stage.error(run)
    with pytest.raises(OptionInvalid):
        effects.decide(Effect(), "perhaps")


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "posts"), [("retry", 2), ("ask", 1)])
def test_effect_killed_between_intent_and_receipt(workers, eventually, tmp_path, policy, posts):
    """A real worker is killed in mid-effect: `retry` posts again, `ask` parks for a person and posts once."""
    from tests import scenario_skills

    workers(skills="tests.scenario_skills")
    log = tmp_path / "posts"
    run = scenario_skills.publish.start(log=str(log), policy=policy)
    eventually(log.exists)
    performer = int(log.read_text().splitlines()[0])
    os.kill(performer, signal.SIGKILL)
    wanted = "completed" if policy == "retry" else "parked"
    eventually(lambda: run.__class__.objects.get(pk=run.id).state == wanted, timeout=30)
    assert len(log.read_text().splitlines()) == posts
