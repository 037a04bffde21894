"""Celery's canvas in the ledger: what follows a step is opened in the transaction that ends it, under fixed ids."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from celery import chain, chord, current_app, group
from celery.app.task import Context as Request
from celery.exceptions import ChordError, MaxRetriesExceededError, Reject, TaskRevokedError, TimeLimitExceeded
from celery.result import AsyncResult
from django.db import transaction

from execution import errands, ids, ledger, performing
from execution.exceptions import OptionInvalid
from execution.models import Chord, Errand, Run, Step
from tests import canvas_skills as tasks
from tests.hands import make_due

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:Call to deprecated setex"),  # Celery's own Redis backend
]


@pytest.fixture(autouse=True)
def _nothing_seen():
    tasks.SEEN.clear()


@pytest.fixture
def hands(hands):
    """Hands whose board is kept, as a worker's is."""
    hands._board.keep()
    return hands


@pytest.fixture
def work(hands):
    """Perform all that is ready, and run what is owed, until nothing is left."""

    def perform_all(most=60):
        for _ in range(most):
            errands.run_due()
            for step in Step.objects.filter(state="waiting", waiting="retry"):
                make_due(step)
            ledger.ask("SELECT * FROM execution_wake_v1()")
            step = Step.objects.filter(state="ready").order_by("id").first()
            if step is None:
                return
            hands.perform(step)
        raise AssertionError("there was no end")

    return perform_all


def seen(kind):
    """Return what the tasks of a kind have seen."""
    return [what for name, what in tasks.SEEN if name == kind]


# Opening


def test_same_task_id_twice_opens_one_run():
    """The id decides: a message sent again by its producer starts nothing new."""
    first = tasks.add.apply_async((1, 2), task_id="order-17")
    second = tasks.add.apply_async((1, 2), task_id="order-17")
    assert first.id == second.id == "order-17"
    assert Run.objects.count() == 1


def test_custom_id_is_the_tasks_own(work):
    """Any string is an id, as in Celery, and the task sees it."""
    tasks.shown.apply_async(task_id="order-17")
    work()
    assert AsyncResult("order-17").get(timeout=1)["id"] == "order-17"


def test_rolled_back_transaction_opens_nothing():
    """What the caller's transaction takes back was never sent."""
    with transaction.atomic():
        tasks.add.delay(1, 2)
        transaction.set_rollback(True)
    assert Run.objects.count() == 0


def test_wrong_arguments_are_refused_as_celery_does():
    """A call that cannot work is refused before anything is stored."""
    with pytest.raises(TypeError):
        tasks.total.delay()
    assert Run.objects.count() == 0


@pytest.mark.parametrize("options", [{"eta": "soon"}, {"countdown": "5 s"}, {"expires": "never"}, {"eta": [1]}])
def test_moment_that_is_none_is_refused_in_words(options):
    """A wrong eta, countdown or expiry names itself and says how to write one, and opens nothing."""
    name, value = next(iter(options.items()))
    with pytest.raises(
        OptionInvalid, match=rf"^{name} is {re.escape(repr(value))}; write seconds from now, a datetime"
    ):
        tasks.add.apply_async((1, 2), **options)
    assert not Run.objects.exists()


def test_countdown_is_a_stored_timer():
    """A delay survives every worker: it is a row."""
    result = tasks.add.apply_async((1, 2), countdown=60)
    step = Step.objects.get(pk=result.id)
    assert (step.state, step.waiting) == ("waiting", "timer")
    assert step.wake_at > datetime.now(UTC) + timedelta(seconds=50)


def test_expired_step_is_never_started(work):
    """After its expiry a step that has not been started ends as revoked."""
    result = tasks.add.apply_async((1, 2), expires=datetime.now(UTC) - timedelta(seconds=1))
    work()
    assert seen("add") == []
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError, match="expired"):
        result.get(timeout=1)


