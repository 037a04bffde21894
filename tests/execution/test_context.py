"""The verbs of a skill's context: what is recorded, what is served, what is refused, and how a pass ends."""

import asyncio
import contextlib
import datetime as dt
import time
import uuid
from decimal import Decimal

import pytest

from execution import agents, budgets, ledger, runs, skills, tunables
from execution.context import Context
from execution.exceptions import OptionInvalid
from execution.models import Checkpoint, Event, Run, Step
from tests.execution.stage import Crash

pytestmark = pytest.mark.django_db(transaction=True)

ENGLISH = (
    "The quick work of a long night is to keep what was found before it is forgotten: each message that an agent "
    "reads, each answer that it gives, and the reasons it had. "
)


# once


def test_once_is_called_once_across_a_crash(stage):
    """What was recorded before the crash is served afterwards, and only the rest is called."""
    calls = []

    def work(ctx):
        first = ctx.once("first", lambda: calls.append("first") or len(calls))
        if len(calls) == 1:
            calls.append("crash")
            raise Crash
        second = ctx.once("second", lambda: calls.append("second") or len(calls))
        return [first, second]

    run = stage.open(work)
    stage.crash(run)
    assert stage.finish(run) == [1, 3]
    assert calls == ["first", "crash", "second"]


def test_once_returns_the_same_on_the_first_pass_and_on_replay(stage):
    """A value is seen as the ledger keeps it from the start: tuples as lists, keys as text, dates as they were."""
    value = {
        "tuple": (1, 2),
        "date": dt.date(2026, 11, 21),
        "moment": dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC),
        "money": Decimal("1.50"),
        "id": uuid.UUID(int=7),
        "bytes": b"\xff\x00",
        7: "seven",
        "odd": {"__type__": "unheard of", "__value__": 1},
    }
    seen = []

    def work(ctx):
        seen.append(ctx.once("value", lambda: value))
        ctx.sleep("nap", seconds=0.01)

    run = stage.open(work)
    stage.finish(run)
    assert len(seen) >= 2
    assert all(one == seen[0] for one in seen)
    assert seen[0]["tuple"] == [1, 2]
    assert seen[0]["7"] == "seven"
    assert [seen[0][name] for name in ("date", "moment", "money", "id", "bytes", "odd")] == [
        value[name] for name in ("date", "moment", "money", "id", "bytes", "odd")
    ]


def test_once_given_a_coroutine_function_says_what_to_write(stage):
    """A coroutine cannot be recorded; the error names the verb that can."""

    async def fetch():
        return 1

    run = stage.open(lambda ctx: ctx.once("fetch", fetch))
    stage.play(run)
    assert "write `await ctx.aonce('fetch', ...)`" in stage.error(run)


def test_aonce_records_what_a_coroutine_returns(stage):
    """Async skills record by `aonce`, one after the other or side by side."""
    calls = []

    async def fetch(number):
        calls.append(number)
        await asyncio.sleep(0)
        return number * 2

    async def work(ctx):
        both = await asyncio.gather(ctx.aonce("a", fetch, 1), ctx.aonce("b", fetch, 2))
        ctx.sleep("nap", seconds=0.01)
        return [*both, await ctx.aonce("plain", lambda: 3)]

    run = stage.open(work)
    assert stage.finish(run) == [2, 4, 3]
    assert calls == [1, 2]


def test_once_replay_of_many_large_pages_costs_few_queries(stage):
    """Six hundred recorded results are read ahead in pages, not one by one, and only as far as they are met."""
    died = []

    def work(ctx, stop: int = 600):
        for page in range(stop):
            ctx.once(f"page-{page}", lambda page=page: {"page": page, "text": ENGLISH * 10})
        if not died:
            died.append(1)
            raise Crash
        return "done"

    run = stage.open(work)
    stage.crash(run)
    began = time.process_time()
    count = calls_of(stage, run)
    assert stage.step(run).state == "completed"
    assert count < 20
    assert time.process_time() - began < 3


def test_once_new_at_the_top_of_a_long_history_reads_little(stage):
    """A token that the new code has and the old had not is answered without reading all that was recorded."""
    died = []

    def work(ctx):
        if died:
            ctx.once("new", lambda: 1)
        else:
            for number in range(1000):
                ctx.once(f"old-{number}", lambda: 1)
            died.append(1)
            raise Crash

    run = stage.open(work)
    stage.crash(run)
    assert calls_of(stage, run) < 10
    assert stage.step(run).state == "completed"


