"""One step: claim, perform, finish.

A message is answered in the pool: the step it names is claimed, traced by Celery's own tracer and finished; then, on
the terms of `CELERIAC["inline_*"]`, the same process goes on with steps that no message was sent for. User code is
called from one place, `outcome_of`, which turns every ending into a value; `finish` writes that value through the
ledger's one door.
"""

from __future__ import annotations

import json
import os
import threading
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import psycopg
import structlog
from billiard.einfo import ExceptionInfo
from celery.app.trace import TraceInfo, build_tracer, trace_ok_t
from celery.exceptions import Ignore, Reject, Retry
from celery.states import IGNORED
from celery.utils.nodenames import gethostname
from django.db import Error as DatabaseError
from psycopg.types.json import Jsonb

from execution import board as boards
from execution import conf, doorbell, errands, flower_events, ids, ledger, retries, telemetry, values
from execution.context import Context
from execution.exceptions import (
    CancelRequested,
    CeleriacError,
    Leave,
    LedgerAway,
    Park,
    PoisonStep,
    Skip,
    Suspend,
    TimeboxPassed,
)
from execution.ledger import Claim, Wish
from execution.outcomes import Cancelled, Completed, Failed, Lost, Outcome, Parked, Skipped, Suspended
from execution.passes import charge_late
from execution.plain import PlainContext

if TYPE_CHECKING:
    from execution.canvas import Opening
    from execution.skills import SkillTask

log = structlog.get_logger(__name__)

HEADER = "celeriac"
_NO_WORKER = uuid.UUID(int=0)


@dataclass(slots=True)
class Hand:
    """What this thread holds: the claim it performs, and what follows it."""

    claim: Claim | None = None
    task_name: str = ""
    context: Context | None = None
    following: deque[Claim] = field(default_factory=deque)
    asked_at: float = 0.0
    is_at_work: bool = False
    again: Any = None
    replacement: Any = None
    done_count: int = 0
    began_at: float = field(default_factory=time.monotonic)
    may_follow: bool = True

    @property
    def pace(self) -> float:
        """How long a step took this hand on average, with its claim and its ending."""
        return (time.monotonic() - self.began_at) / (self.done_count + 1)


_local = threading.local()
# Between the look at what else this process performs and the claim no other thread may claim: a suspect is to be alone.
_claiming = threading.Lock()
_KEEPER_SECONDS = 30.0
# What is claimed with others is begun within this time or given back; a keeper takes back after twice as long.
_BEGIN_SECONDS = 1.0
_MOST_AT_ONCE = 8
_HAND_SECONDS = 0.03
_QUICK_SECONDS = 0.002
# How long each skill lately took in this process at most: what was seen long ago counts less.
_lately: dict[str, float] = {}


def _hand() -> Hand | None:
    return getattr(_local, "hand", None)


def worker_id() -> uuid.UUID:
    """Return the id of the worker that this process belongs to."""
    board = boards.current()
    return board.worker_id if board is not None else _NO_WORKER


def answer(task: SkillTask, task_id: str, args: Any, kwargs: Any, request: dict[str, Any] | None = None) -> Any:
    """Answer one message: perform the step it rings for, then what may follow in the same process."""
    with _claiming:
        claimed = _claim(task, task_id, args, kwargs, request or {})
        if claimed is not None:
            _show(claimed)
    if claimed is None:
        return _ignored()
    hand = Hand()
    outer, _local.hand = _hand(), hand
    try:
        first = None if claimed.step_id == ids.from_celery(task_id) else _ignored()
        while claimed is not None:
            if first is not None:
                flower_events.began(claimed, request or {})
            result = _trace(hand, claimed, request or {})
            # What follows may last for hours: the message's own step is told of now, and not a second time at the end.
            is_told = (first or hand.following) and flower_events.ended(claimed, request or {}, result)
            first = first or (_ignored() if is_told else result)
            hand.done_count += 1
            claimed = _next(hand)
        return first
    finally:
        _local.hand = outer