def test_request_shows_what_was_asked_for(work):
    """Headers, priority, limits, stamps and properties reach the task as in Celery."""
    result = tasks.shown.apply_async(
        headers={"tenant": "a"}, priority=3, time_limit=30, soft_time_limit=20, app_id="1", colour="red",
        stamped_headers=["colour"], link=tasks.same.s(),
    )  # fmt: skip
    work()
    told = result.get(timeout=1)
    assert told["headers"] == {"tenant": "a"}
    assert (told["priority"], told["limits"], told["app_id"]) == (3, [30, 20], "1")
    assert told["stamps"] == {"colour": "red"}
    assert told["follows"]
    assert (told["root_id"], told["parent_id"]) == (result.id, None)


def test_time_limits_travel_with_the_doorbell():
    """Celery's pool enforces a limit, so the message that rings carries it."""
    result = tasks.add.apply_async((1, 2), time_limit=9)
    ledger.ask("UPDATE execution_step SET rung_at = NULL")
    rung = ledger.ask("SELECT * FROM execution_ring_v1(%s, 10)", [[ids.from_celery(result.id)]])
    assert rung[0].canvas["timelimit"] == [9, None]


@pytest.mark.parametrize("given", [0, 5])
def test_broker_priority_counts_as_the_broker_counts(given):
    """On Redis a smaller number goes first, and it does so in the ledger, where a larger one does."""
    result = tasks.add.apply_async((1, 2), priority=given)
    assert Step.objects.get(pk=result.id).priority == -given


# Chains and links


def test_chain_passes_results_on(work):
    """Each step gets the result of the one before, and the last one's id is the chain's."""
    result = chain(tasks.add.s(1, 2), tasks.add.s(3), tasks.add.s(4)).apply_async()
    ids_before = [result.id, result.parent.id, result.parent.parent.id]
    work()
    assert result.get(timeout=1) == 10
    assert set(map(str, Step.objects.values_list("id", flat=True))) == set(ids_before)


def test_next_step_is_opened_with_the_ending_of_the_one_before(hands, monkeypatch):
    """A process that dies right after the commit breaks no chain: the next step is there already."""
    result = chain(tasks.add.s(1, 2), tasks.add.s(3)).apply_async()
    monkeypatch.setattr(performing.errands, "run", lambda _: 0)
    monkeypatch.setattr(performing.doorbell, "ring_for", lambda _: 0)
    monkeypatch.setattr(performing, "_wish", lambda *_: None)
    hands.perform(ids.from_celery(result.parent.id))
    assert Step.objects.get(pk=result.id).state == "ready"


def test_group_in_a_chain_is_owed_until_it_is_sent(hands, work, monkeypatch):
    """What cannot be opened in one statement is an errand of the same transaction; upkeep runs what a crash left."""
    result = chain(tasks.add.s(1, 2), group(tasks.add.s(10), tasks.add.s(20)), tasks.total.s()).apply_async()
    first = Step.objects.get()
    with monkeypatch.context() as crash:
        crash.setattr(performing.errands, "run", lambda _: 0)
        hands.perform(first)
    assert Errand.objects.count() == 1
    work()
    assert result.get(timeout=1) == 36


def test_errand_run_twice_opens_nothing_twice(hands, work, monkeypatch):
    """A crash between sending and forgetting an errand repeats it with the same ids."""
    result = chain(tasks.add.s(1, 2), group(tasks.add.s(10), tasks.add.s(20)), tasks.total.s()).apply_async()
    with monkeypatch.context() as crash:
        crash.setattr(performing.errands, "run", lambda _: 0)
        hands.perform(Step.objects.get())
    owed = Errand.objects.get()
    errands.run([owed.id])
    Errand.objects.create(kind="publish", payload=owed.payload)
    work()
    assert result.get(timeout=1) == 36
    assert len(seen("add")) == 3
    assert len(seen("total")) == 1


def test_link_is_called_with_the_result(work):
    """A link is opened when its task has succeeded, and is its child."""
    result = tasks.add.apply_async((1, 2), link=[tasks.note.s("linked"), tasks.note.si("alone")])
    work()
    assert sorted(seen("note"), key=str) == [("alone",), (3, "linked")]
    assert len(AsyncResult(result.id).children) == 2


