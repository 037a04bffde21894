"""Celery's canvas, kept in the ledger: opening a step stores what follows it, finishing it opens what follows.

A chain, a link, an error link and a chord have fixed ids from the start. What is one durable task is opened in the
transaction that ends the step before it; groups, chords and plain tasks are sent by an errand that the same transaction
writes: at least once, under the same ids. The request that Celery's tracer sees carries none of it, so that nothing is
sent twice.
"""

from __future__ import annotations

import base64
import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from celery import Celery, current_app, maybe_signature
from celery._state import _task_stack
from celery.app.task import Context as Request
from celery.result import AsyncResult, ResultSet
from celery.utils import uuid as new_task_id
from celery.utils.functional import maybe_list
from celery.utils.time import maybe_make_aware
from psycopg.types.json import Jsonb

from execution import ids, ledger, openings, signatures, values
from execution.exceptions import OptionInvalid

if TYPE_CHECKING:
    from execution.ledger import Claim
    from execution.skills import SkillTask

# What Celery and kombu know; anything else that a caller gives becomes a property of the request.
_KNOWN = frozenset({
    "add_to_parent", "argsrepr", "chain", "chord", "compression", "connection", "countdown", "declare",
    "delivery_mode", "eta", "exchange", "exchange_type", "expires", "follows", "group_id", "group_index", "headers",
    "ignore_result", "immediate", "kwargsrepr", "link", "link_error", "mandatory", "now", "origin", "parent_id",
    "priority", "producer", "publisher", "queue", "replaced_task_nesting", "reply_to", "result_cls", "retries",
    "retry", "retry_policy", "root_id", "route_name", "router", "routing_key", "serializer", "shadow",
    "soft_time_limit", "stamped_headers", "stamps", "task_id", "task_type", "time_limit", "timeout", "timezone",
})  # fmt: skip
# Scalars and small maps that are kept under their own names.
_KEPT = ("argsrepr", "group_id", "group_index", "kwargsrepr", "reply_to", "replaced_task_nesting", "retries", "shadow")
_FOLLOWS = ("chain", "link", "link_error")
_HIGHEST = 32767


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The task on whose behalf another one is opened."""

    task_id: str
    root_id: str
    priority: int | None = None
    agent_id: uuid.UUID | None = None
    correlation_id: str = ""

    @classmethod
    def current(cls, app: Celery) -> Parent | None:
        """Return the task that this thread performs, if it performs one."""
        from execution import performing

        task = app.current_worker_task
        if task is None:
            return None
        request, claim = task.request, performing.claim_in_hand()
        return cls(
            task_id=request.id,
            root_id=request.root_id or request.id,
            priority=(request.delivery_info or {}).get("priority"),
            agent_id=claim.agent_id if claim else None,
            correlation_id=claim.correlation_id if claim else "",
        )

    @classmethod
    def of(cls, claim: Claim) -> Parent:
        """Return the step that a claim holds."""
        canvas = claim.canvas or {}
        task_id = id_of(claim)
        return cls(
            task_id=task_id,
            root_id=canvas.get("root_id") or task_id,
            priority=canvas.get("priority"),
            agent_id=claim.agent_id,
            correlation_id=claim.correlation_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A run that is about to be opened as a message would have been sent."""

    task: SkillTask
    task_id: str
    template: dict[str, Any]
    given: dict[str, Any]
    ignores_result: bool

    @property
    def run_id(self) -> uuid.UUID:
        """The id of the run and of its step."""
        return ids.from_celery(self.task_id)

    def pack(self) -> values.Packed:
        """Return the input as it is stored."""
        return values.pack(self.given, place=f"the input of {self.task.name!r}")


def id_of(claim: Claim) -> str:
    """Return the Celery id of what a claim holds."""
    return str((claim.canvas or {}).get("task_id") or claim.step_id)


# Opening


def apply_async(
    task: SkillTask, args: Any, kwargs: Any, *, task_id: str | None = None, **options: Any
) -> AsyncResult[Any]:
    """Open a run as `Task.apply_async` would send a message; the same task id opens it once."""
    from execution import performing, results

    app = task.app
    add_to_parent = options.pop("add_to_parent", True)
    parent = Parent.current(app)
    opening = opening_of(task, args, kwargs, task_id=task_id, parent=parent, **options)
    if not performing.send_again(opening):
        openings.open_runs(task, opening.template, [(opening.run_id, opening.given, None)])
    result = results.LedgerResult(opening.task_id, backend=task.backend, task_name=task.name, app=app)
    result.ignored = opening.ignores_result
    if add_to_parent and app.current_worker_task is not None:
        app.current_worker_task.add_trail(result)
    return result


