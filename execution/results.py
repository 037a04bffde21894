"""Results: `AsyncResult` of a durable task is read from the ledger; every other stays with the project's own backend.

The backend of an app with durable tasks is its own backend's class with this one in front: what concerns a durable
id is answered here, all else goes on to the class behind. WAITING and PARKED are states of their own and not ready.
What a worker's tracer would store of a durable task is not stored, because the ledger has it already.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from celery import exceptions, states
from celery._state import _get_active_apps
from celery.app.backends import by_url
from celery.backends import base
from celery.exceptions import TaskRevokedError, TimeLimitExceeded
from celery.result import AsyncResult, ResultSet
from celery.utils.serialization import UnpickleableExceptionWrapper
from django.db import connection, transaction
from psycopg.types.json import Jsonb

from execution import chords, ids, ledger, signatures, values
from execution.exceptions import NotCommitted, RunEnded

if TYPE_CHECKING:
    from celery import Celery

PATH = "execution.results:LedgerBackend"
WAITING, PARKED = "WAITING", "PARKED"
_ENDED = frozenset({"completed", "failed", "cancelled", "skipped"})
_SHORTEST_PAUSE, _LONGEST_PAUSE, _TELLING_PERIOD = 0.002, 0.1, 0.1
_local = threading.local()


def install(app: Celery) -> None:
    """Put the ledger in front of an app's own result backend, whatever was built before."""
    if app.backend_cls == PATH:
        return
    _behind[app] = app.backend_cls
    app.backend_cls = PATH
    app.__dict__.update(_backend_cache=None, _local=threading.local())


def install_everywhere() -> None:
    """Do so for every app there is: one whose tasks nobody has used yet may be asked for a result."""
    for app in _get_active_apps():
        install(app)


_behind: WeakKeyDictionary[Celery, Any] = WeakKeyDictionary()
_mixed: dict[type, type] = {}


def _behind_of(app: Celery) -> tuple[type, str | None]:
    """Return the class and the address of the project's own backend."""
    found: Any = by_url(_behind.get(app) or app.conf.result_backend, app.loader)
    return found[0], found[1]


def _mixed_with(own: type) -> type:
    if own not in _mixed:
        _mixed[own] = type("LedgerBackend", (LedgerBackend, own), {})
    return _mixed[own]


class LedgerResult(AsyncResult[Any]):
    """The result of a task that is known to be durable."""

    is_durable = True

    def revoke(self, *arguments: Any, **options: Any) -> None:
        """Cancel the run in the ledger, and tell the workers, as Celery does."""
        cancel(self.id, reason="revoked")
        super().revoke(*arguments, **options)


_Backend: Any = base.Backend