def calls_of(stage, run):
    """Perform a pass and count what it asks of the ledger."""
    asked = []
    ask, ledger.ask = ledger.ask, lambda *args, **kwargs: asked.append(args) or ask(*args, **kwargs)
    try:
        stage.play(run)
    finally:
        ledger.ask = ask
    return len(asked)


# Tokens


def test_token_used_twice_in_one_pass_names_both_places(stage):
    """Two calls under one token would share a result: the error names the lines of both."""

    def work(ctx):
        ctx.once("same", lambda: 1)
        ctx.once("same", lambda: 2)

    run = stage.open(work)
    stage.play(run)
    assert "TokenReused: the token 'same' is used twice in one pass: by once at test_context.py:" in stage.error(run)
    assert stage.error(run).count("test_context.py:") == 2


@pytest.mark.parametrize("first", ["once", "save"])
def test_token_with_two_meanings_in_one_pass_is_refused(stage, first):
    """A token stands for one thing: `save` and `once` cannot share it."""

    def work(ctx):
        verbs = [lambda: ctx.once("x", lambda: 1), lambda: ctx.save("x", 1)]
        for verb in verbs if first == "once" else reversed(verbs):
            verb()

    run = stage.open(work)
    stage.play(run)
    assert "TokenReused" in stage.error(run)
    assert stage.error(run).count("test_context.py:") == 2


def test_token_with_another_meaning_in_a_later_pass_is_refused(stage):
    """Code that changed between two passes cannot read another verb's record as its own."""
    passes = []

    def work(ctx):
        passes.append(1)
        if len(passes) == 1:
            ctx.save("x", {"page": 1})
            raise Crash
        ctx.once("x", lambda: 2)

    run = stage.open(work)
    stage.crash(run)
    stage.play(run)
    assert "TokenReused: the token 'x' was recorded by save in an earlier pass, and once uses it now" in stage.error(
        run
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda ctx: ctx.append("notes", 1),
        lambda ctx: ctx.once("", lambda: 1),
        lambda ctx: ctx.once("x" * 201, lambda: 1),
        lambda ctx: ctx.once(7, lambda: 1),
        lambda ctx: ctx.save("nul\0", 1),
        lambda ctx: ctx.items(""),
    ],
    ids=["append outside each", "empty", "too long", "not text", "nul", "list without a name"],
)
def test_token_missing_or_impossible_says_what_is_wanted(stage, call):
    """Outside a loop each verb needs a token that the ledger can hold."""
    run = stage.open(lambda ctx: call(ctx))  # noqa: PLW0108 - a skill is a function of its own
    stage.play(run)
    assert stage.error(run).startswith("TokenMissing:")
    assert "token" in stage.error(run) or "name" in stage.error(run)


def test_token_too_long_with_its_loops_is_refused_before_it_is_written(stage):
    """Names of nested loops add up; the error says so instead of the database's."""

    def work(ctx):
        for _ in ctx.each("a" * 190, [1]):
            for _ in ctx.each("b" * 190, [1]):
                ctx.once("c" * 150, lambda: 1)

    run = stage.open(work)
    stage.play(run)
    assert "is too long with the loops around it" in stage.error(run)


# append and items


def test_append_outside_each_is_written_once_per_token(stage):
    """A replay appends nothing twice, and its order is that of the first time."""

    def work(ctx):
        for number in range(5):
            ctx.append("log", {"n": number}, token=f"line-{number}")
        ctx.sleep("nap", seconds=0.01)
        ctx.append("log", {"n": 5}, token="line-5")
        return [one["n"] for one in ctx.items("log")]

    assert stage.finish(stage.open(work)) == [0, 1, 2, 3, 4, 5]


def test_items_are_a_snapshot_that_slices_and_compares(stage):
    """What `items` returns does not grow, is decoded where it is looked at, and holds what was just appended."""

    def work(ctx):
        ctx.append("log", "a", token="a")
        before = ctx.items("log")
        for item in ctx.each("item", ["b", "c"]):
            ctx.append("log", item)
            assert ctx.items("log")[-1] == item
        now = ctx.items("log")
        return [len(before), list(now[1:]), now == ["a", "b", "c"], repr(now), len(ctx.items("nothing"))]

    assert stage.finish(stage.open(work)) == [1, ["b", "c"], True, "<3 items>", 0]