def opening_of(
    task: SkillTask,
    args: Any,
    kwargs: Any,
    *,
    task_id: str | None = None,
    parent: Parent | None = None,
    check: bool = True,
    **given: Any,
) -> Opening:
    """Return what Celery's options mean to the ledger; wrong arguments are refused, unless a message brought them."""
    if task.soft_time_limit and task.time_limit and task.soft_time_limit > task.time_limit:
        raise ValueError("soft_time_limit must be less than or equal to time_limit")
    args, kwargs = tuple(args or ()), dict(kwargs or {})
    shadow = given.pop("shadow", None) or task.shadow_name(args, kwargs, given)
    options = {**task._get_exec_options(), **given, "shadow": shadow}  # noqa: SLF001 - as Celery's own apply_async
    if task._dump_pydantic_arguments is not None:  # noqa: SLF001 - as above
        args, kwargs = task._dump_pydantic_arguments(args, kwargs)  # noqa: SLF001 - as above
    bound = task.bind_input(args, kwargs) if check else {"args": list(args), "kwargs": kwargs}
    options.setdefault("ignore_result", task.ignore_result)
    task_id = task_id or new_task_id()
    canvas = _canvas(task, task_id, options, parent)
    template = openings.template_of(
        task,
        start_at=_start_at(options, task.app),
        priority=_ledger_priority(task.app, canvas.get("priority")),
        queue=_queue(task, options, args, kwargs),
        correlation_id=parent.correlation_id if parent else "",
        canvas=canvas or None,
    )
    if parent and parent.agent_id and not task.options.agent:
        template["agent_id"] = str(parent.agent_id)
    return Opening(
        task=task, task_id=task_id, template=template, given=bound, ignores_result=bool(options["ignore_result"])
    )


def _canvas(task: SkillTask, task_id: str, options: dict[str, Any], parent: Parent | None) -> dict[str, Any]:
    """Return what a step keeps of Celery's options: nothing for a plain `delay` from outside a task."""
    app = task.app
    canvas = {name: options[name] for name in _KEPT if options.get(name)}
    if options.get("group_index") is not None:
        canvas["group_index"] = options["group_index"]
    if str(ids.from_celery(task_id)) != task_id:
        canvas["task_id"] = task_id
    if canvas.get("reply_to") == app.thread_oid:
        del canvas["reply_to"]
    _add_family(canvas, task_id, options, parent)
    _add_priority(canvas, app, options, parent)
    _add_times(canvas, app, options)
    _add_headers(canvas, options)
    _add_followers(canvas, app, options)
    _add_origin(canvas, options)
    if options.get("ignore_result"):
        canvas["ignore_result"] = True
    return canvas


def _add_family(canvas: dict[str, Any], task_id: str, options: dict[str, Any], parent: Parent | None) -> None:
    root_id = options.get("root_id") or (parent.root_id if parent else None)
    parent_id = options.get("parent_id") or (parent.task_id if parent else None)
    if root_id and root_id != task_id:
        canvas["root_id"] = root_id
    if parent_id:
        canvas["parent_id"] = parent_id


def _add_priority(canvas: dict[str, Any], app: Celery, options: dict[str, Any], parent: Parent | None) -> None:
    priority = options.get("priority")
    if priority is None and parent is not None and app.conf.task_inherit_parent_priority:
        priority = parent.priority
    if priority is not None:
        canvas["priority"] = priority


def _add_times(canvas: dict[str, Any], app: Celery, options: dict[str, Any]) -> None:
    limits = [options.get("time_limit"), options.get("soft_time_limit")]
    if any(limits):
        canvas["timelimit"] = limits
    start_at = _start_at(options, app)
    if start_at is not None:
        canvas["eta"] = start_at.isoformat()
    expires = _moment("expires", options.get("expires"), app)
    if expires is not None:
        canvas["expires"] = expires.isoformat()


def _add_headers(canvas: dict[str, Any], options: dict[str, Any]) -> None:
    stamped = maybe_list(options.get("stamped_headers")) or []
    if stamped:
        canvas["stamped_headers"] = list(stamped)
        canvas["stamps"] = {name: options[name] for name in stamped if name in options}
    if options.get("headers"):
        canvas["headers"] = signatures.packed(options["headers"])
    others = {k: v for k, v in options.items() if k not in _KNOWN and k not in stamped and _is_plain(v)}
    if others:
        canvas["properties"] = others


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool))


