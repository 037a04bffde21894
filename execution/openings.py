"""Openings: what a run is opened from, checked before anything is written, and the opening itself.

A template holds what the runs of one opening have in common: the skill's options, the caller's wishes, the policies
that a step keeps. Everything here works inside the caller's own transaction, and nothing is published before that
commits.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.utils import timezone
from psycopg.types.json import Jsonb

from execution import agents, amounts, conf, doorbell, ledger, texts, values
from execution.durations import Duration, seconds
from execution.exceptions import BudgetTooSmall, LedgerAway, OptionInvalid

if TYPE_CHECKING:
    from execution.models import Agent
    from execution.skills import SkillTask

BATCH = 1000
CHILD_OPTIONS = frozenset({"agent", "priority", "queue", "tags", "deadline"})

Opening = tuple[uuid.UUID, Any, str | None]
"""One run to open: its id, its input, its idempotency key."""

_ensured: set[str] = set()


def task_of(skill: SkillTask | str) -> SkillTask:
    """Return the skill that a name, a class or a task means."""
    from execution import skills

    if isinstance(skill, str):
        return skills.named(skill)
    if isinstance(skill, type) and hasattr(skill, "task"):
        skill = skill.task
    if not isinstance(skill, skills.SkillTask):
        raise OptionInvalid(f"{skill!r:.100} is no skill: give its name, or what @skill has made of a function")
    return skill


def template_of(
    task: SkillTask,
    *,
    agent: str | Agent | None = None,
    correlation_id: str = "",
    start_at: datetime | None = None,
    priority: int | None = None,
    queue: str | None = None,
    tags: Iterable[str] = (),
    budget: Any = None,
    deadline: datetime | Duration | None = None,
    canvas: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what the runs of one opening have in common, as `execution_open` takes it."""
    options = task.options
    limit = amounts.limit(budget if budget is not None else options.budget, "a budget")
    reserve = amounts.limit(options.reserve, "reserve")
    _check_reserve(task, limit, reserve)
    wishes = {
        "correlation_id": texts.checked("correlation_id", correlation_id),
        "priority": amounts.priority(options.priority if priority is None else priority),
        "queue": texts.checked("queue", queue or options.queue or _route(task), longest=200),
        "tags": _tags(tags),
        "start_at": _moment("start_at", start_at),
        "deadline_at": _moment("deadline", _deadline(deadline)),
    }
    if options.key:
        _ensure_key(task)
    return {
        "workflow": task.name,
        "skill": task.name,
        "version": task.version,
        "agent_id": str(agents.id_of(agent or options.agent or None)),
        **wishes,
        "budget_cost": _number(limit.get("cost")),
        "budget_tokens": limit.get("tokens"),
        "reserve_cost": _number(reserve.get("cost")),
        "reserve_tokens": reserve.get("tokens"),
        "concurrency_key": options.key or None,
        "breaker": task.name if options.breaker is None else options.breaker,
        "capability": options.capability,
        "level": options.level(),
        "lease_seconds": int(seconds(options.lease)) if options.lease is not None else conf.current().lease_seconds,
        "options": options.stored(),
        "canvas": canvas,
    }


def child_template(
    claim: ledger.Claim,
    skill: SkillTask | str,
    wishes: Mapping[str, Any],
    *,
    given: Mapping[str, Any] | None = None,
    budget: Any = None,
) -> tuple[dict[str, Any], values.Packed]:
    """Return template and input of a run that a step opens for itself; its budget is carved from its parent's."""
    task = task_of(skill)
    more, options = split_wishes(task, wishes)
    bound = task.bind_input((), {**(given or {}), **more})
    if budget is None:
        budget = task.options.budget or None
    if budget is None and claim.is_limited:
        budget = task.options.reserve or {"cost": 0}
    template = template_of(task, budget=budget, **options)
    if "agent" not in options and not task.options.agent:
        template["agent_id"] = str(claim.agent_id)
    deadlines = [template["deadline_at"], claim.deadline_at.isoformat() if claim.deadline_at else None]
    template |= {
        "deadline_at": min((one for one in deadlines if one), key=datetime.fromisoformat, default=None),
        "correlation_id": claim.correlation_id or str(claim.root_run_id or claim.run_id),
        "parent_step_id": str(claim.step_id),
        "parent_run_id": str(claim.run_id),
        "root_run_id": str(claim.root_run_id or claim.run_id),
        "carved_cost": template["budget_cost"],
        "carved_tokens": template["budget_tokens"],
    }
    return template, values.pack(bound, place=f"the input of {task.name!r}")


