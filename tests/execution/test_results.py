"""Results: what `AsyncResult` says of a durable task is what the ledger says; other results stay where they were."""

from __future__ import annotations

import pickle
import time
from datetime import timedelta

import pytest
from celery import current_app, exceptions, group
from celery.app.task import Context as Request
from celery.exceptions import TaskRevokedError, TimeLimitExceeded
from celery.result import AsyncResult, GroupResult, ResultSet
from django.db import transaction
from django.utils import timezone

from execution import ids, performing, results, runs
from execution.exceptions import NotCommitted
from execution.models import Run, Step
from tests import canvas_skills as tasks
from tests.patience import within

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:Call to deprecated setex"),  # Celery's own Redis backend
]


@pytest.fixture
def perform(hands):
    """Perform the step of a result."""
    hands._board.keep()
    return lambda result: hands.perform(ids.from_celery(result.id))


def set_step(result, **changes):
    """Put a step into a state by hand."""
    Step.objects.filter(pk=ids.from_celery(result.id)).update(**changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "PENDING"),
        ({"state": "waiting", "waiting": "timer"}, "PENDING"),
        ({"state": "waiting", "waiting": "signal", "started_at": timezone.now()}, "WAITING"),
        ({"state": "waiting", "waiting": "retry", "retry_count": 1, "error": {"type": "ValueError"}}, "RETRY"),
        ({"state": "parked", "waiting": "budget"}, "PARKED"),
        ({"state": "running", "worker_id": ids.new(), "lease_until": timezone.now()}, "STARTED"),
        ({"state": "completed", "output": b"j3"}, "SUCCESS"),
        ({"state": "failed", "error": {"type": "ValueError", "module": "builtins", "args": []}}, "FAILURE"),
        ({"state": "cancelled"}, "REVOKED"),
    ],
)
def test_state_is_said_in_celerys_words(changes, expected):
    """Each state of a step has its word; waiting and parked are not ready."""
    result = tasks.add.delay(1, 2)
    set_step(result, **changes)
    found = AsyncResult(result.id)
    assert found.state == expected
    assert found.ready() == (expected in ("SUCCESS", "FAILURE", "REVOKED"))


def test_result_is_the_ledgers_without_any_other_backend(perform):
    """Nothing of a durable task is stored in the project's own backend."""
    result = tasks.add.delay(1, 2)
    perform(result)
    assert AsyncResult(result.id).get(timeout=1) == 3
    backend = current_app.backend
    assert backend.client.get(backend.get_key_for_task(result.id)) is None


@within(0.02, busy=0.25)  # half of the time after which celery would look again
def test_finished_result_is_there_at_once(perform, bound):
    """Getting what has ended takes milliseconds."""
    found = [tasks.add.delay(1, 2) for _ in range(20)]
    for result in found:
        perform(result)
    began = time.perf_counter()
    assert [AsyncResult(result.id).get(timeout=1) for result in found] == [3] * 20
    assert (time.perf_counter() - began) / 20 < bound


def test_error_is_raised_by_its_type(perform):
    """The exception has its class and its arguments again, and the traceback of the worker."""
    result = tasks.broken.delay()
    perform(result)
    with pytest.raises(tasks.BrokenError) as caught:
        result.get(timeout=1)
    assert caught.value.args == ("it broke", 7)
    assert "canvas_skills.py" in result.traceback
    assert isinstance(result.get(propagate=False), tasks.BrokenError)


def test_result_inside_the_opening_transaction_is_refused():
    """Waiting for what no worker can see yet is an error at once, and not a deadlock."""
    with transaction.atomic():
        result = tasks.add.delay(1, 2)
        with pytest.raises(NotCommitted, match="before the commit"):
            result.get(timeout=30)
        with transaction.atomic(), pytest.raises(NotCommitted):
            ResultSet([result]).get(timeout=30)


def test_committed_result_may_be_waited_for_inside_a_transaction(perform):
    """An open transaction is no obstacle to waiting for what was committed before it."""
    result = tasks.add.delay(1, 2)
    perform(result)
    with transaction.atomic():
        assert AsyncResult(result.id).get(timeout=1) == 3


def test_timeout_is_celerys_own():
    """A result that does not come in time raises what Celery's callers catch."""
    with pytest.raises(exceptions.TimeoutError):
        tasks.add.delay(1, 2).get(timeout=0.05)