def _add_followers(canvas: dict[str, Any], app: Celery, options: dict[str, Any]) -> None:
    follows = {name: options[name] for name in _FOLLOWS if options.get(name)}
    for name in {"link", "link_error"} & set(follows):
        follows[name] = signatures.fixed(follows[name], app)
    if follows:
        canvas["follows"] = signatures.packed(follows)
    body = options.get("chord")
    if body:
        from execution import chords

        canvas["chord" if chords.is_counted(body) else "foreign_chord"] = signatures.packed(body)


def _add_origin(canvas: dict[str, Any], options: dict[str, Any]) -> None:
    """Say which canvas a member belongs to: an ended id that another canvas uses again is performed again."""
    if options.get("follows") or any(options.get(name) for name in ("chain", "chord", "group_id")):
        canvas["origin"] = "/".join(str(canvas.get(name, "")) for name in ("root_id", "parent_id", "group_id"))


def _start_at(options: dict[str, Any], app: Celery) -> datetime | None:
    """Return Celery's countdown or eta as a stored start."""
    return _moment("countdown", options.get("countdown"), app) or _moment("eta", options.get("eta"), app)


def _moment(name: str, value: Any, app: Celery) -> datetime | None:
    """Return seconds from now, or a time in any of Celery's forms, as an aware time."""
    if not value:
        return None
    try:
        if isinstance(value, (int, float)):
            return datetime.now(UTC) + timedelta(seconds=float(value))
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return maybe_make_aware(moment, app.timezone)  # type: ignore[no-any-return]
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise OptionInvalid(
            f"{name} is {value!r:.80}; write seconds from now, a datetime, or text such as '2030-01-31T18:00:00+00:00'"
        ) from None


def _ledger_priority(app: Celery, priority: int | None) -> int | None:
    """Return a priority of the broker's scale on the ledger's, where higher goes first: Redis counts the other way."""
    if priority is None:
        return None
    turned = -priority if _is_redis(app) else priority
    return max(-_HIGHEST, min(_HIGHEST, turned))


@lru_cache(maxsize=8)
def _is_redis(app: Celery) -> bool:
    return str(app.conf.broker_url or "").startswith(("redis", "rediss", "sentinel"))


def _queue(task: SkillTask, options: dict[str, Any], args: Any, kwargs: Any) -> str | None:
    """Return the queue that a caller's options or the project's routes name, or None for the skill's own."""
    wishes = {name: options[name] for name in ("queue", "exchange", "routing_key") if options.get(name)}
    amqp = task.app.amqp
    if not wishes and not amqp.router.routes:
        return None
    route = (options.get("router") or amqp.router).route(dict(wishes), task.name, args, kwargs, task)
    queue = route.get("queue")
    if queue is not None:
        return str(getattr(queue, "name", queue))
    key = route.get("routing_key")
    return next((name for name, known in amqp.queues.items() if key in (known.routing_key, name)), None)


# Adopting


def adopt(task: SkillTask, task_id: str, args: Any, kwargs: Any, request: dict[str, Any]) -> bool:
    """Open the run of a message that came without one, from a producer that knows no ledger.

    Answers whether it may start now; a message with an eta has become a stored timer.
    """
    opening = opening_of(task, args, kwargs, task_id=task_id, check=False, **_options_of(request))
    packed = opening.pack()
    openings.keep_blobs([packed])
    ledger.ask_in_transaction(
        "SELECT 1 FROM execution_open_v1(%s, %s::uuid[], %b::bytea[])",
        [Jsonb(opening.template | {"is_rung": True}), [opening.run_id], [packed.data]],
    )
    return opening.template["start_at"] is None


def _options_of(request: dict[str, Any]) -> dict[str, Any]:
    """Return the options with which a message was sent."""
    delivery = request.get("delivery_info") or {}
    limits = request.get("timelimit") or (None, None)
    options = {name: request.get(name) for name in (*_KEPT, "chain", "chord", "eta", "expires", "parent_id", "root_id")}
    options |= {name: value for name, value in (request.get("stamps") or {}).items() if name not in _KNOWN}
    options |= {
        "stamped_headers": request.get("stamped_headers"),
        "group_id": request.get("group"),
        "link": request.get("callbacks"),
        "link_error": request.get("errbacks"),
        "priority": delivery.get("priority"),
        "queue": delivery.get("routing_key"),
        "time_limit": limits[0],
        "soft_time_limit": limits[1],
        "headers": Request(request).headers,
    }
    if request.get("ignore_result") is not None:
        options["ignore_result"] = request["ignore_result"]
    return options