def test_append_five_thousand_messages_are_stored_in_less_than_their_size(stage):
    """5,000 messages of 4 KB of English: rows and indexes together are smaller than the text, and resuming is quick."""
    passes, took = [], []

    def agent(ctx):
        passes.append(1)
        for number in ctx.each("turn", range(5000), every=100):
            ctx.append("messages", f"{number}: " + (ENGLISH * 40)[number % 500 :][:4096])
        if len(passes) == 1:
            raise Crash
        began = time.process_time()
        messages = ctx.items("messages")
        size = sum(len(one) for one in messages)
        took.append(time.process_time() - began)
        return [len(messages), size]

    run = stage.open(agent)
    before = stored()
    stage.crash(run)
    grown = stored() - before
    began = time.process_time()
    stage.play(run)
    resumed = time.process_time() - began
    count, size = runs.result(run)
    assert count == 5000
    assert grown < size
    assert resumed < 1.0
    assert took[0] < 0.5


def stored():
    """Return the bytes of the checkpoints' table with its indexes."""
    return ledger.ask("SELECT pg_total_relation_size('execution_checkpoint') AS size")[0].size


def test_append_many_tokens_replayed_are_looked_up_in_pages(stage):
    """2,000 appends outside a loop: the replay asks a few times, not 2,000."""
    died = []

    def work(ctx):
        for number in range(2000):
            ctx.append("log", number, token=f"{number}")
        if not died:
            died.append(1)
            raise Crash
        return len(ctx.items("log"))

    run = stage.open(work)
    stage.crash(run)
    assert calls_of(stage, run) < 20
    assert runs.result(run) == 2000


# save and checkpoint


def test_save_moves_forward_under_its_token(stage):
    """The latest save is what a resumed pass finds, and it takes one row."""
    seen = []

    def work(ctx):
        seen.append((bool(ctx.checkpoint), ctx.checkpoint.token, ctx.checkpoint.data))
        if not ctx.checkpoint:
            for page in range(3):
                ctx.save("page", {"page": page})
            raise Crash
        return ctx.checkpoint.data

    run = stage.open(work)
    stage.crash(run)
    assert stage.finish(run) == {"page": 2}
    assert seen == [(False, None, None), (True, "page", {"page": 2})]
    assert stage.tokens(run) == ["page"]


def test_save_in_a_loop_keeps_its_plain_token(stage):
    """A checkpoint made in a loop is the same one in every iteration."""

    def work(ctx):
        for item in ctx.each("item", range(3)):
            ctx.save("progress", item)
        ctx.sleep("nap", seconds=0.01)
        return [ctx.checkpoint.token, ctx.checkpoint.data]

    run = stage.open(work)
    assert stage.finish(run) == ["progress", 2]
    assert stage.tokens(run, kind="save") == ["progress"]


@pytest.mark.parametrize("ending", ["suspended", "completed", "failed", "drained"])
def test_save_throttled_writes_the_newest_at_the_ending(stage, ending):
    """At most one save in the throttle's time is written, and the newest withheld one when the pass ends."""

    def work(ctx):
        written = [ctx.save("place", number, throttle="2m") for number in range(100)]
        assert written == [True] + [False] * 99
        assert Checkpoint.objects.get(step_id=ctx.step_id, token="place").data == b"j0"
        if ending == "suspended":
            ctx.sleep("nap", hours=1)
        if ending == "failed":
            raise ValueError("no")
        if ending == "drained":
            stage.hands._board.drain()
            ctx.once("next", lambda: 1)

    run = stage.open(work)
    assert stage.play(run).state in ("waiting", "completed", "failed", "ready")
    assert Checkpoint.objects.get(step_id=run.id, token="place").data == b"j99"
    assert Checkpoint.objects.filter(step_id=run.id, kind="save").count() == 1


# Leaving


