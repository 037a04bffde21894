"""Runs: start, pause, resume, cancel, retry, fork, signal, result.

Every verb works inside the caller's own transaction: nothing is published before that commits. Locks: session, ancestor
runs, run, agent, key, breaker, steps by id.
"""

from __future__ import annotations

import hashlib
import itertools
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any, Never

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from execution import doorbell, events, ids, ledger, people, values
from execution.durations import Duration, seconds
from execution.exceptions import (
    KeyReused,
    NotCommitted,
    NotPossible,
    OptionInvalid,
    RunCancelled,
    RunEnded,
    RunFailed,
    RunUnknown,
    WaitedTooLong,
)
from execution.models import ENDED, UNFINISHED, Checkpoint, Run, RunState, Step, StepState
from execution.openings import (
    batches,
    check_key,
    open_runs,
    reaching,
    task_of,
    template_of,
    unknown_option,
)

if TYPE_CHECKING:
    from execution.models import Agent, Session
    from execution.skills import SkillTask
    from execution.workflows import Definition
    from execution.workflows.catalog import Stored

OPTIONS = frozenset({
    "agent", "key", "correlation_id", "start_at", "priority", "queue", "tags", "budget", "deadline", "run_id",
    "session",
})  # fmt: skip
_BULK_OPTIONS = OPTIONS - {"key", "run_id"}
_WITH_PARENT = "parent"  # why a run is paused that its parent has taken along


def key_of(*parts: Any) -> str:
    """Return a deterministic idempotency key made of these parts."""
    return hashlib.sha256(values.encode(list(parts), place="the parts of a key")).hexdigest()[:40]


def start(
    skill: SkillTask | Stored | Definition | str,
    input: Mapping[str, Any] | None = None,  # noqa: A002 - the word everybody uses
    *,
    args: Sequence[Any] = (),
    agent: str | Agent | None = None,
    key: str | None = None,
    correlation_id: str = "",
    start_at: datetime | None = None,
    priority: int | None = None,
    queue: str | None = None,
    tags: Iterable[str] = (),
    budget: Any = None,
    deadline: datetime | Duration | None = None,
    session: Session | uuid.UUID | str | None = None,
    run_id: uuid.UUID | None = None,
    canvas: dict[str, Any] | None = None,
    **unknown: Never,
) -> Run:
    """Open a run of a skill or a workflow, once per idempotency key, and ring for it after the caller's commit.

    A second start with the same key returns the first run with `created` false; with another input it raises KeyReused.
    """
    for name in unknown:
        raise unknown_option(name, OPTIONS, "runs.start")
    if run_id is not None and not isinstance(run_id, uuid.UUID):
        raise OptionInvalid(f"run_id is {run_id!r:.80}; it is a UUID, as execution.ids.new() makes them")
    task = task_of(skill)
    given = task.bind_input(tuple(args), {} if input is None else input)
    wanted = check_key(key)
    with reaching(f"open a run of {task.name!r}"), nullcontext() if session is None else transaction.atomic():
        template = template_of(
            task,
            agent=agent,
            correlation_id=correlation_id,
            start_at=start_at,
            priority=priority,
            queue=queue,
            tags=tags,
            budget=budget,
            deadline=deadline,
            session=session,
            canvas=canvas,
        )
        row = open_runs(task, template, [(run_id or ids.new(), given, wanted)])[0]
        _refuse_other_input(row, task, given, wanted)
        return _run_of(row, template, wanted)


def start_many(
    skill: SkillTask | Stored | Definition | str,
    inputs: Iterable[Mapping[str, Any]],
    *,
    keys: Iterable[str | None] | None = None,
    **options: Any,
) -> list[uuid.UUID]:
    """Open a run for each input, all or none, a thousand a statement; returns the runs' ids in order.

    A window of them is rung for at once, the feeder rings for the rest.
    """
    task = task_of(skill)
    for name in set(options) - _BULK_OPTIONS:
        raise unknown_option(name, _BULK_OPTIONS | {"keys"}, "start_many")
    found: list[uuid.UUID] = []
    with reaching(f"open runs of {task.name!r}"), transaction.atomic():
        template = template_of(task, **options)
        for batch in batches(
            (ids.new(), task.bind_input((), given), check_key(key)) for given, key in _with_keys(inputs, keys)
        ):
            rows = open_runs(task, template, batch, ring=not found)
            for row, (_, given, key) in zip(rows, batch, strict=True):
                _refuse_other_input(row, task, given, key)
            found += [row.run_id for row in rows]
    return found