# Performing


def request_fields(task: SkillTask, claim: Claim, message: dict[str, Any]) -> dict[str, Any]:
    """Return what the request of a step takes from its canvas and not from the message that rang for it."""
    canvas = claim.canvas or {}
    task_id = id_of(claim)
    headers = signatures.unpacked(canvas.get("headers")) or {}
    delivery = dict(message.get("delivery_info") or {})
    delivery["priority"] = canvas.get("priority", 0 if _is_redis(task.app) else None)
    delivery["redelivered"] = claim.epoch - canvas.get("since", 0) - 1 > claim.retry_count
    return {
        **headers,
        "id": task_id,
        "root_id": canvas.get("root_id") or task_id,
        "parent_id": canvas.get("parent_id"),
        "group": canvas.get("group_id"),
        "group_index": canvas.get("group_index"),
        "correlation_id": task_id,
        "retries": claim.retry_count + canvas.get("retries", 0),
        "headers": headers or None,
        "properties": {**(message.get("properties") or {}), **canvas.get("properties", {})},
        "delivery_info": delivery,
        "reply_to": canvas.get("reply_to") or task.app.thread_oid,
        "eta": canvas.get("eta"),
        "expires": canvas.get("expires"),
        "timelimit": canvas.get("timelimit") or [None, None],
        "ignore_result": bool(canvas.get("ignore_result")),
        "replaced_task_nesting": canvas.get("replaced_task_nesting", 0),
        "stamps": canvas.get("stamps") or {},
        "stamped_headers": canvas.get("stamped_headers"),
        "shadow": canvas.get("shadow"),
        "argsrepr": canvas.get("argsrepr"),
        "kwargsrepr": canvas.get("kwargsrepr"),
        **_NOTHING_FOLLOWS,
    }


_NOTHING_FOLLOWS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def _followers(canvas: dict[str, Any] | None) -> dict[str, Any]:
    """Return what follows a step, in the words of a request."""
    kept = signatures.unpacked((canvas or {}).get("follows")) or {}
    body = (canvas or {}).get("chord") or (canvas or {}).get("foreign_chord")
    return {
        "callbacks": kept.get("link"),
        "errbacks": kept.get("link_error"),
        "chain": kept.get("chain"),
        "chord": signatures.unpacked(body),
    }


@contextlib.contextmanager
def shown(request: Request, claim: Claim) -> Iterator[None]:
    """Show what follows to the skill while it is performed, and to nobody else: the ledger opens it, not the tracer."""
    request.update(_followers(claim.canvas))
    try:
        yield
    finally:
        request.update(_NOTHING_FOLLOWS)


def is_expired(claim: Claim, now: datetime) -> bool:
    """Tell whether a step that has not been started since it was sent has passed its expiry; started steps go on."""
    canvas = claim.canvas or {}
    expires: str = canvas.get("expires") or ""
    begun = claim.epoch - canvas.get("since", 0) - 1 > claim.retry_count
    return bool(expires) and not begun and now > datetime.fromisoformat(expires)


# Finishing


def prepared(value: Any) -> Any:
    """Return a result as Celery's backends store it."""
    return value.as_tuple() if isinstance(value, (AsyncResult, ResultSet)) else value


def after_success(task: SkillTask, claim: Claim, value: Any) -> dict[str, Any]:
    """Return what a step's success opens, for its finish."""
    details = _family(task)
    canvas = claim.canvas or {}
    kept = signatures.unpacked(canvas.get("follows")) or {}
    if not kept.get("link") and not kept.get("chain") and "foreign_chord" not in canvas:
        return details
    opened, owed = _sorted_out(task.app, Parent.of(claim), kept, value)
    if "foreign_chord" in canvas:
        owed["part"] = True
    if opened:
        packed = [opening.pack() for opening in opened]
        ledger.keep_blobs(packed)
        details["opens"] = [_open_details(opening, one) for opening, one in zip(opened, packed, strict=True)]
        _add_children(details, [AsyncResult(opening.task_id, app=task.app) for opening in opened])
    if owed:
        details["errands"] = [_errand(step=str(claim.step_id), **owed)]
    return details