def split_wishes(
    task: SkillTask, wishes: Mapping[str, Any], known: frozenset[str] = CHILD_OPTIONS
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part words given together into the skill's own parameters and the run's options; parameters go first."""
    mine = set(task.takes_input.parameters) if task.takes_input else set()
    options = {name: value for name, value in wishes.items() if name in known and name not in mine}
    return {name: value for name, value in wishes.items() if name not in options}, options


def open_runs(task: SkillTask, template: dict[str, Any], batch: list[Opening], *, ring: bool = True) -> list[Any]:
    """Open a batch of runs in the caller's transaction; ring for the new ones after its commit."""
    place = f"the input of {task.name!r}"
    packed = [values.pack(given, place=place) for _, given, _ in batch]
    digests = [values.digest(given, place=place) if key is not None else None for _, given, key in batch]
    keep_blobs(packed)
    room = doorbell.room(template["queue"], len(batch)) if ring and template["start_at"] is None else 0
    rows: list[Any] = []
    for part, is_rung in ((slice(0, room), True), (slice(room, None), False)):
        if batch[part]:
            rows += ledger.ask_in_transaction(
                "SELECT * FROM execution_open_v1(%s, %s::uuid[], %b::bytea[], %s::text[], %b::bytea[])",
                [
                    Jsonb(template | {"is_rung": is_rung}),
                    [run_id for run_id, _, _ in batch[part]],
                    [one.data for one in packed[part]],
                    [key for _, _, key in batch[part]],
                    digests[part],
                ],
            )
    _ring_after_commit(task, template, [row for row in rows[:room] if row.is_new])
    return rows


def _ring_after_commit(task: SkillTask, template: dict[str, Any], rows: list[Any]) -> None:
    rings = [
        doorbell.Ring(
            step_id=row.run_id,
            skill=task.name,
            queue=template["queue"],
            priority=template["priority"],
            canvas=template["canvas"],
        )
        for row in rows
    ]
    if rings:
        transaction.on_commit(partial(doorbell.publish, rings, task.app), robust=True)


def batches(items: Iterable[Opening]) -> Iterator[list[Opening]]:
    """Part openings into batches, of which each is one statement."""
    source = iter(items)
    while batch := list(itertools.islice(source, BATCH)):
        yield batch


def keep_blobs(packed: list[values.Packed]) -> None:
    """Store large values in the caller's transaction."""
    ledger.keep_blobs(packed, asking=ledger.ask_in_transaction)


@contextmanager
def reaching(wish: str) -> Iterator[None]:
    """Say in one error, whichever client raised it, that the database is away: then nothing was written."""
    try:
        yield
    except (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError) as error:
        if not _is_away(error):
            raise
        raise LedgerAway(
            f"the database is away, so the ledger cannot {wish}; nothing was written: try again when it is back "
            f"({str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__})"
        ) from error


def _is_away(error: Exception) -> bool:
    cause = error.__cause__ if isinstance(error, DatabaseError) else error
    state = getattr(cause, "sqlstate", None) or ""
    return not state or state[:2] == "08" or state[:3] == "57P"


def unknown_option(name: str, known: Iterable[str], where: str) -> OptionInvalid:
    """Return the error for an option that does not exist, with the nearest that does."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; it knows {', '.join(names)}"
    return OptionInvalid(f"{where} has no option {name!r}{hint}")


def check_key(key: Any) -> str | None:
    """Return an idempotency key that the ledger can hold."""
    if key is not None and (not isinstance(key, str) or not key):
        raise OptionInvalid(f"key is {key!r:.80}; an idempotency key is text: runs.key_of(...) makes one of any parts")
    return None if key is None else texts.checked("key", key, hint="; runs.key_of(...) makes a short one of any parts")


def _tags(tags: Iterable[str]) -> list[str]:
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise OptionInvalid(f"tags is {tags!r:.80}; write a list, such as [{str(tags or 'weekly')!r:.80}]")
    return [texts.checked("a tag", str(tag), longest=100) for tag in tags]


def _route(task: SkillTask) -> str:
    """Return the queue that Celery's own routing gives a task."""
    app = task.app
    own = getattr(task, "queue", None)
    given = {"queue": own} if own else {}
    route = app.amqp.router.route(given, task.name)
    queue = route.get("queue")
    return str(getattr(queue, "name", queue) or app.conf.task_default_queue)


def _check_reserve(task: SkillTask, limit: dict[str, Any], reserve: dict[str, Any]) -> None:
    for name in ("cost", "tokens"):
        if name in limit and limit[name] < reserve.get(name, 0):
            raise BudgetTooSmall(
                f"the budget of {limit[name]} {name} is below the {reserve[name]} that {task.name!r} reserves for one "
                "attempt: it could never start. Raise the budget, or lower the skill's reserve"
            )


def _ensure_key(task: SkillTask) -> None:
    """Make the row of a concurrency key that the skill declares, keeping what an operator has set."""
    from execution.models import ConcurrencyKey

    options = task.options
    if options.key in _ensured:
        return
    rate = options.rate_parts()
    ConcurrencyKey.objects.get_or_create(
        name=options.key,
        defaults={
            "limit_count": options.key_limit if options.key_limit is not None or rate else 1,
            "rate_count": rate[0] if rate else None,
            "rate_seconds": rate[1] if rate else 1.0,
            "token_count": rate[0] if rate else 0,
        },
    )
    if not connection.in_atomic_block:
        _ensured.add(options.key)


def forget() -> None:
    """Forget which keys are known to be there: for tests, which empty the tables."""
    _ensured.clear()


def _number(value: Any) -> str | None:
    return None if value is None else str(value)


def _moment(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise OptionInvalid(f"{name} is {value!r:.80}; it is a datetime with a time zone")
    if timezone.is_naive(value):
        raise OptionInvalid(f"{name} is {value!r}, which has no time zone; use django.utils.timezone")
    return value.isoformat()


def _deadline(value: datetime | Duration | None) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    length = seconds(value, name="deadline")
    if length <= 0:
        raise OptionInvalid(f"deadline is {value!r}; it lasts longer than nothing")
    return timezone.now() + timedelta(seconds=length)