def test_suspension_is_not_eaten_by_the_skill(stage):
    """`except Exception`, a bare except and contextlib.suppress cannot keep a skill that was told to leave."""
    after = []

    def work(ctx):
        try:
            ctx.sleep("nap", seconds=0.05)
        except Exception:  # noqa: BLE001 - what a careless skill does
            after.append("exception")
        except BaseException:  # noqa: BLE001, S110 - as above
            pass
        with contextlib.suppress(BaseException):
            ctx.once("never before the nap is over", lambda: after.append("once"))
        return "swallowed" if not after else "slept"

    run = stage.open(work)
    step = stage.play(run)
    assert (step.state, step.waiting) == ("waiting", "timer")
    assert after == []
    assert stage.finish(run) == "slept"


def test_suspension_inside_a_task_group_suspends(stage):
    """An async skill's suspension comes out of a TaskGroup as a group; it still is one."""

    async def work(ctx):
        async def nap():
            ctx.sleep("nap", seconds=0.01)

        async with asyncio.TaskGroup() as group:
            group.create_task(nap())
        return "awake"

    run = stage.open(work)
    assert stage.play(run).waiting == "timer"
    assert stage.finish(run) == "awake"


def test_cancel_is_seen_by_the_next_verb_and_by_cancelled(stage):
    """A cancelled skill is told by `ctx.cancelled`, and left by its next verb, whose record is kept."""
    seen = []

    def work(ctx):
        seen.append(ctx.cancelled)
        runs.cancel(ctx.run_id, reason="enough")
        ctx.once("last", lambda: 1)
        seen.append("not reached")

    run = stage.open(work)
    assert stage.play(run).state == "cancelled"
    assert seen == [False]
    assert stage.run(run).state == "cancelled"
    assert stage.tokens(run) == ["last"]


def test_cancelled_without_a_board_asks_the_ledger(stage):
    """Where no keeper tells, `ctx.cancelled` looks for itself, at most once a second."""
    run = stage.open(lambda: 1)
    claim = stage.hands.take(run)
    context = Context(claim)
    assert context.cancelled is False
    runs.cancel(run)
    context._asked_at = 0
    assert context.cancelled is True


def test_pause_suspends_at_the_next_verb_and_resume_goes_on(stage):
    """A paused run's step gives its worker back with everything recorded, and goes on when it is resumed."""
    passes = []

    def work(ctx):
        passes.append(1)
        ctx.once("before", lambda: 1)
        if len(passes) == 1:
            runs.pause(ctx.run_id)
        ctx.once("after", lambda: 2)
        return len(passes)

    run = stage.open(work)
    step = stage.play(run)
    assert (step.state, step.waiting) == ("waiting", "paused")
    assert stage.run(run).state == "paused"
    runs.resume(run)
    assert stage.finish(run) == 2


def test_fenced_pass_writes_nothing_more_and_its_money_is_not_lost(stage):
    """A pass whose step was given to another writes nothing; what it had spent is recorded as overdraft."""

    def work(ctx):
        if ctx.attempt > 1:
            return "second"
        for _ in ctx.each("item", [1]):
            ctx.spend("paid", cost="0.75", tokens=5)
            ledger.give_back(ctx.step_id, ctx.attempt, ending="lost", reason="its lease ran out")
            ctx.once("late", lambda: 1)
        return "first"

    run = stage.open(work)
    stage.play(run)
    assert stage.tokens(run, kind="once") == []
    assert stage.run(run).spent_cost == Decimal("0.75")
    assert stage.finish(run) == "second"
    assert stage.run(run).spent_cost == Decimal("0.75")


def test_fenced_ending_is_not_written_and_its_money_is_not_lost(stage):
    """A pass that is stale only when it ends leaves its result out and its spending in."""

    def work(ctx):
        if ctx.attempt > 1:
            return "second"
        for _ in ctx.each("item", [1]):
            ctx.spend("paid", cost="0.75")
            ledger.give_back(ctx.step_id, ctx.attempt, ending="lost", reason="its lease ran out")
            break
        return "first"

    run = stage.open(work)
    stage.play(run)
    assert stage.run(run).spent_cost == Decimal("0.75")
    assert stage.finish(run) == "second"


# Money