def _next(hand: Hand) -> Claim | None:
    """Return the claim to go on with; one that was not begun within a second is left to others, with all behind it."""
    board = boards.current()
    if not hand.following:
        return None
    if time.monotonic() - hand.asked_at > _BEGIN_SECONDS or board is None or _may_not_claim(board, boards.slot(board)):
        for claim in hand.following:
            ledger.give_back(claim.step_id, claim.epoch, ending="lost", reason="it was claimed and not begun")
        hand.following.clear()
        return None
    return hand.following.popleft()


def _claim(task: SkillTask, task_id: str, args: Any, kwargs: Any, request: dict[str, Any]) -> Claim | None:
    """Claim the step that a message names; a message without a row comes from another producer and is adopted."""
    board = boards.current()
    slot = boards.slot(board) if board else None
    step_id, attempt_id = ids.from_celery(task_id), ids.new()
    if board is not None and slot is not None:
        _wait_for_permission(board, slot)
        if _may_not_claim(board, slot):
            _leave_to_others(task, task_id, args, kwargs, request)
            return None
    alone = board is None or boards.performing_count(board, os.getpid()) == 0
    if board is not None and board.has_lines and not (task.time_limit or task.soft_time_limit):
        other = _claim_in_turn(step_id, attempt_id, alone=alone)
        if other is not None:
            return other
    claimed = ledger.claim(step_id, attempt_id, worker_id=worker_id(), pid=os.getpid(), alone=alone)
    if not isinstance(claimed, Claim) and claimed.verdict == "unknown" and not request.get(HEADER):
        from execution import canvas

        if not canvas.adopt(task, task_id, args, kwargs, request):
            return None
        claimed = ledger.claim(step_id, attempt_id, worker_id=worker_id(), pid=os.getpid(), alone=alone)
    if isinstance(claimed, Claim):
        return claimed
    # A suspect that must wait to be alone stays rung for: the feeder comes back to it, later and later.
    log.debug("step.not_claimed", step=task_id, verdict=claimed.verdict, reason=claimed.reason)
    return None


def _may_not_claim(board: boards.Board, slot: int) -> bool:
    return not board.is_kept or board.is_draining or board.is_barred(slot) or boards.is_taken_alone(board, os.getpid())


def _wait_for_permission(board: boards.Board, slot: int) -> None:
    """Wait for a keeper, and as long as another thread has this process to itself: until then this slot is busy."""
    deadline = time.monotonic() + _KEEPER_SECONDS
    while _may_not_claim(board, slot) and not board.is_draining and not board.is_barred(slot):
        if not board.is_kept and time.monotonic() > deadline:
            return
        time.sleep(0.01)


def _claim_in_turn(step_id: uuid.UUID, attempt_id: uuid.UUID, *, alone: bool) -> Claim | None:
    """Claim the step that goes before the one a message names, which is rung for again: the ledger's order counts."""
    other = ledger.turn(step_id, getattr(_local, "last_agent", _NO_WORKER), _inline_skills())
    if other is None:
        return None
    claimed = ledger.claim(other, attempt_id, worker_id=worker_id(), pid=os.getpid(), alone=alone)
    if not isinstance(claimed, Claim):
        return None
    ledger.unring(step_id)
    return claimed


def _leave_to_others(task: SkillTask, task_id: str, args: Any, kwargs: Any, request: dict[str, Any]) -> None:
    """Forget a message that cannot be answered here; what it brought from another producer is adopted all the same."""
    from execution import canvas

    if not ledger.unring(ids.from_celery(task_id)) and not request.get(HEADER):
        canvas.adopt(task, task_id, args, kwargs, request)


def _ignored() -> Any:
    """Return what Celery's tracer returns for a task that was ignored."""
    try:
        raise Ignore  # noqa: TRY301 - Celery's exception info wants a real traceback
    except Ignore as error:
        return trace_ok_t(ExceptionInfo(internal=True), TraceInfo(IGNORED, error), 0.0, None)