def _with_keys(
    inputs: Iterable[Mapping[str, Any]], keys: Iterable[str | None] | None
) -> Iterable[tuple[Mapping[str, Any], str | None]]:
    """Return each input with its key; fewer or more keys than inputs are refused."""
    if keys is None:
        yield from zip(inputs, itertools.repeat(None), strict=False)
        return
    try:
        yield from zip(inputs, keys, strict=True)
    except ValueError:
        raise OptionInvalid("start_many wants as many keys as inputs; None stands for no key") from None


def _refuse_other_input(row: Any, task: SkillTask | Stored, given: Any, key: str | None) -> None:
    """Refuse a key that was used before with another input, and an id that belongs to a run of something else."""
    if row.is_new:
        return
    if key is None:
        known = Run.objects.filter(pk=row.run_id).values_list("workflow", flat=True).first()
        if known != task.name:
            raise NotPossible(
                f"the id {row.run_id} belongs to a run of {known!r}: a run of {task.name!r} needs another"
            )
        return
    if row.run_id is None:
        raise NotPossible(f"the key {key!r} is being opened by another transaction that has not committed; try again")
    if row.digest is not None and bytes(row.digest) != values.digest(given, place=f"the input of {task.name!r}"):
        raise KeyReused(key, row.run_id)


def _run_of(row: Any, template: dict[str, Any], key: str | None) -> Run:
    """Return the run of an opening; what of a new one is not known here is read when somebody looks at it."""
    if not row.is_new:
        run = Run.objects.get(pk=row.run_id)
        run.created = False
        return run
    known = {
        "id": row.run_id,
        "workflow": template["workflow"],
        "version": template["version"],
        "agent_id": uuid.UUID(template["agent_id"]),
        "key": key,
        "correlation_id": template["correlation_id"],
        "priority": template["priority"],
        "state": RunState.PENDING,
    }
    fields = Run._meta.concrete_fields  # noqa: SLF001 - Django's documented name
    names = [field.attname for field in fields if field.attname in known]
    return Run.from_db("default", names, [known[name] for name in names])


# What an operator or a program does to a run


def get(run: Run | uuid.UUID | str) -> Run:
    """Return a run by its id, or by the id of one of its steps."""
    if isinstance(run, Run):
        return run
    wanted = ids.from_celery(str(run))
    found = Run.objects.filter(pk=wanted).first() or Run.objects.filter(steps__id=wanted).first()
    if found is None:
        raise RunUnknown(f"there is no run {run}; `manage.py runs` lists them")
    return found


def hold(run: Run | uuid.UUID | str) -> Run:
    """Lock a run alone, in the caller's transaction, and read it afresh."""
    run_id = get(run).id
    ledger.ask_in_transaction("SELECT execution_hold_run_v1(%s)", [run_id])
    return Run.objects.select_for_update(no_key=True).get(pk=run_id)


def _check_session(run: Run, wish: str) -> None:
    """Refuse what an expired session would undo at its next look."""
    from execution import sessions

    if run.session_id is not None:
        sessions.check_open(run.session_id, wish)


def note(kind: str, run: Run, data: dict[str, Any] | None = None, step_id: uuid.UUID | None = None) -> None:
    """Write one event about a run, in the caller's transaction."""
    events.note(kind, data or {}, run_id=run.id, step_id=step_id, agent_id=run.agent_id)


def _update_steps(run: Run, which: Q, **changes: Any) -> list[uuid.UUID]:
    """Change some of a run's steps, locked by id; returns those changed."""
    found = list(
        Step.objects.select_for_update(no_key=True)
        .filter(which, run_id=run.id)
        .order_by("id")
        .values_list("id", flat=True)
    )
    if found:
        Step.objects.filter(pk__in=found).update(**changes)
    return found