def _sorted_out(app: Celery, parent: Parent, kept: dict[str, Any], value: Any) -> tuple[list[Opening], dict[str, Any]]:
    """Sort what follows into what is opened at once and what an errand must send."""
    opened: list[Opening] = []
    owed: dict[str, Any] = {}
    for index, link in enumerate(kept.get("link") or []):
        if signatures.skill_of(link, app) is None:
            owed.setdefault("links", []).append(index)
        else:
            opened.append(_following(app, parent, link, value))
    chain = kept.get("chain")
    if chain and signatures.skill_of(chain[-1], app) is not None:
        opened.append(_following(app, parent, chain[-1], value, chain=chain[:-1]))
    elif chain:
        owed["chain"] = True
    return opened, owed


def _following(app: Celery, parent: Parent, link: dict[str, Any], value: Any, **more: Any) -> Opening:
    """Return the opening of one durable task that follows, as `Signature.apply_async` would send it."""
    signature = maybe_signature(link, app=app)
    wishes = {"parent_id": parent.task_id, "root_id": parent.root_id, "follows": True, **more}
    args, kwargs, options = signature._merge((value,), {}, wishes)  # noqa: SLF001 - Celery's own way to merge
    return opening_of(signature.type, args, kwargs, parent=parent, **options)


def _open_details(opening: Opening, packed: values.Packed) -> dict[str, Any]:
    return {
        "template": opening.template,
        "id": str(opening.run_id),
        "input": base64.b64encode(packed.data).decode(),
    }


def _errand(**payload: Any) -> dict[str, Any]:
    return {"id": str(ids.new()), "kind": "publish", "payload": payload}


def _family(task: SkillTask) -> dict[str, Any]:
    """Return the details that keep what the step has called, for `AsyncResult.children`."""
    details: dict[str, Any] = {}
    _add_children(details, task.request.children)
    return details


def _add_children(details: dict[str, Any], children: list[Any]) -> None:
    if children:
        canvas = details.setdefault("canvas", {})
        canvas["children"] = [*canvas.get("children", []), *(child.as_tuple() for child in children)]


def after_failure(task: SkillTask) -> dict[str, Any]:
    """Return what a failed step keeps; the ledger itself owes its error links and the rest of its chain."""
    return _family(task)


def after_ignoring(task: SkillTask) -> dict[str, Any]:
    """Return the details of a step that was ignored: nothing follows it, and it counts in no chord."""
    details = _family(task)
    details.setdefault("canvas", {})["ignored"] = True
    return details


def replacing(task: SkillTask, claim: Claim, replacement: Any) -> tuple[str, dict[str, Any]]:
    """Return what a step waits for, and the details of its finish, when another signature takes its place and its id.

    One durable task takes the step over. Anything else is sent by an errand, and the step waits until it is opened
    again, or ended, under its id.
    """
    if signatures.skill_of(replacement, task.app) is not None:
        args, kwargs, options = replacement.args, replacement.kwargs, dict(replacement.options)
        opening = opening_of(replacement.type, args, kwargs, parent=Parent.of(claim), **options)
        return retargeting(opening)
    canvas = {"replaced": True, "children": []}
    details = {"canvas": canvas, "errands": [_errand(step=str(claim.step_id), replace=signatures.packed(replacement))]}
    return "children", details


def retargeting(opening: Opening) -> tuple[str, dict[str, Any]]:
    """Return what a step waits for, and the details of its finish, when an opening takes it over under its own id."""
    details = _retarget(opening, opening.template["canvas"], is_fresh=True)
    if opening.template["start_at"] is None:
        return "capacity", details
    return "timer", {**details, "wake_at": opening.template["start_at"], "timer": "sleep"}


def sent_again(opening: Opening, claim: Claim) -> dict[str, Any]:
    """Return the details of a finish after `retry`: new arguments and options, the count of tries kept."""
    before, canvas = claim.canvas or {}, dict(opening.template["canvas"] or {})
    canvas.pop("retries", None)
    canvas |= {name: before[name] for name in ("retries", "since") if name in before}
    return _retarget(opening, canvas or None, is_fresh=False)


def _retarget(opening: Opening, canvas: dict[str, Any] | None, *, is_fresh: bool) -> dict[str, Any]:
    packed = opening.pack()
    ledger.keep_blobs([packed])
    return {
        "retarget": opening.template | {"is_fresh": is_fresh, "canvas": canvas},
        "input": base64.b64encode(packed.data).decode(),
    }


# Errands