def test_plain_task_follows_by_errand(work):
    """A task that is not durable is published, and its id is the one that the chain has."""
    result = chain(tasks.add.s(1, 2), tasks.plain.s()).apply_async()
    work()
    assert not Errand.objects.exists()
    assert [child.id for child in AsyncResult(result.parent.id).children] == [result.id]


def test_failed_chain_fails_what_will_never_start(work):
    """Whoever waits for the end of a chain learns that its first step failed, from the id alone."""
    result = chain(tasks.broken.s(), tasks.add.s(1), tasks.add.s(2)).apply_async()
    work()
    with pytest.raises(tasks.BrokenError) as caught:
        AsyncResult(result.id).get(timeout=1)
    assert caught.value.args == ("it broke", 7)
    assert seen("add") == []


def test_error_links_of_both_kinds_are_called(work):
    """An error link gets the id of the failed task, or the request, the error and the traceback."""
    result = tasks.broken.apply_async(link_error=[tasks.note_id.s(), tasks.note_error.s()])
    work()
    assert seen("error") == [(result.id, repr(tasks.BrokenError("it broke", 7)))]
    assert seen("note") == [(result.id,)]


def test_cancelled_run_calls_its_error_links(work):
    """A run that is cancelled before it starts fails what would have followed."""
    result = chain(tasks.add.s(1), tasks.add.s(2)).apply_async()
    AsyncResult(result.parent.id).revoke()
    tasks.add.AsyncResult(result.parent.id).revoke()
    work()
    with pytest.raises(TaskRevokedError):
        AsyncResult(result.id).get(timeout=1)


# Groups and chords


def test_group_keeps_order_and_shares_its_id(work):
    """Members know their group, and the results come in the order of the members."""
    result = group(tasks.shown.s(), tasks.add.s(1, 1)).apply_async()
    work()
    told, two = result.get(timeout=1)
    assert (told["group"], two) == (result.id, 2)


def test_chord_body_gets_the_results_in_order(work):
    """The header is counted in the ledger; whoever ends last, the order is the header's."""
    result = chord([tasks.add.s(number, 0) for number in range(6)], tasks.same.s()).apply_async()
    Step.objects.update(state="waiting")
    for step in Step.objects.order_by("-id"):
        Step.objects.filter(pk=step.pk).update(state="ready")
        work()
    assert result.get(timeout=1) == list(range(6))
    assert Chord.objects.get().fired_at


def test_nested_groups_keep_their_shape(work):
    """A header of groups hands groups of results to its body."""
    inner = tasks.add.s(1, 1) | group(tasks.add.s(1), tasks.add.s(2))
    result = chord([inner, tasks.add.s(5, 5)], tasks.same.s()).apply_async()
    work()
    assert result.get(timeout=1) == [[3, 4], 10]


def test_failed_part_fails_the_body(work):
    """A chord fails with its part's error, and its error links are called."""
    body = tasks.total.s().on_error(tasks.note.si("failed"))
    result = chord([tasks.add.s(1, 1), tasks.broken.s()], body).apply_async()
    work()
    with pytest.raises(ChordError, match="BrokenError"):
        AsyncResult(result.id).get(timeout=1)
    assert seen("note") == [("failed",)]
    assert seen("total") == []


def test_revoked_part_fails_the_body(work):
    """A part that is cancelled will never come: the body does not wait for it."""
    result = chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], tasks.total.s()).apply_async()
    result.parent.results[0].revoke()
    work()
    with pytest.raises(ChordError):
        AsyncResult(result.id).get(timeout=1)


def test_plain_parts_count_in_the_ledger(work):
    """A header may mix durable and plain tasks: the plain ones report to the ledger."""
    result = chord([tasks.add.s(1, 1), tasks.plain.s(5)], tasks.total.s()).apply_async()
    work()
    waiting = Chord.objects.get()
    part = result.parent.results[1]
    request = Request(id=part.id, group=waiting.group_id, group_index=1, chord={"celeriac": 1}, task="canvas.plain")
    current_app.backend.mark_as_done(part.id, 35, request)
    work()
    assert result.get(timeout=1) == 37


def test_chord_of_plain_tasks_is_left_to_the_projects_backend():
    """The ledger counts only what has a durable part."""
    chord([tasks.plain.s(1), tasks.plain.s(2)], tasks.plain.s()).apply_async()
    assert not Chord.objects.exists()