def _ready(now: datetime) -> dict[str, Any]:
    """Return what makes a step ready to be claimed again."""
    return {
        "state": StepState.READY,
        "waiting": "capacity",
        "ended_at": None,
        "rung_at": None,
        "ring_count": 0,
        "changed_at": now,
    }


def _ring_after_commit(step_ids: list[uuid.UUID]) -> None:
    if step_ids:
        transaction.on_commit(lambda: doorbell.ring_for(step_ids), robust=True)


@transaction.atomic
def pause(run: Run | uuid.UUID | str, *, by: str = "", reason: str = "", waiting: str = "paused") -> Run:
    """Pause a run and its children: nothing new starts, and what is performed suspends at its next context call."""
    held = hold(run)
    if held.state not in (RunState.PENDING, RunState.RUNNING, RunState.PARKED):
        raise RunEnded(held.id, held.state, "be paused")
    _pause(held, {"by": by, "reason": reason}, waiting)
    return _fresh(held)


def _pause(held: Run, told: dict[str, Any], waiting: str = "paused") -> None:
    Run.objects.filter(pk=held.id).update(state=RunState.PAUSED, waiting=waiting)
    _update_steps(held, Q(state=StepState.RUNNING, control=""), control="pause")
    _update_steps(
        held,
        Q(state=StepState.READY),
        state=StepState.WAITING,
        waiting="paused",
        rung_at=None,
        changed_at=timezone.now(),
    )
    note("run.paused", held, told)
    active = (RunState.PENDING, RunState.RUNNING)
    for child in map(hold, _children(held, state__in=active)):
        if child.state in active:
            _pause(child, told | {"reason": told["reason"] or "its parent was paused"}, waiting=_WITH_PARENT)


def _children(run: Run, **which: Any) -> QuerySet[Run]:
    """Return the runs that a run's steps have opened."""
    steps = Step.objects.filter(run_id=run.id).values("id")
    return Run.objects.filter(parent_step_id__in=steps, **which).order_by("id")


@transaction.atomic
def resume(run: Run | uuid.UUID | str, *, by: str = "", reason: str = "") -> Run:
    """Let a paused or parked run go on, and the children that were paused with it."""
    held = hold(run)
    if held.state not in (RunState.PAUSED, RunState.PARKED):
        raise NotPossible(f"run {held.id} is {held.state}: only a paused or parked run can be resumed")
    _check_session(held, "let a run go on")
    has_begun = held.started_at is not None
    Run.objects.filter(pk=held.id).update(state=RunState.RUNNING if has_begun else RunState.PENDING, waiting="")
    _update_steps(held, Q(state=StepState.RUNNING, control="pause"), control="")
    ready = _update_steps(
        held, Q(state=StepState.PARKED) | Q(state=StepState.WAITING, waiting="paused"), **_ready(timezone.now())
    )
    note("run.resumed", held, {"by": by, "reason": reason})
    for child in _children(held, state=RunState.PAUSED, waiting=_WITH_PARENT):
        resume(child, by=by, reason=reason or "its parent was resumed")
    _ring_after_commit(ready)
    return _fresh(held)


@transaction.atomic
def approve(run: Run | uuid.UUID | str, gate: str | None = None, *, by: str, reason: str = "") -> Run:
    """Approve at a gate; without a gate, let parked steps start although they are above their agent's level."""
    from execution.workflows import gates

    held = hold(run)
    if gate is not None or held.state != RunState.PARKED:
        return gates.decide(held, gate, approved=True, by=by, reason=reason)
    people.refuse_agents(by)
    approved = _update_steps(held, Q(state=StepState.PARKED, waiting="autonomy"), is_approved=True)
    if not approved:
        raise NotPossible(f"run {held.id} has no step that waits for an approval")
    note("run.approved", held, {"by": by, "reason": reason})
    return resume(held, by=by, reason=reason)