def test_own_states_are_shown_while_it_is_performed(perform):
    """`update_state` works for progress bars, and ends with the attempt."""
    result = tasks.telling.delay()
    perform(result)
    assert result.get(timeout=1) == ["PROGRESS", {"done": 3}]
    assert AsyncResult(result.id).state == "SUCCESS"


def test_plain_results_stay_in_the_projects_backend():
    """What is not durable is stored and read where it always was."""
    backend = current_app.backend
    backend.mark_as_done("plain-1", 5, Request(id="plain-1", task="canvas.plain"))
    assert backend.client.get(backend.get_key_for_task("plain-1")) is not None
    assert AsyncResult("plain-1").get(timeout=1) == 5
    AsyncResult("plain-1").forget()
    assert AsyncResult("plain-1").state == "PENDING"


def test_set_of_both_kinds_is_joined(perform):
    """A set may hold durable and plain results; they come in its order."""
    durable = tasks.add.delay(1, 2)
    perform(durable)
    current_app.backend.mark_as_done("plain-2", 5, Request(id="plain-2", task="canvas.plain"))
    both = ResultSet([AsyncResult("plain-2"), AsyncResult(durable.id)])
    assert both.get(timeout=5) == [5, 3]
    assert dict(both.iter_native(timeout=5)).keys() == {"plain-2", durable.id}


def test_group_is_saved_and_restored(perform):
    """A saved group comes back with its members' results."""
    result = group(tasks.add.s(number, 0) for number in range(3)).apply_async()
    result.save()
    for member in result.results:
        perform(member)
    assert GroupResult.restore(result.id).get(timeout=1) == [0, 1, 2]
    result.delete()


def test_result_is_pickled_with_its_backend(perform):
    """A result object may travel between processes."""
    result = tasks.add.delay(1, 2)
    perform(result)
    assert pickle.loads(pickle.dumps(result)).get(timeout=1) == 3  # noqa: S301 - made here


def test_revoked_task_is_cancelled_in_the_ledger():
    """Revoking needs no worker: what has not started never will."""
    result = tasks.add.apply_async((1, 2), countdown=60)
    result.revoke()
    assert Run.objects.get().state == "cancelled"
    with pytest.raises(TaskRevokedError):
        result.get(timeout=1)


def test_revoked_by_a_workers_list_is_cancelled_in_the_ledger():
    """What a worker refuses because it was revoked by id, or by a stamp, is cancelled."""
    result = tasks.add.delay(1, 2)
    current_app.backend.mark_as_revoked(result.id, "revoked", Request(id=result.id, task="canvas.add"))
    assert AsyncResult(result.id).state == "REVOKED"


def test_hard_time_limit_fails_the_step(hands):
    """The worker's main process fails what its pool was performing too long; the child's late write is refused."""
    result = tasks.add.apply_async((1, 2), time_limit=1, link_error=tasks.note.s())
    claim = hands.take(ids.from_celery(result.id))
    Step.objects.update(worker_id=performing.worker_id())
    request = Request(id=result.id, task="canvas.add")
    current_app.backend.mark_as_failure(result.id, TimeLimitExceeded(1), request=request)
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=1)
    from tests.hands import finish

    assert finish(claim).verdict == "already"
    assert Step.objects.get(pk=result.id).state == "failed"


def test_ignored_result_is_not_told(perform):
    """With `ignore_result` a caller gets None at once, and the state stays pending, as with Celery."""
    result = tasks.add.apply_async((1, 2), ignore_result=True)
    assert result.get() is None
    perform(result)
    assert AsyncResult(result.id).state == "PENDING"
    assert runs.result(result.id) == 3


def test_extended_result_has_name_and_arguments(perform, settings):
    """What `result_extended` adds is read from the ledger too."""
    result = tasks.add.apply_async((1,), {"right": 2})
    perform(result)
    found = AsyncResult(result.id)
    assert (found.name, found.args, found.kwargs, found.queue) == ("canvas.add", [1], {"right": 2}, "default")
    assert timezone.now() - found.date_done < timedelta(minutes=1)


def test_backend_has_the_projects_own_class_behind_it():
    """Everything else that the project's backend can do is still there."""
    backend = current_app.backend
    assert isinstance(backend, results.LedgerBackend)
    assert type(backend).__mro__[2].__name__ == "RedisBackend"
    assert backend.supports_native_join
