"""Loops that survive a crash: no note is doubled or lost, no cost charged twice, and resuming costs what it touches."""

from decimal import Decimal

import pytest

from execution import ledger, runs
from execution.models import Attempt
from tests.execution.stage import Crash

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("kind", [list, iter], ids=["sequence", "iterator"])
@pytest.mark.parametrize("moment", ["before the append", "between append and cursor", "in the next iteration"])
def test_each_crash_doubles_and_loses_nothing(stage, kind, moment):
    """Wherever the process dies, each item's note is there once, in order, and each cost is charged once."""
    died = []

    def note(ctx):
        for item in ctx.each("item", kind(range(5))):
            if item == 2 and moment == "before the append" and not died:
                died.append(1)
                raise Crash
            ctx.append("notes", {"item": item})
            ctx.spend("note", cost="0.25", tokens=10)
            if item == (2 if moment.startswith("between") else 3) and not died:
                died.append(1)
                raise Crash
        return [one["item"] for one in ctx.items("notes")]

    run = stage.open(note)
    stage.crash(run)
    assert stage.finish(run) == [0, 1, 2, 3, 4]
    assert stage.appended(run, "notes") == [{"item": item} for item in range(5)]
    assert stage.run(run).spent_cost == Decimal("1.25")
    assert stage.run(run).spent_tokens == 50


def test_each_once_inside_is_not_computed_again(stage):
    """What `once` recorded in the iteration that was open at the crash is served, and only the rest is done."""
    computed, died = [], []

    def pages(ctx):
        found = []
        for page in ctx.each("page", ["a", "b", "c"]):
            first = ctx.once("first", lambda page=page: computed.append(("first", page)) or page.upper())
            if page == "b" and not died:
                died.append(1)
                raise Crash
            second = ctx.once("second", lambda page=page: computed.append(("second", page)) or page * 2)
            found.append(first + second)
        return found

    run = stage.open(pages)
    stage.crash(run)
    assert stage.finish(run) == ["Bbb", "Ccc"]
    assert computed == [(which, page) for page in "abc" for which in ("first", "second")]


def test_each_every_repeats_only_what_recorded_nothing(stage):
    """With every=n a crash repeats at most the iterations since the last cursor, and none that recorded something."""
    visited, died = [], []

    def visit(ctx):
        for item in ctx.each("item", range(20), every=5):
            visited.append(item)
            if item == 12:
                value = ctx.once("value", lambda: len(visited))
                if not died:
                    died.append(value)
                    raise Crash
                assert value == died[0]
        return "done"

    run = stage.open(visit)
    stage.crash(run)
    assert stage.finish(run) == "done"
    assert visited == [*range(13), *range(10, 20)]


def test_each_nested_loops_resume_in_the_inner_one(stage):
    """The inner loop goes on where it was, under the outer iteration that was open."""
    visited, died = [], []

    def cells(ctx):
        for row in ctx.each("row", range(3)):
            ctx.append("rows", row)
            for column in ctx.each("column", range(3)):
                visited.append((row, column))
                if (row, column) == (1, 1) and not died:
                    died.append(1)
                    raise Crash
                ctx.append("cells", [row, column])
                ctx.spend("cell", cost="0.1")
        return len(ctx.items("cells"))

    run = stage.open(cells)
    stage.crash(run)
    assert stage.finish(run) == 9
    assert visited == [*[(0, c) for c in range(3)], (1, 0), (1, 1), (1, 1), (1, 2), *[(2, c) for c in range(3)]]
    assert stage.appended(run, "rows") == [0, 1, 2]
    assert stage.appended(run, "cells") == [[r, c] for r in range(3) for c in range(3)]
    assert stage.run(run).spent_cost == Decimal("0.9")


def test_each_break_keeps_what_the_iteration_recorded(stage):
    """A loop left by break: what its last iteration appended is kept once, also when the pass is repeated."""

    def search(ctx):
        for item in ctx.each("item", range(10)):
            ctx.append("seen", item)
            if item == 3:
                break
        ctx.sleep("a moment", seconds=0.01)
        return list(ctx.items("seen"))

    run = stage.open(search)
    assert stage.finish(run) == [0, 1, 2, 3]
    assert stage.appended(run, "seen") == [0, 1, 2, 3]


def test_each_exception_caught_around_the_loop_goes_on(stage):
    """An error caught around the loop ends the loop and not the skill; what was collected is kept."""

    def careful(ctx):
        try:
            for item in ctx.each("item", range(5)):
                ctx.append("seen", item)
                if item == 2:
                    {}[item]
        except KeyError:
            ctx.append("errors", "caught", token="one")
        return [list(ctx.items("seen")), list(ctx.items("errors"))]

    run = stage.open(careful)
    assert stage.finish(run) == [[0, 1, 2], ["caught"]]