def _trace(hand: Hand, claim: Claim, message: dict[str, Any]) -> Any:
    """Show the claim on the board and let Celery's tracer run its task."""
    from execution import skills

    board = boards.current()
    slot = boards.slot(board) if board else None
    _show(claim)
    _local.last_agent = claim.agent_id
    context = Context(claim, board=board, slot=slot)
    try:
        task = skills.named(claim.skill)
        given = ledger.load_input(claim.step_id) if claim.is_input_left_out else ledger.unpack(claim.input)
    except Exception as error:  # noqa: BLE001 - whatever stands in the way of a claimed step is its failure
        _finish_unable(claim, context, error)
        return _ignored()
    else:
        hand.claim, hand.task_name, hand.context = claim, task.name, context
        hand.again = hand.replacement = None
        hand.may_follow = not (task.time_limit or task.soft_time_limit or (claim.canvas or {}).get("timelimit"))
        if _has_expired(claim, context):
            return _ignored()
        given = given or {}
        request = _request(task, claim, given, message)
        return _tracer(task)(request["id"], given.get("args", []), given.get("kwargs", {}), request)
    finally:
        hand.claim = hand.context = None
        if board is not None and slot is not None:
            board.clear(slot)


def _show(claim: Claim) -> None:
    """Show a claim on the board, from where its keeper takes what it extends."""
    board = boards.current()
    if board is not None:
        alone = bool(claim.options.get("is_alone"))
        board.show(boards.slot(board), claim.step_id, claim.epoch, claim.attempt_id, _ends_at(claim), alone=alone)


def _ends_at(claim: Claim) -> float:
    """Return the monotonic time at which a claim's timebox ends; 0 where there is none."""
    timebox = claim.options.get("timebox")
    if not timebox:
        return 0.0
    used = (claim.claimed_at - claim.first_started_at).total_seconds()
    return max(time.monotonic() + float(timebox) - used, 0.001)


def _has_expired(claim: Claim, context: Context) -> bool:
    """End a step that passed its expiry before it was ever started."""
    from execution import canvas

    if not canvas.is_expired(claim, context.now):
        return False
    error = {"kind": "permanent", "type": "TaskRevokedError", "module": "celery.exceptions", "message": "expired"}
    _written(claim, Cancelled(records=context.close()), {"error": error}, None, None)
    return True


def _finish_unable(claim: Claim, context: Context, error: Exception) -> None:
    log.error("step.unable", step=str(claim.step_id), skill=claim.skill, error=repr(error))
    outcome = Failed(error=error, kind=retries.PERMANENT, records=context.close())
    _written(claim, outcome, {}, None, None)


def _tracer(task: SkillTask) -> Callable[..., Any]:
    if task._tracer is None:  # noqa: SLF001 - our own
        task.__trace__ = build_tracer(task.name, task, hostname=gethostname(), app=task.app)
    return task._tracer or task  # noqa: SLF001 - as above