def test_spend_is_charged_once_per_token_across_replays(stage):
    """A replay meets its own charge and pays nothing again."""

    def work(ctx):
        ctx.spend("call", cost="0.1", tokens=100)
        ctx.sleep("nap", seconds=0.01)
        ctx.spend("call-2", cost=0.2)

    run = stage.open(work)
    stage.finish(run)
    assert (stage.run(run).spent_cost, stage.run(run).spent_tokens) == (Decimal("0.3"), 100)


@pytest.mark.parametrize(
    ("spend", "error"),
    [
        ({"cost": None}, "PriceUnknown"),
        ({"tokens": None}, "PriceUnknown"),
        ({"cost": -1}, "OptionInvalid"),
        ({"cost": "NaN"}, "OptionInvalid"),
        ({"cost": "much"}, "OptionInvalid"),
        ({"tokens": -1}, "OptionInvalid"),
        ({"tokens": 1.5}, "OptionInvalid"),
    ],
)
def test_spend_without_a_real_price_is_refused(stage, spend, error):
    """An unknown price is never free, and nothing costs less than nothing."""
    run = stage.open(lambda ctx: ctx.spend("call", **spend))
    stage.play(run)
    assert stage.error(run).startswith(f"{error}:")
    assert "'call'" in stage.error(run)
    assert stage.run(run).spent_cost == 0


def test_spend_of_an_unknown_price_is_charged_as_what_is_reserved(stage):
    """Inside `reserving` an unknown price costs what was reserved; a reservation of nothing caps nothing."""

    def work(ctx):
        with ctx.reserving(cost="0.5", tokens=10):
            ctx.spend("call", cost=None, tokens=None)
        with ctx.reserving(tokens=10):
            ctx.spend("free", cost=None)

    run = stage.open(work)
    stage.play(run)
    assert stage.error(run).startswith("PriceUnknown:")
    assert (stage.run(run).spent_cost, stage.run(run).spent_tokens) == (Decimal("0.5"), 10)


def test_reserving_parks_before_the_money_is_spent_and_goes_on_when_topped_up(stage):
    """A budget that does not hold the next call parks the run before the call; the spending never passes it."""
    called = []

    def work(ctx):
        for item in ctx.each("item", range(4)):
            with ctx.reserving(cost=1):
                called.append(item)
                ctx.spend("call", cost=1)
        return "done"

    run = stage.skill(work).start(budget=2)
    step = stage.play(run)
    assert (step.state, step.waiting) == ("parked", "budget")
    assert called == [0, 1]
    assert stage.run(run).spent_cost == 2
    budgets.top_up(run, cost=2)
    assert stage.finish(run) == "done"
    assert called == [0, 1, 2, 3]
    assert (stage.run(run).spent_cost, stage.run(run).reserved_cost) == (4, 0)


# Sleeping


def test_sleep_wants_one_way_to_say_how_long(stage):
    """A misspelt unit, two lengths, none at all, or a moment without a zone: each is refused with what it should be."""

    def words(**given):
        run = stage.open(lambda ctx: ctx.sleep("nap", **given))
        stage.play(run)
        return stage.error(run)

    assert "did you mean 'hours'?" in words(hour=1)
    assert "wants either until=... or a length" in words()
    assert "wants either until=... or a length" in words(until=dt.datetime.now(dt.UTC), hours=1)
    assert "no time zone" in words(until=dt.datetime(2030, 1, 1))  # noqa: DTZ001 - the mistake


def test_sleep_keeps_its_first_deadline(stage):
    """A pass that is woken early sleeps on until the moment that its first pass had named."""

    def work(ctx):
        ctx.sleep("nap", hours=6)
        return "awake"

    run = stage.open(work)
    first = stage.play(run).wake_at
    stage.wake(run)
    assert stage.play(run).wake_at == first
    assert abs((first - dt.datetime.now(dt.UTC)).total_seconds() - 6 * 3600) < 60


# Children


def child_of(run):
    """Return a run's only child."""
    return Run.objects.get(parent_run_id=run.id)