@transaction.atomic
def withdraw_approval(run: Run | uuid.UUID | str, *, by: str, reason: str = "") -> Run:
    """Park again what was let start above its agent's level, as long as no worker has begun with it."""
    held = hold(run)
    unbegun = Q(state=StepState.READY, is_approved=True)
    now = timezone.now()
    parked = _update_steps(
        held, unbegun, state=StepState.PARKED, waiting="autonomy", is_approved=False, rung_at=None, ring_count=0,
        changed_at=now,
    )  # fmt: skip
    if not parked:
        raise NotPossible(
            f"run {held.id} is {held.state}, and no approved step of it is left that has not begun: pause or cancel it"
        )
    Run.objects.filter(pk=held.id, state__in=[RunState.PENDING, RunState.RUNNING]).update(
        state=RunState.PARKED, waiting="autonomy"
    )
    note("run.approval_withdrawn", held, {"by": by, "reason": reason})
    return _fresh(held)


def refuse(run: Run | uuid.UUID | str, gate: str | None = None, *, by: str, reason: str = "") -> Run:
    """Refuse at a gate: its step fails, and the run goes on as the gate's `on_failure` says."""
    from execution.workflows import gates

    return gates.decide(run, gate, approved=False, by=by, reason=reason)


@transaction.atomic
def cancel(run: Run | uuid.UUID | str, *, by: str = "", reason: str = "") -> Run:
    """Cancel a run and its children: what waits at once, what is performed at its next context call.

    A skill that makes no context call is ended hard after `CELERIAC["cancel_grace_seconds"]`.
    """
    held = hold(run)
    if held.state in ENDED:
        raise RunEnded(held.id, held.state, "be cancelled")
    Run.objects.filter(pk=held.id).update(cancel_requested_at=timezone.now(), cancel_reason=reason)
    note("run.cancel_requested", held, {"by": by, "reason": reason})
    running = ledger.ask_in_transaction("SELECT execution_stop_steps_v1(%s) AS n", [held.id])[0].n
    if running == 0:
        ledger.ask_in_transaction("SELECT execution_end_run_v1(%s, 'cancelled', NULL)", [held.id])
    for child in _children(held).exclude(state__in=ENDED):
        cancel(child, by=by, reason=reason or "its parent was cancelled")
    return _fresh(held)


@transaction.atomic
def retry(
    run: Run | uuid.UUID | str,
    *,
    by: str = "",
    reason: str = "",
    after: Duration | None = None,
    fallback: SkillTask | str | None = None,
) -> Run:
    """Go on with a failed run from its failed step; everything recorded is kept.

    With `after` the step waits for a stored timer first. With `fallback` that skill takes over if it fails again.
    """
    from execution import budgets

    held = budgets.reopen(run)
    if held.state != RunState.FAILED:
        raise NotPossible(f"run {held.id} is {held.state}: only a failed run can be retried")
    _check_session(held, "let a run be retried")
    now = timezone.now()
    expired = held.deadline_at is not None and held.deadline_at <= now
    Run.objects.filter(pk=held.id).update(
        state=RunState.RUNNING,
        waiting="",
        ended_at=None,
        error=None,
        cancel_requested_at=None,
        **({"deadline_at": None} if expired else {}),
    )
    halting = Q(state=StepState.FAILED) & (~Q(options__has_key="on_failure") | Q(id=held.id))
    _ask_gates_again(held, halting)
    if fallback is not None:
        _give_fallback(held, halting, fallback)
    again = _update_steps(held, halting, retry_count=0, crash_count=0, is_suspect=False, **_ready(now))
    failed = list(again)
    # Children that ended while this run had failed could tell it nothing: who waits for some looks again.
    halted = Q(state=StepState.WAITING, waiting__in=["paused", "children"])
    again += _update_steps(held, halted | Q(state=StepState.CANCELLED) if expired else halted, **_ready(now))
    note("run.retried", held, {"by": by, "reason": reason})
    for child in _children(held, state=RunState.FAILED).filter(parent_step_id__in=again):
        retry(child, by=by, reason=reason or "its parent was retried")
    if after is not None:
        _wait_first(failed, seconds(after, name="after"))
        again = [step_id for step_id in again if step_id not in failed]
    # A step that ended well after its run had failed leaves nothing to do.
    if not Step.objects.filter(run_id=held.id, state__in=UNFINISHED).exists():
        ledger.ask_in_transaction("SELECT execution_close_run_v1(%s)", [held.id])
    _ring_after_commit(again)
    return _fresh(held)