def publish(payload: dict[str, Any]) -> None:
    """Send what an errand holds; a second time it sends the same ids."""
    from execution import chords, skills

    app = current_app._get_current_object()  # noqa: SLF001 - a proxy's only way to its app
    skills.import_all(app)
    if "chord" in payload:
        chords.send_body(app, payload["chord"])
        return
    rows = ledger.ask(
        "SELECT id, run_id, skill, canvas, state, output, error FROM execution_step WHERE id = %s", [payload["step"]]
    )
    if not rows:
        return
    if payload.get("failed"):
        _spread_failure(app, rows[0])
    elif "replace" in payload:
        _send_replacement(app, rows[0], payload["replace"])
    else:
        _send_followers(app, rows[0], payload)


@contextlib.contextmanager
def within(app: Celery, task_id: str, canvas: dict[str, Any] | None, name: str = "") -> Iterator[Request]:
    """Send as if a task of this id were being performed: what is sent becomes its child."""
    canvas = canvas or {}
    task = app.tasks.get(name) or app.tasks["celery.accumulate"]
    request = Request(
        id=task_id,
        task=name,
        root_id=canvas.get("root_id") or task_id,
        parent_id=canvas.get("parent_id"),
        group=canvas.get("group_id"),
        group_index=canvas.get("group_index"),
        delivery_info={"priority": canvas.get("priority")},
        replaced_task_nesting=canvas.get("replaced_task_nesting", 0),
        called_directly=False,
        args=(),
        kwargs={},
    )
    _task_stack.push(task)
    task.request_stack.push(request)
    try:
        yield request
    finally:
        task.request_stack.pop()
        _task_stack.pop()


def _within_step(app: Celery, step: Any) -> contextlib.AbstractContextManager[Request]:
    return within(app, (step.canvas or {}).get("task_id") or str(step.id), step.canvas, step.skill)


def _send_followers(app: Celery, step: Any, payload: dict[str, Any]) -> None:
    """Send the links and the next part of a chain that are groups, chords or plain tasks."""
    kept = signatures.unpacked(step.canvas.get("follows")) or {}
    value = ledger.unpack(step.output)
    with _within_step(app, step) as request:
        options = {"parent_id": request.id, "root_id": request.root_id}
        if app.conf.task_inherit_parent_priority:
            options["priority"] = request.delivery_info["priority"]
        for index in payload.get("links", []):
            maybe_signature(kept["link"][index], app=app).apply_async((value,), **options)
        if payload.get("chain"):
            chain = kept["chain"]
            maybe_signature(chain[-1], app=app).apply_async((value,), chain=chain[:-1], **options)
        if payload.get("part"):
            request.chord = signatures.unpacked(step.canvas["foreign_chord"])
            app.backend.on_chord_part_return(request, "SUCCESS", value)
        _keep_children(step, request)


def _send_replacement(app: Celery, step: Any, text: str) -> None:
    with _within_step(app, step) as request:
        maybe_signature(signatures.unpacked(text), app=app).apply_async()
        _keep_children(step, request)


def _keep_children(step: Any, request: Request) -> None:
    """Add to a step what was sent for it after its end."""
    if request.children:
        added = Jsonb([child.as_tuple() for child in request.children])
        ledger.ask(
            "UPDATE execution_step SET canvas = coalesce(canvas, '{}') || jsonb_build_object('children', "
            "coalesce(canvas -> 'children', '[]') || %s) "
            "WHERE id = %s AND NOT coalesce(canvas -> 'children' @> %s, false)",
            [added, step.id, added],
        )


def _spread_failure(app: Celery, step: Any) -> None:
    """Call a failed step's error links, and fail the rest of its chain, as Celery's backends do."""
    from execution import results

    backend = app.backend
    error = results.exception_of(backend, step.error, step.state)
    trace = (step.error or {}).get("traceback")
    with _within_step(app, step) as request:
        kept = signatures.unpacked(step.canvas.get("follows")) or {}
        if "foreign_chord" in step.canvas:
            request.chord = signatures.unpacked(step.canvas["foreign_chord"])
            backend.on_chord_part_return(request, "FAILURE", error)
        backend._fail_chain(kept.get("chain"), error, trace)  # noqa: SLF001 - Celery's own
        request.errbacks = _open_error_links(app, request, kept.get("link_error") or [])
        if request.errbacks:
            backend._call_task_errbacks(request, error, trace)  # noqa: SLF001 - Celery's own


def _open_error_links(app: Celery, request: Request, links: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Open the durable error links that take nothing of the error; return the others, which Celery calls."""
    wanting = []
    for link in links:
        if link.get("immutable") and signatures.skill_of(link, app) is not None:
            maybe_signature(link, app=app).apply_async(parent_id=request.id, root_id=request.root_id)
        else:
            wanting.append(link)
    return wanting