def test_part_added_by_a_part_is_waited_for(work):
    """`add_to_chord` makes the body wait for one part more."""
    result = chord([tasks.joined.s(), tasks.add.s(2, 2)], tasks.total.s()).apply_async()
    work()
    assert result.get(timeout=1) == 25


# Replaced, retried, ignored, rejected


@pytest.mark.parametrize(("kind", "expected"), [("task", 3), ("chain", 6)])
def test_replaced_task_keeps_its_id(work, kind, expected):
    """Whoever holds the id of a replaced task gets the replacement's result."""
    result = chain(tasks.replaced.s(kind), tasks.add.s(100)).apply_async()
    work()
    assert AsyncResult(result.parent.id).get(timeout=1) in (expected, expected + 100)
    assert result.get(timeout=1) == expected + 100


def test_task_replaced_by_a_plain_one_ends_with_it(work):
    """A plain replacement stores its result under the durable id, and the ledger takes it."""
    result = tasks.replaced.delay("plain")
    work()
    assert result.state == "WAITING"
    request = Request(id=result.id, task="canvas.plain", replaced_task_nesting=1)
    current_app.backend.mark_as_done(result.id, 42, request)
    assert result.get(timeout=1) == 42


def test_retry_takes_new_arguments_and_options(work):
    """The step is tried again with what `retry` was given, under its own id, and counts its tries."""
    result = tasks.stubborn.apply_async((1,), {"until": 2, "priority": 4}, headers={"tenant": "a"})
    work()
    assert result.get(timeout=1) == 3
    assert Run.objects.count() == 1
    step = Step.objects.get()
    assert (step.retry_count, step.canvas["priority"]) == (2, 4)


def test_retry_gives_up_after_its_limit(work):
    """More tries than allowed end in Celery's own error."""
    result = tasks.stubborn.delay(1, until=9)
    work()
    with pytest.raises(MaxRetriesExceededError):
        result.get(timeout=1)


def test_retry_that_does_not_raise_is_kept(work):
    """`retry(throw=False)` sends the task again even though it returns."""
    result = tasks.quiet.delay()
    work()
    assert result.get(timeout=1) == 1


def test_ignored_task_leads_to_nothing(work):
    """After Ignore no link is called, and the state stays what the task has made it."""
    result = tasks.ignored.apply_async(("CUSTOM",), link=tasks.note.s())
    work()
    assert (result.state, result.info) == ("CUSTOM", {"why": "asked"})
    assert seen("note") == []


def test_rejected_task_fails_or_comes_again(work):
    """Reject without requeue is a failure; with it the step is performed again, and knows it."""
    lost, again = tasks.rejected.delay(False), tasks.rejected.delay(True)
    work()
    with pytest.raises(Reject):
        lost.get(timeout=1)
    assert again.get(timeout=1) == "again"


# Children, parents, adoption


def test_children_and_parents_know_each_other(work):
    """What a task calls is its child, and knows its parent and root."""
    result = tasks.parent.delay()
    work()
    assert [child.id for child in AsyncResult(result.id).children] == result.get(timeout=1)
    child = Step.objects.exclude(pk=result.id).first()
    assert (child.canvas["parent_id"], child.canvas["root_id"]) == (result.id, result.id)


def test_message_without_a_row_is_adopted_with_its_canvas(hands, work):
    """A producer without Django sends a message; the worker opens its run, and what follows."""
    message = {
        "id": "foreign-1",
        "task": "canvas.add",
        "callbacks": [dict(tasks.note.s("linked"))],
        "chain": [dict(tasks.same.s().set(task_id="foreign-2"))],
        "root_id": "foreign-0",
        "delivery_info": {"priority": 2, "routing_key": "default"},
        "timelimit": [None, None],
    }
    performing.answer(tasks.add._get_current_object(), "foreign-1", (1, 2), {}, message)
    work()
    assert AsyncResult("foreign-1").get(timeout=1) == 3
    assert AsyncResult("foreign-2").get(timeout=1) == 3
    assert seen("note") == [(3, "linked")]
    assert Step.objects.get(pk=ids.from_celery("foreign-1")).canvas["root_id"] == "foreign-0"