def _give_fallback(run: Run, which: Q, fallback: SkillTask | str) -> None:
    """Let another skill take over in the failed steps, should they fail again."""
    from execution import skills

    name = skills.named(fallback if isinstance(fallback, str) else fallback.name).name
    for step in Step.objects.filter(which, run_id=run.id):
        Step.objects.filter(pk=step.pk).update(options=step.options | {"fallback": name})


def _wait_first(step_ids: list[uuid.UUID], wait_seconds: float) -> None:
    """Let steps that are tried again wait, each for a stored timer."""
    ledger.ask_in_transaction(
        "WITH waiting AS (UPDATE execution_step SET state = 'waiting', waiting = 'retry', "
        "wake_at = clock_timestamp() + make_interval(secs => %s) WHERE id = ANY(%s) "
        "RETURNING id, run_id, epoch, wake_at) "
        "INSERT INTO execution_timer (id, kind, due_at, step_id, run_id, epoch, created_at) "
        "SELECT execution_uuid7_v1(), 'retry', wake_at, id, run_id, epoch, clock_timestamp() FROM waiting",
        [wait_seconds, step_ids],
    )


def _ask_gates_again(run: Run, which: Q) -> None:
    """Forget what was decided, or missed, at the gates that are retried: a person may decide anew."""
    asked = Step.objects.filter(which, run_id=run.id, skill__in=["execution.approval", "execution.signal"])
    Checkpoint.objects.filter(step_id__in=list(asked.values_list("id", flat=True))).delete()


def fork(
    run: Run | uuid.UUID | str,
    step: str | None = None,
    *,
    input: Mapping[str, Any] | None = None,  # noqa: A002 - as in start
    before: str | None = None,
    version: str | None = None,
    by: str = "",
    reason: str = "",
) -> Run:
    """Open a new run that goes on from a step of this one: checkpoints before it are kept, its input may be changed.

    `before` names a token: what was recorded from there on is done again. `version` is another one of the workflow, of
    which everything is done from the start.
    """
    from execution import forks

    return forks.fork(get(run), step, given=input, before=before, version=version, by=by, reason=reason)


def signal(
    run: Run | uuid.UUID | str, name: str, data: Any = None, *, sender: str = "", signal_id: uuid.UUID | None = None
) -> str:
    """Send a signal: `woken` if a step waited for it, `kept` if it is early, `already` if this id was sent before."""
    from execution import signals

    return signals.send(get(run), name, data, sender=sender, signal_id=signal_id)


def result(run: Run | uuid.UUID | str) -> Any:
    """Return what the run's last step returned; raises RunFailed, RunCancelled, or NotPossible before its end."""
    found = get(run)
    found.refresh_from_db()
    if found.state == RunState.FAILED:
        raise RunFailed(found.id, found.error)
    if found.state == RunState.CANCELLED:
        raise RunCancelled(f"run {found.id} was cancelled: {found.cancel_reason or 'no reason was given'}")
    if found.state != RunState.COMPLETED:
        raise NotPossible(f"run {found.id} is {found.state}: it has no result yet")
    last = Step.objects.filter(run_id=found.id).order_by("-position").first()
    return ledger.unpack(last.output) if last else None


def wait(run: Run | uuid.UUID | str, *, timeout: Duration | None = None) -> Any:
    """Wait for a run's end, then return its result."""
    patience = None if timeout is None else seconds(timeout, name="timeout")
    found = get(run)
    if connection.in_atomic_block and not ledger.ask("SELECT 1 FROM execution_run WHERE id = %s", [found.id]):
        raise NotCommitted(
            f"run {found.id} is waited for inside the transaction that opened it, and no worker can see it before the "
            "commit: wait after the transaction, or open the run outside of it"
        )
    deadline = None if patience is None else time.monotonic() + patience
    pause_seconds = 0.002
    while not Run.objects.filter(pk=found.id, state__in=ENDED).exists():
        if deadline is not None and time.monotonic() > deadline:
            raise WaitedTooLong(
                f"run {found.id} did not end in {patience or 0:g} s; `manage.py why {found.id}` says what it waits for"
            )
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 1.2, 0.5)
    return result(found.id)


def _fresh(run: Run) -> Run:
    return Run.objects.get(pk=run.id)