def _request(task: SkillTask, claim: Claim, given: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    """Return the request that the tracer sees: the ledger's word on what to do, and nothing that follows."""
    from execution import canvas

    return {
        **message,
        "task": task.name,
        "args": given.get("args", []),
        "kwargs": given.get("kwargs", {}),
        **canvas.request_fields(task, claim, message),
        "called_directly": False,
        **telemetry.headers(claim),
    }


def in_hand(task: SkillTask) -> Claim | None:
    """Return the claim that this thread holds for a task, if the tracer is calling it now."""
    hand = _hand()
    if hand is None or hand.context is None or not hand.context.is_fresh:
        return None
    return hand.claim if is_performed(task) else None


def is_performed(task: SkillTask) -> bool:
    """Tell whether a task's present request is the step that this thread performs."""
    hand = _hand()
    if hand is None or hand.claim is None or hand.task_name != task.name:
        return False
    expected = (hand.claim.canvas or {}).get("task_id") or str(hand.claim.step_id)
    return bool(task.request.id == expected)


def claim_in_hand() -> Claim | None:
    """Return the claim that this thread holds."""
    hand = _hand()
    return hand.claim if hand is not None else None


def claimed() -> Claim:
    """Return the claim that this thread holds; raises where it holds none."""
    found = claim_in_hand()
    if found is None:
        raise CeleriacError("nothing is being performed here: this skill is a part of a workflow's run")
    return found


def send_again(opening: Opening) -> bool:
    """Take the sending of what is being performed itself, as `retry` does, for its finish; false for anything else."""
    hand = _hand()
    if hand is None or not hand.is_at_work or hand.claim is None or hand.claim.step_id != opening.run_id:
        return False
    hand.again = opening
    return True


def replace(task: SkillTask, replacement: Any) -> bool:
    """Take a signature to put in the place of what is being performed; false where nothing is."""
    hand = _hand()
    if hand is None or not hand.is_at_work or not is_performed(task):
        return False
    hand.replacement = replacement
    return True


def context_of(task: SkillTask) -> Context:
    """Return the context of what this thread performs; outside a step, one that records in memory."""
    hand = _hand()
    if hand is not None and hand.context is not None:
        return hand.context
    plain = getattr(_local, "plain", None)
    if plain is None:
        raise CeleriacError(f"{task.name} is not being performed: ctx is there only while the skill runs")
    return plain  # type: ignore[no-any-return]


def call_plainly(task: SkillTask, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a skill's function directly, with a context that records in memory; a test may give its own."""
    outer = getattr(_local, "plain", None)
    if args and isinstance(args[0], PlainContext):
        _local.plain, args = args[0], args[1:]
    else:
        _local.plain = PlainContext(task.name)
    try:
        return task.invoke(_local.plain, args, kwargs)
    finally:
        _local.plain = outer


def perform(task: SkillTask, claim: Claim, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Perform a claimed step, write its ending, and tell Celery's tracer how it ended."""
    from execution import canvas

    hand = _hand() or Hand()
    context = hand.context = hand.context or Context(claim)
    context.is_fresh = False
    structlog.contextvars.bind_contextvars(run=str(claim.run_id), step=str(claim.step_id), attempt=claim.epoch)
    try:
        with telemetry.span(claim) as seen:
            hand.is_at_work, began = True, time.monotonic()
            with canvas.shown(task.request, claim):
                outcome = outcome_of(task, claim, context, args, kwargs, hand)
            hand.is_at_work = False
            if hand.may_follow:
                _remember(claim.skill, time.monotonic() - began)
            with telemetry.part("persist", claim):
                ended = finish(task, claim, outcome, hand)
            seen.ended(ended.outcome)
        return _told(ended)
    finally:
        structlog.contextvars.unbind_contextvars("run", "step", "attempt")


def outcome_of(
    task: SkillTask, claim: Claim, context: Context, args: tuple[Any, ...], kwargs: dict[str, Any], hand: Hand
) -> Outcome:
    """Call the skill: the one place where user code runs, and every ending becomes a value."""
    from execution import canvas

    try:
        _check_doom(claim)
        _check_version(task, claim)
        performer = _performer(task, claim, context)
        with telemetry.part("validate", claim):
            is_looked_up = "graph" in claim.options or (claim.is_of_graph and performer is not task)
            given = _given(task, claim, performer, kwargs) if is_looked_up else kwargs
        with telemetry.part("process", claim):
            value = performer.invoke(context, args, given)
        packed = values.pack(canvas.prepared(value), place=f"what {task.name!r} returned")
    except BaseException as raised:  # noqa: BLE001 - the one broad catch: whatever a skill raises is an ending
        return _raised(task, claim, context, raised, args, kwargs, hand)
    if context.leaving is not None:
        return _left(claim, context, context.leaving)
    if hand.again is not None:
        return _ignored_by(task, claim, context, hand)
    return Completed(value=value, packed=packed, records=context.close())


def _given(task: SkillTask, claim: Claim, performer: SkillTask, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what a step of a graph is given, with what its expressions are worth in this run."""
    from execution.workflows import scopes

    found = task.request.kwargs = scopes.given(claim, task, performer, kwargs)
    return found


def _raised(
    task: SkillTask,
    claim: Claim,
    context: Context,
    raised: BaseException,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    hand: Hand,
) -> Outcome:
    """Return the ending that an exception means; a pass that was told to leave has left, whatever it raised then."""
    if isinstance(raised, (SystemExit, KeyboardInterrupt)):
        _written(claim, Suspended(waiting="capacity", records=context.close()), {}, None, None)
        raise raised
    leave = raised if isinstance(raised, Leave) else context.leaving
    if leave is not None:
        return _left(claim, context, leave)
    if isinstance(raised, (Retry, Ignore, Reject)):
        return _told_by_celery(task, claim, context, raised, hand)
    if isinstance(raised, Exception):
        return _failed(task, claim, context, raised, args, kwargs, hand)
    raise raised


def _told_by_celery(
    task: SkillTask, claim: Claim, context: Context, raised: Retry | Ignore | Reject, hand: Hand
) -> Outcome:
    """Return the ending of a task that ended in one of Celery's own words."""
    if isinstance(raised, Retry):
        return _asked_again(context, raised)
    if isinstance(raised, Ignore):
        return _ignored_by(task, claim, context, hand)
    if getattr(raised, "requeue", False):
        return Suspended(waiting="capacity", records=context.close(), rejected=raised)
    return Failed(error=raised, kind=retries.PERMANENT, records=context.close(has_failed=True))


def _ignored_by(task: SkillTask, claim: Claim, context: Context, hand: Hand) -> Outcome:
    """Return the ending of a task that raised Ignore: replaced, sent again under its own id, or simply ignored."""
    from execution import canvas

    if hand.replacement is not None:
        waiting, details = canvas.replacing(task, claim, hand.replacement)
    elif hand.again is not None:
        waiting, details = canvas.retargeting(hand.again)
    else:
        return Completed(value=None, records=context.close(), is_ignored=True)
    return Suspended(waiting=waiting, details=details, records=context.close())


def _left(claim: Claim, context: Context, leave: Leave) -> Outcome:
    """Return the ending that a context call asked for."""
    if isinstance(leave, Suspend):
        details = dict(leave.details)
        return Suspended(waiting=leave.waiting, records=context.close(details.pop("records", ())), details=details)
    if isinstance(leave, Park):
        return Parked(waiting=leave.waiting, reason=leave.reason, records=context.close())
    if isinstance(leave, CancelRequested):
        return Cancelled(records=context.close())
    if isinstance(leave, Skip):
        return Skipped(records=context.close())
    log.warning("step.fenced", step=str(claim.step_id), epoch=claim.epoch)
    charge_late(claim, context.close())
    return Lost()


def _asked_again(context: Context, again: Retry) -> Outcome:
    """Return the ending of a task that called `self.retry`."""
    when = again.when
    if isinstance(when, datetime):
        moment = when if when.tzinfo else when.replace(tzinfo=UTC)
        delay = max(0.0, (moment - context.now).total_seconds())
    else:
        delay = float(when or 0.0)
    return Failed(error=again, kind=retries.TRANSIENT, delay_seconds=delay, records=context.close(has_failed=True))


def _failed(
    task: SkillTask,
    claim: Claim,
    context: Context,
    error: Exception,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    hand: Hand,
) -> Outcome:
    """Return the ending of a skill that failed: again later, its fallback, or failed."""
    policy = retries.Policy.of(claim.options, claim.skill)
    delay = retries.delay_of(error, policy, claim.retry_count)
    if delay is None and _may_fall_back(claim, context, error):
        try:
            context.fall_back()
        except Leave as leave:
            return _left(claim, context, leave)
        return outcome_of(task, claim, context, args, kwargs, hand)
    kind = retries.kind_of(error, policy.kinds)
    return Failed(error=error, kind=kind, delay_seconds=delay, records=context.close(has_failed=True))


def _may_fall_back(claim: Claim, context: Context, error: Exception) -> bool:
    if not claim.options.get("fallback") or claim.use_fallback or isinstance(error, TimeboxPassed):
        return False
    return not context.has_fallen_back


def _performer(task: SkillTask, claim: Claim, context: Context) -> SkillTask:
    """Return the skill that performs: the fallback while the breaker is open, or once it has taken over."""
    if not claim.options.get("fallback") or not (claim.use_fallback or context.has_fallen_back):
        return task
    from execution import skills

    if not context.has_fallen_back:
        context.fall_back()
    return skills.named(claim.options["fallback"])


def _check_doom(claim: Claim) -> None:
    """A step that was given back with an error is failed with it, by the common door, instead of being performed."""
    doom = claim.options.get("doom")
    if doom and doom["epoch"] == claim.epoch - 1:
        raise (TimeboxPassed if doom["type"] == "TimeboxPassed" else PoisonStep)(doom["message"])


def _check_version(task: SkillTask, claim: Claim) -> None:
    """A step that resumes under another declared version continues, restarts or parks, as its skill says."""
    if not claim.is_resumed or not claim.version or claim.version == task.version:
        return
    is_declared = not claim.version.startswith("source:") and not task.version.startswith("source:")
    then = task.options.on_new_version if is_declared else "continue"
    change = {"before": claim.version, "now": task.version, "then": then}
    log.info("skill.version_changed", skill=task.name, **change)
    ledger.ask(
        "SELECT execution_log_v1('step.version_changed', %s, %s, %s, %s, %s)",
        [claim.run_id, claim.step_id, claim.agent_id, claim.epoch, Jsonb({"skill": task.name, **change})],
    )
    if then == "park":
        raise Park("version", f"it began under version {claim.version}, and {task.version} is here now")
    if then == "restart":
        ledger.ask(
            "DELETE FROM execution_checkpoint c USING execution_step s WHERE s.id = %s AND s.epoch = %s "
            "AND s.state = 'running' AND c.step_id = s.id AND c.epoch < s.epoch AND c.kind <> 'late'",
            [claim.step_id, claim.epoch],
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """An outcome, and whether it was written."""

    outcome: Outcome
    state: str


def finish(task: SkillTask, claim: Claim, outcome: Outcome, hand: Hand) -> Ended:
    """Write an outcome through the ledger's one door, open what follows, and ring for what became ready."""
    if isinstance(outcome, Lost):
        return Ended(outcome, "stale")
    from execution import canvas

    details: dict[str, Any] = {"version": task.version}
    packed = None
    if isinstance(outcome, Completed):
        try:
            packed = outcome.packed or values.pack(canvas.prepared(outcome.value), place=f"what {task.name!r} returned")
            details |= (
                canvas.after_ignoring(task) if outcome.is_ignored else canvas.after_success(task, claim, outcome.value)
            )
        except (psycopg.Error, DatabaseError, LedgerAway):
            raise
        except Exception as error:  # noqa: BLE001 - what cannot be stored, or follow, fails the step, as with Celery
            outcome = Failed(error=error, kind=retries.PERMANENT, records=outcome.records)
    if isinstance(outcome, Failed) and outcome.delay_seconds is None:
        details |= canvas.after_failure(task)
    elif isinstance(outcome, Failed) and hand.again is not None:
        details |= canvas.sent_again(hand.again, claim)
    return _written(claim, outcome, details, packed, _wish(claim, hand), hand)


def _written(
    claim: Claim,
    outcome: Outcome,
    details: dict[str, Any],
    packed: values.Packed | None,
    wish: Wish | None,
    hand: Hand | None = None,
) -> Ended:
    ending, more = _ending(outcome)
    if more.get("breaker") == "failed":
        more |= _breaker_of(claim)
    records = getattr(outcome, "records", ())
    written = ledger.finish(claim, ending, output=packed, details={**details, **more}, records=records, wish=wish)
    if written.verdict == "stale":
        log.warning("step.stale", step=str(claim.step_id), epoch=claim.epoch, ending=ending)
        charge_late(claim, records)
        return Ended(Lost(), "stale")
    if hand is not None:
        hand.following += written.following
    following = {claim.step_id for claim in written.following}
    doorbell.ring_for([step for step in written.ready if step not in following])
    errands.run(written.errands)
    if claim.parent_step_id is not None and ending in ("completed", "skipped", "failed", "cancelled"):
        errands.tell_parents(claim.parent_step_id)
    return Ended(outcome, written.state)


def _breaker_of(claim: Claim) -> dict[str, Any]:
    """Return when a step's breaker opens, and for how long."""
    settings = conf.current()
    return {
        "breaker_threshold": claim.options.get("breaker_threshold", settings.breaker_threshold),
        "breaker_cooldown": int(claim.options.get("breaker_cooldown", settings.breaker_cooldown_seconds)),
    }


def _ending(outcome: Outcome) -> tuple[str, dict[str, Any]]:
    """Return an outcome in the words of the ledger."""
    if isinstance(outcome, Completed):
        return "completed", {"breaker": "ok"}
    if isinstance(outcome, Suspended):
        return "suspended", {"waiting": outcome.waiting, **outcome.details}
    if isinstance(outcome, Parked):
        return "parked", {"waiting": outcome.waiting, "error": {"kind": "parked", "message": _clean(outcome.reason)}}
    if isinstance(outcome, Failed):
        error = described(outcome.error, outcome.kind)
        if outcome.delay_seconds is None:
            return "failed", {"error": error, "breaker": "failed"}
        details: dict[str, Any] = {
            "error": error,
            "waiting": "retry",
            "wake_seconds": outcome.delay_seconds,
            "timer": "retry",
        }
        if not isinstance(outcome.error, Retry):
            details["breaker"] = "failed"
        return "retrying", details
    return "skipped" if isinstance(outcome, Skipped) else "cancelled", {}


def described(error: BaseException, kind: str) -> dict[str, Any]:
    """Return an error as the ledger keeps it."""
    cause = error.exc if isinstance(error, Retry) and isinstance(error.exc, BaseException) else error
    return {
        "kind": kind,
        "type": type(cause).__name__,
        "module": type(cause).__module__,
        "message": _clean(_said(cause))[:4000],
        "args": [_plain_argument(argument) for argument in cause.args],
        "traceback": _clean("".join(traceback.format_exception(cause)))[-12000:],
    }


def _said(error: BaseException) -> str:
    """Return an error's message; one that cannot say it is still an error."""
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001 - a skill's own __str__
        return f"{type(error).__name__}, whose message raised {type(second).__name__}"


def _clean(text: str) -> str:
    """Return text as PostgreSQL takes it: without NUL and half characters."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _plain_argument(argument: Any) -> Any:
    """Return an exception's argument as plain JSON where it is that, so that `AsyncResult.get` can raise it again."""
    try:
        text = values.encode(argument, place="").decode()
        found = json.loads(text)
        is_plain = "\\u0000" not in text and values.decode(text.encode()) == found
    except (CeleriacError, UnicodeError):
        is_plain = False
    return found if is_plain else _clean(str(argument))[:1000]


def _wish(claim: Claim, hand: Hand) -> Wish | None:
    """Return what this process would go on with, or None when it must go back to its messages."""
    settings = conf.current()
    board = boards.current()
    if (
        hand.following
        or not hand.may_follow
        or hand.done_count + 1 >= settings.inline_count
        or time.monotonic() - hand.began_at > settings.inline_seconds
        or board is None
        or _may_not_claim(board, boards.slot(board))
    ):
        return None
    hand.asked_at = time.monotonic()
    quick = [] if board.has_lines else [name for name, seconds in _lately.items() if seconds < _QUICK_SECONDS]
    most = min(_MOST_AT_ONCE, int(_HAND_SECONDS / hand.pace))
    return Wish(
        queue=claim.queue,
        skills=_inline_skills(),
        agent_id=claim.agent_id,
        attempt_id=ids.new(),
        worker_id=worker_id(),
        pid=os.getpid(),
        further=[ids.new() for _ in range(most - 1)] if claim.skill in quick else [],
        quick=quick,
    )


def _remember(skill: str, seconds: float) -> None:
    """Remember how long a skill took; one that was slow must be quick some thirty times to count as such again."""
    _lately[skill] = max(seconds, 0.9 * _lately.get(skill, 10 * _QUICK_SECONDS))


@lru_cache(maxsize=1)
def _inline_skills() -> list[str]:
    """Return the skills that may follow without a message: those that need no time limit of Celery's."""
    from execution import skills

    return [name for name, task in skills.all_skills().items() if not (task.time_limit or task.soft_time_limit)]


def _told(ended: Ended) -> Any:
    """Tell the tracer how a step ended, in Celery's words."""
    outcome = ended.outcome
    if isinstance(outcome, Completed) and not outcome.is_ignored:
        return outcome.value
    if isinstance(outcome, Suspended) and outcome.rejected is not None:
        raise outcome.rejected
    if isinstance(outcome, Failed):
        if isinstance(outcome.error, Retry):
            raise outcome.error
        if outcome.delay_seconds is not None:
            raise Retry(exc=outcome.error, when=outcome.delay_seconds) from outcome.error
        raise outcome.error
    raise Ignore