class LedgerBackend(_Backend):
    """The ledger in front of the project's own backend."""

    def __new__(cls, app: Celery, **_: Any) -> Any:
        """Make a backend whose class has the project's own backend's class behind this one."""
        return object.__new__(_mixed_with(_behind_of(app)[0]))

    def __init__(self, app: Celery, url: str | None = None, **options: Any) -> None:
        """Begin as the project's own backend would."""
        super().__init__(app=app, url=_behind_of(app)[1], **options)

    def __reduce__(self, args: Any = (), kwargs: Any = None) -> Any:
        """Be made again from the app."""
        return base.unpickle_backend, (LedgerBackend, (), {})

    # Which are ours

    def _holds(self, result: Any) -> bool:
        """Tell whether a result is the ledger's: it says so itself, or its id is a step's."""
        if getattr(result, "is_durable", False):
            return True
        return exists(result.id if isinstance(result, AsyncResult) else str(result))

    def _performs(self, request: Any) -> bool:
        return request is not None and signatures.skill_named(getattr(request, "task", None), self.app) is not None

    # Reading

    def _get_task_meta_for(self, task_id: str) -> Any:
        meta = None if getattr(_local, "stores", False) else self._ledger_meta(task_id)
        if meta is not None:
            return meta
        if isinstance(self, base.DisabledBackend):
            return {"status": states.PENDING, "result": None, "task_id": task_id}
        return super()._get_task_meta_for(task_id)

    def _ledger_meta(self, task_id: str) -> dict[str, Any] | None:
        rows = _read(_STEP, [ids.from_celery(task_id)])
        return self._meta(task_id, rows[0]) if rows else None

    def _meta(self, task_id: str, row: Any) -> dict[str, Any]:
        canvas = row.canvas or {}
        state, result = self._state_of(row, canvas)
        meta = {
            "task_id": task_id,
            "status": state,
            "result": result,
            "traceback": (row.error or {}).get("traceback") if state in states.EXCEPTION_STATES else None,
            "children": canvas.get("children", []),
            "date_done": row.ended_at.isoformat() if row.ended_at and state in states.READY_STATES else None,
        }
        if canvas.get("group_id"):
            meta["group_id"] = canvas["group_id"]
        if canvas.get("parent_id"):
            meta["parent_id"] = canvas["parent_id"]
        if state in states.READY_STATES and self.app.conf.find_value_for_key("extended", "result"):
            meta |= _extended(row, canvas)
        return meta

    def _state_of(self, row: Any, canvas: dict[str, Any]) -> tuple[str, Any]:
        """Return a step's state in Celery's words, and its result so far."""
        told = _told(row, canvas)
        if row.state in _ENDED and canvas.get("ignore_result") and not self._stores_error(row):
            return states.PENDING, None
        if canvas.get("ignored"):
            return told or (states.IGNORED, None)
        if row.state in _ENDED:
            return self._ended(row)
        if row.state == "running" and told:
            return told
        return self._unready(row)

    def _ended(self, row: Any) -> tuple[str, Any]:
        if row.state == "failed":
            return states.FAILURE, exception_of(self, row.error)
        if row.state == "cancelled":
            return states.REVOKED, TaskRevokedError((row.error or {}).get("message") or row.cancel_reason or "revoked")
        return states.SUCCESS, ledger.unpack(row.output)

    def _unready(self, row: Any) -> tuple[str, Any]:
        if row.state == "parked":
            return PARKED, None
        if row.state == "waiting" and row.waiting not in ("retry", "capacity"):
            has_begun = row.started_at is not None
            return (WAITING if has_begun else states.PENDING), None
        if row.state == "running" and self._tracks_start(row.skill):
            return states.STARTED, None
        if row.retry_count and row.error:
            return states.RETRY, exception_of(self, row.error)
        return states.PENDING, None

    def _tracks_start(self, name: str) -> bool:
        task = self.app.tasks.get(name)
        return bool(self.app.conf.task_track_started if task is None else task.track_started)

    def _stores_error(self, row: Any) -> bool:
        task = self.app.tasks.get(row.skill)
        return row.state == "failed" and bool(getattr(task, "store_errors_even_if_ignored", False))

    def task_result_exists(self, task_id: str) -> bool:
        """Tell whether there is a result, or a step that will have one."""
        return exists(task_id) or super().task_result_exists(task_id)

    # Waiting

    def add_pending_result(self, result: Any, **options: Any) -> Any:
        """Durable results are looked for in the ledger: nothing is subscribed to."""
        if getattr(result, "is_durable", False):
            return result
        return super().add_pending_result(result, **options)

    def remove_pending_result(self, result: Any) -> Any:
        """Undo what was not done."""
        if getattr(result, "is_durable", False):
            return result
        return super().remove_pending_result(result)

    def wait_for_pending(
        self,
        result: Any,
        timeout: float | None = None,
        on_interval: Callable[[], Any] | None = None,
        **options: Any,
    ) -> Any:
        """Wait for a result, in the ledger or in the project's own backend."""
        if not self._holds(result):
            return self._wait_elsewhere(result, timeout, on_interval, options)
        self._ensure_not_eager()
        for _, meta in self._wait_in_ledger([result], timeout, on_interval):
            if on_interval and meta["status"] in states.PROPAGATE_STATES:
                on_interval()  # a parent's error goes before its consequence
            result._maybe_set_cache(meta)
        return result.maybe_throw(propagate=options.get("propagate", True), callback=options.get("callback"))

    def _wait_elsewhere(self, result: Any, timeout: float | None, on_interval: Any, options: Any) -> Any:
        """Wait in slices: an id that is unknown now may still become a step's, when a worker adopts its message."""
        deadline = None if timeout is None else time.monotonic() + timeout
        length = 0.5
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            part = length if left is None else min(length, left)
            try:
                return super().wait_for_pending(result, timeout=part, on_interval=on_interval, **options)
            except exceptions.TimeoutError:
                if left is not None and left <= length:
                    raise
            if exists(result.id):
                super().remove_pending_result(result)
                return self.wait_for_pending(result, left, on_interval, **options)
            length = min(length * 2, 10.0)

    def _wait_in_ledger(
        self, results: list[Any], timeout: float | None, on_interval: Callable[[], Any] | None
    ) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Yield each result with its meta as it becomes ready; looked for often at first, then less."""
        waiting = {result.id: result for result in results}
        read = _committed_reader(list(waiting))
        began, told_at = time.monotonic(), 0.0
        while True:
            yield from self._take_ready(waiting, ended(waiting, read))
            elapsed = time.monotonic() - began
            if waiting and elapsed - told_at >= _TELLING_PERIOD:
                told_at = elapsed
                if on_interval:
                    on_interval()
                yield from self._take_ready(waiting, list(waiting) if elapsed > 1 else [])
            if not waiting:
                return
            if timeout is not None and elapsed >= timeout:
                raise exceptions.TimeoutError("The operation timed out.")
            pause = min(max(elapsed * 0.05, _SHORTEST_PAUSE), _LONGEST_PAUSE)
            time.sleep(pause if timeout is None else min(pause, max(timeout - elapsed, 0.0)))

    def _take_ready(self, waiting: dict[str, Any], task_ids: Iterable[str]) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Take those that are ready: also what will never be opened, where Celery stored its failure elsewhere."""
        for task_id in task_ids:
            meta = self.get_task_meta(task_id, cache=False)
            if meta["status"] in states.READY_STATES:
                yield waiting.pop(task_id), meta

    def iter_native(
        self,
        result: Any,
        timeout: float | None = None,
        on_interval: Callable[[], Any] | None = None,
        **options: Any,
    ) -> Iterator[Any]:
        """Yield the results of a set as they become ready: the ledger's first, then the others."""
        began = time.monotonic()
        ours, nested, others = self._sorted(result.results or [])
        for node, meta in self._wait_in_ledger(ours, timeout, on_interval) if ours else ():
            yield node.id, node._maybe_set_cache(meta)
        for node in nested:
            yield node.id, node.results
        if others:
            left = None if timeout is None else max(0.0, timeout - (time.monotonic() - began))
            rest = ResultSet(others, app=self.app)
            yield from super().iter_native(rest, timeout=left, on_interval=on_interval, **options)

    def _sorted(self, results: Iterable[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """Sort results into the ledger's, nested sets, and others, with one look at the ledger."""
        nodes = list(results)
        nested = [node for node in nodes if isinstance(node, ResultSet)]
        single = [node for node in nodes if not isinstance(node, ResultSet)]
        unsure = [node.id for node in single if not getattr(node, "is_durable", False)]
        known = existing(unsure)
        ours = [node for node in single if getattr(node, "is_durable", False) or node.id in known]
        return ours, nested, [node for node in single if node not in ours]

    def get_many(self, task_ids: Iterable[str], *arguments: Any, **options: Any) -> Iterator[Any]:
        """Yield metas by id, the ledger's first."""
        wanted = set(task_ids)
        ours = existing(wanted)
        for task_id in ours:
            meta = self.get_task_meta(task_id)
            if meta["status"] in states.READY_STATES:
                yield task_id, meta
        if wanted - ours:
            yield from super().get_many(wanted - ours, *arguments, **options)

    # Storing

    def mark_as_done(self, task_id: str, result: Any, request: Any = None, *arguments: Any, **options: Any) -> None:
        """The ledger has a durable task's result already."""
        if not self._performs(request):
            super().mark_as_done(task_id, result, request, *arguments, **options)

    def mark_as_retry(self, task_id: str, exc: Any, traceback: Any = None, request: Any = None, **options: Any) -> Any:
        """The ledger has a durable task's retry already."""
        if self._performs(request):
            return None
        return super().mark_as_retry(task_id, exc, traceback, request, **options)

    def mark_as_failure(
        self, task_id: str, exc: Any, traceback: Any = None, request: Any = None, **options: Any
    ) -> None:
        """The ledger has a durable task's failure already, unless the worker's main process is the one to tell."""
        if not self._performs(request):
            super().mark_as_failure(task_id, exc, traceback, request, **options)
        elif isinstance(exc, TimeLimitExceeded):
            _end_overdue(task_id, exc)

    def mark_as_revoked(self, task_id: str, reason: str = "", request: Any = None, **options: Any) -> None:
        """A revoked durable task is cancelled in the ledger."""
        if exists(task_id):
            cancel(task_id, reason=reason or "revoked")
        else:
            super().mark_as_revoked(task_id, reason, request, **options)

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **options: Any
    ) -> Any:
        """Store what concerns a plain task; of a durable one only what the ledger cannot know itself.

        That is a state of the task's own (`update_state`), the ending of a plain task that replaced a durable one, and
        the failure of what will never be opened.
        """
        if self._performs(request) and state == states.STARTED:
            return result
        name = getattr(request, "task", None) or getattr(_local, "names", {}).get(task_id)
        is_ours = signatures.skill_named(name, self.app) is not None
        is_replacement = bool(request is not None and getattr(request, "replaced_task_nesting", 0))
        if (is_ours or is_replacement or request is None) and self._store_in_ledger(
            task_id, result, state, traceback, name, request
        ):
            return result
        with _storing():
            return super().store_result(task_id, result, state, traceback, request, **options)

    def _store_in_ledger(
        self, task_id: str, result: Any, state: str, traceback: Any, name: str | None, request: Any
    ) -> bool:
        rows = _read("SELECT s.state, s.canvas FROM execution_step s WHERE s.id = %s", [ids.from_celery(task_id)])
        if rows and (rows[0].canvas or {}).get("replaced") and state in states.READY_STATES:
            _conclude(task_id, state, result, traceback)
            return True
        if rows:
            if rows[0].state == "running":
                _tell(task_id, state, self.encode_result(result, state))
            return True
        skill = signatures.skill_named(name, self.app)
        if skill is None or state not in states.PROPAGATE_STATES:
            return False
        _fail_unopened(skill, task_id, result, traceback)
        return True

    def _forget(self, task_id: str) -> None:
        """A durable result is kept as long as its run; any other is forgotten."""
        if not exists(task_id):
            super()._forget(task_id)

    # Chords

    def ensure_chords_allowed(self) -> None:
        """Chords with a durable part need no backend of the project's own; others are refused when they are applied."""

    def apply_chord(self, header_result_args: Any, body: Any, **options: Any) -> Any:
        """Count a chord in the ledger if any part of it is durable."""
        if chords.begin(self.app, *header_result_args, body=body):
            return None
        super().ensure_chords_allowed()
        return super().apply_chord(header_result_args, body, **options)

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Say how many parts a chord has."""
        if not chords.set_size(group_id, chord_size):
            super().set_chord_size(group_id, chord_size)

    def add_to_chord(self, chord_id: str, result: Any) -> Any:
        """Make a chord wait for one part more."""
        if not chords.add_part(chord_id):
            super().add_to_chord(chord_id, result)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **options: Any) -> Any:
        """Count a part that is not durable in the ledger's chord."""
        if not chords.is_counted(request.chord):
            return super().on_chord_part_return(request, state, result, **options)
        is_success = state not in states.PROPAGATE_STATES
        chords.report(request, is_success=is_success, result=result if is_success else _described(result))
        return None


# The ledger's side

_STEP = (
    "SELECT s.id, s.state, s.waiting, s.skill, s.queue, s.retry_count, s.epoch, s.canvas, s.error, s.started_at, "
    "s.ended_at, CASE WHEN s.state = 'completed' THEN s.output END AS output, r.cancel_reason "
    "FROM execution_step s JOIN execution_run r ON r.id = s.run_id WHERE s.id = %s"
)


def _read(sql: Any, parameters: list[Any]) -> list[Any]:
    """Read through Django's connection: what the caller's own transaction has written is seen."""
    return ledger.ask_in_transaction(sql, parameters)


def exists(task_id: str) -> bool:
    """Tell whether the ledger has a step of this id."""
    return bool(_read("SELECT 1 AS one FROM execution_step WHERE id = %s", [ids.from_celery(task_id)]))


def existing(task_ids: Iterable[str], read: Callable[[Any, list[Any]], list[Any]] = _read) -> set[str]:
    """Return those of these ids that the ledger has a step of."""
    wanted = {ids.from_celery(task_id): task_id for task_id in task_ids}
    if not wanted:
        return set()
    return {wanted[row.id] for row in read("SELECT id FROM execution_step WHERE id = ANY(%s)", [list(wanted)])}


def ended(task_ids: Iterable[str], read: Callable[[Any, list[Any]], list[Any]] = _read) -> list[str]:
    """Return those of these ids whose steps have ended."""
    wanted = {ids.from_celery(task_id): task_id for task_id in task_ids}
    rows = read("SELECT s.id, s.state FROM execution_step s WHERE s.id = ANY(%s)", [list(wanted)])
    return [wanted[row.id] for row in rows if row.state in _ENDED]


def _committed_reader(task_ids: list[str]) -> Callable[[Any, list[Any]], list[Any]]:
    """Return how to look for endings; refuse to wait for what only the caller's own open transaction can see."""
    if not connection.in_atomic_block:
        return _read
    uncommitted = existing(task_ids) - existing(task_ids, ledger.ask)
    if uncommitted:
        raise NotCommitted(
            f"the result of task {next(iter(uncommitted))} is waited for inside the transaction that opened it: no "
            "worker can see it before the commit. Leave the atomic block first, or ask in transaction.on_commit"
        )
    return ledger.ask


def _told(row: Any, canvas: dict[str, Any]) -> tuple[str, Any] | None:
    """Return the state that the task itself has set by `update_state`, in its present attempt."""
    told = canvas.get("state")
    if not told or told["epoch"] != row.epoch:
        return None
    return told["name"], signatures.unpacked(told["meta"])


def _tell(task_id: str, state: str, meta: Any) -> None:
    """Keep a state of the task's own while it is performed."""
    ledger.ask(
        "UPDATE execution_step SET canvas = coalesce(canvas, '{}') || jsonb_build_object('state', %s || "
        "jsonb_build_object('epoch', epoch)) WHERE id = %s AND state = 'running'",
        [Jsonb({"name": state, "meta": signatures.packed(meta)}), ids.from_celery(task_id)],
    )


def _extended(row: Any, canvas: dict[str, Any]) -> dict[str, Any]:
    """Return what `result_extended` adds."""
    given = ledger.load_input(row.id) or {}
    found = {
        "name": row.skill,
        "args": given.get("args"),
        "kwargs": given.get("kwargs"),
        "retries": row.retry_count + canvas.get("retries", 0),
        "queue": row.queue,
        "worker": None,
    }
    if canvas.get("stamped_headers"):
        found["stamped_headers"] = canvas["stamped_headers"]
        found |= canvas.get("stamps", {})
    return found


def exception_of(backend: Any, error: dict[str, Any] | None, state: str = "failed") -> Any:
    """Return a stored error as the exception that it was, by module, type and arguments."""
    if state == "cancelled" or error is None or error.get("type") == "cancelled":
        return TaskRevokedError((error or {}).get("message") or "revoked")
    arguments = error.get("args")
    name = error.get("qualname") or error["type"]
    module = error.get("module") or "execution.exceptions"
    described = {"exc_type": name, "exc_module": module, "exc_message": arguments or [error.get("message", "")]}
    if arguments == []:
        described["exc_message"] = []
    found = backend.exception_to_python(described)
    if type(found) is Exception and name != "Exception":
        return UnpickleableExceptionWrapper(module, name, tuple(arguments or ()), error.get("message"))
    return found


def _described(error: Any) -> dict[str, Any]:
    from execution import performing, retries

    return performing.described(error, retries.UNKNOWN)


def cancel(task_id: str, *, reason: str) -> None:
    """Cancel the run of a durable task that has not ended."""
    from execution import runs

    if exists(task_id):
        with contextlib.suppress(RunEnded):
            runs.cancel(task_id, by="celery", reason=reason)


def _end_overdue(task_id: str, error: TimeLimitExceeded) -> None:
    """Fail the step that this worker's pool was performing when Celery's hard time limit ended it."""
    from execution import performing

    rows = _read(
        "SELECT s.id, s.epoch, s.attempt_id FROM execution_step s "
        "WHERE s.id = %s AND s.state = 'running' AND s.worker_id = %s",
        [ids.from_celery(task_id), performing.worker_id()],
    )
    for row in rows:
        _read(
            "SELECT * FROM execution_finish_v1(%s, %s, %s, 'failed', NULL, %s)",
            [row.id, row.epoch, row.attempt_id, Jsonb({"error": _described(error)})],
        )


@transaction.atomic
def _conclude(task_id: str, state: str, result: Any, trace: Any = None) -> None:
    """End a step whose replacement, a task that is not durable, has ended."""
    from execution import canvas, openings

    is_success = state == states.SUCCESS
    packed = values.pack(canvas.prepared(result), place=f"the result of {task_id}") if is_success else None
    if packed is not None:
        openings.keep_blobs([packed])
    error = None if is_success else _described(result) | ({"traceback": str(trace)} if trace else {})
    _read(
        "SELECT execution_conclude_v1(%s, %s, %b, %s)",
        [ids.from_celery(task_id), is_success, packed.data if packed else None, Jsonb(error) if error else None],
    )


@transaction.atomic
def _fail_unopened(skill: Any, task_id: str, error: Any, trace: Any) -> None:
    """Open a step that will never start and fail it at once, so that whoever waits for it learns why."""
    from execution import canvas

    opening = canvas.opening_of(skill, (), {}, task_id=task_id, check=False)
    children = skill.app.current_worker_task.request.children if skill.app.current_worker_task else []
    if children:
        opening.template["canvas"] = {
            **(opening.template["canvas"] or {}),
            "children": [child.as_tuple() for child in children],
        }
    ledger.ask_in_transaction(
        "SELECT 1 FROM execution_open_v1(%s, %s::uuid[], %b::bytea[])",
        [Jsonb(opening.template), [opening.run_id], [opening.pack().data]],
    )
    _conclude(task_id, states.FAILURE, error, trace)


@contextlib.contextmanager
def _storing() -> Iterator[None]:
    """Store what is known not to be the ledger's: backends look at what they have stored before."""
    _local.stores = True
    try:
        yield
    finally:
        _local.stores = False


@contextlib.contextmanager
def naming(body: Any) -> Iterator[None]:
    """Say which task each id inside a signature belongs to, while Celery stores failures by id alone."""
    outer = getattr(_local, "names", {})
    found = {
        leaf["options"]["task_id"]: leaf["task"] for leaf in signatures.leaves(body) if "task_id" in leaf["options"]
    }
    _local.names = {**outer, **found}
    try:
        yield
    finally:
        _local.names = outer