def test_adopted_message_with_an_eta_becomes_a_timer(hands):
    """A delay that a worker would have kept in its memory is stored."""
    eta = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    performing.answer(tasks.add._get_current_object(), "foreign-1", (1, 2), {}, {"id": "foreign-1", "eta": eta})
    assert Step.objects.get().state == "waiting"
    assert seen("add") == []


# Eager


def test_apply_performs_here_with_a_context_in_memory():
    """`apply` needs no ledger: a chain, retries, replacements and the context work in this process."""
    assert chain(tasks.recording.s("celery"), tasks.add.s(1)).apply().get() == 7
    assert tasks.stubborn.apply((1,)).get() == 2
    assert tasks.replaced.apply(("task",)).get() == 3
    assert Run.objects.count() == 0


def test_link_of_an_applied_task_is_sent():
    """As with Celery, what is linked to a task that is applied here is sent, and so is in the ledger."""
    tasks.add.apply((1, 2), link=tasks.note.s())
    assert Step.objects.get().skill == "canvas.note"


def test_eager_setting_performs_at_once(settings):
    """With `task_always_eager` nothing is stored."""
    app = tasks.add.app
    app.conf.task_always_eager = True
    try:
        result = tasks.add.apply_async((1, 2), link=tasks.note.s())
        assert chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], tasks.total.s()).apply_async().get() == 6
    finally:
        app.conf.task_always_eager = False
    assert result.get() == 3
    assert seen("note") == [(3,)]
    assert Run.objects.count() == 0


# With a real worker


@pytest.fixture
def worker(workers):
    """Start a real worker that knows these tasks."""
    return workers(skills="tests.canvas_skills")


def test_time_limits_hold_in_a_real_worker(worker, eventually):
    """Celery's pool enforces both limits; the step fails with Celery's error, once, and its links are called."""
    soft, hard = tasks.soft.delay(), tasks.slow.apply_async((30,), time_limit=1, link_error=tasks.add.si(1, 1))
    assert soft.get(timeout=20) == "tidied"
    with pytest.raises(TimeLimitExceeded):
        hard.get(timeout=20)
    step = Step.objects.get(pk=hard.id)
    assert (step.state, step.epoch) == ("failed", 1)
    eventually(lambda: Step.objects.filter(skill="canvas.add", state="completed").exists())


def test_foreign_messages_are_performed_by_a_real_worker(worker):
    """A message from `send_task`, also one with an eta, becomes a run; a mixed chord of durable and plain tasks ends."""
    app = current_app._get_current_object()
    sent = app.send_task("canvas.add", (1, 2))
    later = app.send_task("canvas.add", (3, 4), countdown=1)
    mixed = chord([tasks.add.s(1, 1), tasks.plain.s(5), tasks.add.s(2, 2)], tasks.same.s()).apply_async()
    through = chain(tasks.plain.s(2), tasks.add.s(1), tasks.plain.s()).apply_async()
    assert sent.get(timeout=20) == 3
    assert later.get(timeout=20) == 7
    assert mixed.get(timeout=20) == [2, 35, 4]
    assert through.get(timeout=20) == 105
    assert Step.objects.filter(pk__in=[sent.id, later.id]).count() == 2


def test_chain_goes_on_after_its_worker_is_killed(grown_server, workers, eventually):
    """A chain with a group inside ends although the worker that performs it is killed on the way."""
    first = workers(skills="tests.canvas_skills")
    result = chain(
        tasks.add.s(1, 2), tasks.add.s(3), group(tasks.add.s(number) for number in range(4)), tasks.total.s(),
        tasks.slow.si(0.5), tasks.same.si("end"),
    ).apply_async()  # fmt: skip
    eventually(lambda: Step.objects.filter(state="completed").exists())
    first.kill()
    workers(skills="tests.canvas_skills")
    assert result.get(timeout=60) == "end"
    assert Step.objects.filter(skill="canvas.total").count() == 1
    assert not Step.objects.exclude(state="completed").exists()