def test_each_iteration_that_fails_is_done_again_as_a_whole(stage):
    """What a failed iteration appended is dropped and its money is not: the next attempt appends anew."""
    tries = []

    def flaky(ctx):
        for item in ctx.each("item", range(3)):
            tries.append(item)
            ctx.append("notes", f"{item} at try {len(tries)}")
            ctx.spend("note", cost=1)
            if item == 1 and len(tries) == 2:
                raise ConnectionError("try again")
        return list(ctx.items("notes"))

    run = stage.open(flaky, options={"retries": 2})
    assert stage.finish(run) == ["0 at try 1", "1 at try 3", "2 at try 4"]
    assert stage.run(run).spent_cost == 3
    assert [one.cost for one in Attempt.objects.filter(run_id=run.id).order_by("epoch")] == [2, 1]


def test_each_generator_kept_in_a_variable_loses_nothing(stage):
    """A loop object that outlives its loop, as in a traceback, leaves nothing behind and nothing out."""

    def kept(ctx):
        loop = ctx.each("item", range(3))
        for item in loop:
            ctx.spend("item", cost=1)
            if item == 1:
                raise ValueError("out")

    run = stage.open(kept)
    stage.play(run)
    assert stage.error(run) == "ValueError: out"
    assert stage.run(run).spent_cost == 2


def test_each_suspension_in_mid_iteration_keeps_the_iteration_open(stage):
    """A wait inside a loop frees the worker; on waking the same iteration goes on, and records nothing twice."""

    def approvals(ctx):
        for item in ctx.each("item", ["a", "b"]):
            ctx.append("asked", item)
            ctx.spend("asking", cost="0.5")
            answer = ctx.wait_for(f"approval-{item}")
            ctx.append("answers", answer)
        return [list(ctx.items("asked")), list(ctx.items("answers"))]

    run = stage.open(approvals)
    assert stage.play(run).waiting == "signal"
    assert stage.run(run).spent_cost == Decimal("0.5")
    assert stage.appended(run, "asked") == ["a"]
    runs.signal(run, "approval-a", "yes")
    assert stage.play(run).waiting == "signal"
    runs.signal(run, "approval-b", "no")
    assert stage.finish(run) == [["a", "b"], ["yes", "no"]]
    assert stage.appended(run, "asked") == ["a", "b"]
    assert stage.run(run).spent_cost == 1


@pytest.mark.parametrize("changed", ["done", "open", "gone"])
def test_each_changed_item_is_an_error_that_names_it(stage, changed):
    """Items that are not the ones recorded are refused: the last one done, the open one, one that is gone."""
    items = ["a", "b", "c", "d"]
    died = []

    def loop(ctx):
        for item in ctx.each("letter", list(items)):
            ctx.once("look", lambda item=item: item)
            if item == "c" and not died:
                died.append(1)
                raise Crash

    run = stage.open(loop)
    stage.crash(run)
    if changed == "gone":
        del items[1:]
    else:
        items[1 if changed == "done" else 2] = "x"
    stage.play(run)
    assert stage.error(run).startswith(f"ReplayDiverged: item {2 if changed == 'open' else 1} of the loop 'letter'")
    assert "'x'" in stage.error(run) or changed == "gone"


def test_each_twice_in_one_pass_names_both_places(stage):
    """Two loops of one name would share a cursor: the second is refused."""

    def twice(ctx):
        for _ in ctx.each("item", [1]):
            pass
        for _ in ctx.each("item", [2]):
            pass

    run = stage.open(twice)
    stage.play(run)
    assert "TokenReused: the token 'item' is used twice in one pass" in stage.error(run)
    assert stage.error(run).count("test_each.py:") == 2


def test_each_long_loop_costs_what_it_touches(stage):
    """A loop of 100,000 items: resuming near its end is quick, and neither pass's memory grows with the loop."""
    died, visited = [], []

    def long_loop(ctx):
        for item in ctx.each("item", range(100_000), every=1000):
            if item % 10_000 == 0:
                ctx.append("marks", item)
            if item % 1000 == 0:
                ctx.once("look", lambda item=item: item)
            if item == 99_900 and not died:
                died.append(len(ctx._seen) + len(ctx._left) + len(ctx._scopes))
                raise Crash
            visited.append(item)
        return len(ctx.items("marks"))

    run = stage.open(long_loop)
    stage.crash(run)
    count = len(visited)
    asked = ledger_calls(stage, run)
    assert stage.step(run).state == "completed"
    assert ledger.unpack(stage.step(run).output) == 10
    assert len(visited) - count < 2000
    assert asked < 20
    assert died[0] < 10_100


def ledger_calls(stage, run):
    """Perform a pass and count what it asks of the ledger."""
    count = 0
    ask = ledger.ask

    def counted(*args, **kwargs):
        nonlocal count
        count += 1
        return ask(*args, **kwargs)

    ledger.ask = counted
    try:
        stage.play(run)
    finally:
        ledger.ask = ask
    return count