def test_call_starts_a_child_and_waits_without_holding_a_worker(stage):
    """The parent suspends, the child runs on its own with the parent's correlation, and its result comes back."""

    def double(ctx, number: int) -> int:
        return number * 2

    child = stage.skill(double)

    def parent(ctx):
        return ctx.call(child, number=21) + ctx.call(child, {"number": 1}, token="second")

    run = stage.skill(parent).start(correlation_id="order-7")
    step = stage.play(run)
    assert (step.state, step.waiting) == ("waiting", "children")
    first = child_of(run)
    assert (first.correlation_id, first.root_run_id, first.parent_step_id) == ("order-7", run.id, run.id)
    stage.play(first)
    assert stage.step(run).state == "ready"
    stage.play(run)
    stage.play(Run.objects.exclude(pk=first.id).get(parent_run_id=run.id))
    assert stage.finish(run) == 44


def test_begin_and_collect_run_children_side_by_side(stage):
    """All children begin before the first is waited for; the results come in the order asked for."""

    def square(ctx, number: int) -> int:
        return number * number

    child = stage.skill(square)

    def parent(ctx):
        begun = [ctx.begin(child, token=f"n{number}", number=number) for number in range(4)]
        return ctx.collect(*begun)

    run = stage.open(parent)
    stage.play(run)
    children = list(Run.objects.filter(parent_run_id=run.id).order_by("-id"))
    assert len(children) == 4
    for one in children:
        stage.play(one)
    assert stage.finish(run) == [0, 1, 4, 9]
    assert Run.objects.filter(parent_run_id=run.id).count() == 4


def test_call_of_a_child_that_fails_raises_and_a_retried_child_is_taken(stage):
    """ChildFailed says which child and why; when the child was retried, the parent's retry has its result."""
    broken = [1]

    def child(ctx):
        if broken:
            raise ValueError("broken")
        return "mended"

    kind = stage.skill(child)
    run = stage.open(lambda ctx: ctx.call(kind))
    stage.play(run)
    stage.play(child_of(run))
    stage.play(run)
    assert stage.error(run) == f"ChildFailed: child run {child_of(run).id} failed: broken"
    broken.clear()
    runs.retry(child_of(run))
    stage.play(child_of(run))
    runs.retry(run)
    assert stage.finish(run) == "mended"


def test_call_carves_the_childs_budget_and_returns_the_rest_once(stage):
    """A child's budget is set aside in its parent's; failing, retrying and completing books its cost once."""
    broken = [1]

    def child(ctx):
        ctx.spend("try", cost="1.00")
        if broken:
            raise ValueError("broken")
        ctx.spend("again", cost="0.50")
        return "mended"

    kind = stage.skill(child)

    def parent(ctx):
        return ctx.call(kind, budget=3)

    run = stage.skill(parent).start(budget=5)
    stage.play(run)
    assert stage.run(run).reserved_cost == 3
    stage.play(child_of(run))
    assert (stage.run(run).reserved_cost, stage.run(run).spent_cost) == (0, 1)
    broken.clear()
    runs.retry(child_of(run))
    assert (stage.run(run).reserved_cost, stage.run(run).spent_cost) == (3, 0)
    stage.play(child_of(run))
    assert (stage.run(run).reserved_cost, stage.run(run).spent_cost) == (0, Decimal("1.5"))


def test_call_beyond_the_budget_parks_the_parent(stage):
    """A child that wants more than is left parks its parent before it exists."""
    kind = stage.skill(lambda: 1)
    run = stage.skill(lambda ctx: ctx.call(kind, budget=3)).start(budget=2)
    step = stage.play(run)
    assert (step.state, step.waiting) == ("parked", "budget")
    assert not Run.objects.filter(parent_run_id=run.id).exists()


def test_cancel_reaches_children_and_stops_new_ones(stage):
    """Cancelling a parent cancels the children that it has, and it can begin no more."""
    kind = stage.skill(lambda ctx: ctx.wait_for("never"))

    def parent(ctx):
        ctx.begin(kind, token="first")
        runs.cancel(ctx.run_id)
        ctx.begin(kind, token="second")

    run = stage.open(parent)
    assert stage.play(run).state == "cancelled"
    assert [one.state for one in Run.objects.filter(parent_run_id=run.id)] == ["cancelled"]


def test_call_option_that_is_the_childs_parameter_is_its_input(stage):
    """A child whose parameter is called `priority` gets it; the run's own option is then not meant."""

    def child(ctx, priority: str) -> str:
        return priority

    kind = stage.skill(child)
    run = stage.open(lambda ctx: ctx.call(kind, priority="high"))
    stage.play(run)
    stage.play(child_of(run))
    assert stage.finish(run) == "high"


def test_call_in_an_async_skill_opens_its_child(stage, monkeypatch):
    """Beside a running event loop Django's part is done in a thread of its own."""
    agents.forget()
    # A worker reads on its board what is tuned; this process has none, and would look at the rows in mid-loop.
    monkeypatch.setattr(tunables, "_LOOK_SECONDS", 60.0)
    tunables.value("retries.base")
    kind = stage.skill(lambda number: number + 1, key=f"k-{uuid.uuid4().hex}", key_limit=5)

    async def parent(ctx):
        return ctx.call(kind, number=1)

    run = stage.open(parent)
    assert stage.play(run).waiting == "children", stage.error(run)
    stage.play(child_of(run))
    assert stage.finish(run) == 2


def test_collect_of_what_was_not_begun_says_so(stage):
    """A run id from elsewhere is no child."""
    run = stage.open(lambda ctx: ctx.collect(uuid.UUID(int=1)))
    stage.play(run)
    assert "which is no run that ctx.begin has started" in stage.error(run)


# Time, versions, fallbacks


def test_timebox_ends_the_skill_at_its_next_verb(stage):
    """A skill beyond its timebox fails with what it had, and says how long that was."""

    def work(ctx):
        ctx.once("first", lambda: 1)
        while not ctx.cancelled:
            ctx.save("alive", 1, throttle=60)

    run = stage.open(work, options={"timebox": "0.2s"})
    stage.play(run)
    assert stage.error(run).startswith("TimeboxPassed:")


@pytest.mark.parametrize("policy", ["continue", "restart", "park"])
def test_declared_version_that_changed_does_as_the_skill_says(stage, policy):
    """A step resumed under another declared version goes on, begins anew, or waits for a person, who lets it go on."""
    calls = []

    def work(ctx):
        ctx.once("first", lambda: calls.append("first"))
        ctx.sleep("nap", seconds=0.01)
        return len(calls)

    task = stage.skill(work, version="1", on_new_version=policy)
    run = task.start()
    stage.play(run)
    changed = {name: getattr(task.options, name) for name in task.options.__dataclass_fields__} | {"version": "2"}
    type(task._get_current_object()).options = skills.SkillOptions(**changed)
    if policy == "park":
        stage.wake(run)
        step = stage.play(run)
        assert (step.state, step.waiting) == ("parked", "version")
        runs.resume(run)
    assert stage.finish(run) == (2 if policy == "restart" else 1)
    noted = Event.objects.get(run_id=run.id, kind="step.version_changed").data
    assert (noted["before"], noted["now"], noted["then"]) == ("1", "2", policy)
    assert stage.step(run).version == "2"


def test_source_that_changed_continues_and_is_noted(stage):
    """Without a declared version a new hash of the source changes nothing, and stands in the log."""

    def work(ctx):
        ctx.sleep("nap", seconds=0.01)
        return 1

    run = stage.open(work, options={"on_new_version": "park"})
    stage.play(run)
    Step.objects.filter(pk=run.id).update(version="source:before")
    assert stage.finish(run) == 1
    assert Event.objects.get(run_id=run.id, kind="step.version_changed").data["then"] == "continue"


def test_fallback_takes_over_with_tokens_of_its_own_and_stays(stage):
    """After the retries the fallback is performed under its own tokens; woken from a sleep it goes on itself."""
    calls = []

    def spare(ctx, topic: str) -> str:
        found = ctx.once("collect", lambda: calls.append("spare") or "second best")
        ctx.sleep("nap", seconds=0.01)
        return f"{topic}: {found}"

    other = stage.skill(spare)

    def main(ctx, topic: str) -> str:
        ctx.once("collect", lambda: calls.append("main") or "best")
        raise ValueError("no")

    run = stage.open(main, options={"fallback": other.name}, topic="tea")
    assert stage.play(run).waiting == "timer"
    assert stage.finish(run) == "tea: second best"
    assert calls == ["main", "spare"]


def test_stage_options_are_refused_where_they_are_used(stage):
    """A loop that counts its iterations from nothing is refused."""
    with pytest.raises(OptionInvalid, match="every is 0"):
        Context.each(object(), "x", [], every=0)  # type: ignore[arg-type]
