"""Openings: what a run is opened from, checked before anything is written, and the opening itself.

A template holds what the runs of one opening have in common: the skill's options, the caller's wishes, the policies
that a step keeps. Everything here works inside the caller's own transaction, and nothing is published before that
commits.
"""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import psycopg
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.utils import timezone
from psycopg.types.json import Jsonb

from execution import agents, amounts, conf, doorbell, ledger, texts, values
from execution.durations import Duration, seconds
from execution.exceptions import BudgetTooSmall, LedgerAway, NotPossible, OptionInvalid, SkillUnknown, WorkflowUnknown

if TYPE_CHECKING:
    from execution.models import Agent, Session
    from execution.skills import SkillOptions, SkillTask
    from execution.workflows.catalog import Stored

BATCH = 1000
_KEBAB = re.compile(r"[a-z0-9-]+(@\d+)?")
CHILD_OPTIONS = frozenset({"agent", "priority", "queue", "tags", "deadline"})

Opening = tuple[uuid.UUID, Any, str | None]
"""One run to open: its id, its input, its idempotency key."""

_ensured: set[str] = set()


def task_of(skill: Any) -> SkillTask | Stored:
    """Return what a run is opened of: the skill or the workflow that a name, a class, a task or a definition means."""
    from execution import skills
    from execution.workflows import catalog, spec

    if isinstance(skill, str):
        return _named(skill)
    if isinstance(skill, spec.Definition):
        return catalog.register(skill)
    if isinstance(skill, type) and hasattr(skill, "task"):
        skill = skill.task
    if not isinstance(skill, (skills.SkillTask, catalog.Stored)):
        raise OptionInvalid(
            f"{skill!r:.100} is no skill and no workflow: give its name, or what @skill has made of a function"
        )
    return skill


def _named(name: str) -> SkillTask | Stored:
    """Return the skill of a name, else the workflow; raises SkillUnknown with the nearest of either."""
    from execution import skills
    from execution.workflows import catalog

    try:
        return skills.named(name)
    except SkillUnknown as error:
        if not _KEBAB.fullmatch(name):
            raise
        try:
            return catalog.find(name)
        except WorkflowUnknown as other:
            if error.nearest is None and other.hint.startswith("did you mean"):
                raise other from None
            raise error from None


def template_of(
    task: SkillTask | Stored,
    *,
    agent: str | Agent | None = None,
    correlation_id: str = "",
    start_at: datetime | None = None,
    priority: int | None = None,
    queue: str | None = None,
    tags: Iterable[str] = (),
    budget: Any = None,
    deadline: datetime | Duration | None = None,
    session: Session | uuid.UUID | str | None = None,
    canvas: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what the runs of one opening have in common, as `execution_open` takes it.

    A session that is given is held open until the caller's transaction ends.
    """
    from execution.skills import SkillTask

    options = task.options
    limit = amounts.limit(budget if budget is not None else options.budget, "a budget")
    reserve = amounts.limit(options.reserve, "reserve")
    _check_reserve(task, limit, reserve)
    wishes = {
        "workflow": task.name,
        "version": task.version,
        "agent_id": str(agents.id_of(agent or options.agent or None)),
        "correlation_id": texts.checked("correlation_id", correlation_id),
        "tags": tags_of(tags),
        "start_at": _moment("start_at", start_at),
        "deadline_at": _moment("deadline", _deadline(deadline)),
        "session_id": _session(session),
        "budget_cost": _number(limit.get("cost")),
        "budget_tokens": limit.get("tokens"),
        "canvas": canvas,
    }
    queue = texts.checked("queue", queue, longest=200) if queue else None
    if priority is not None:
        priority = amounts.priority(priority)
    if not isinstance(task, SkillTask):
        return wishes | {"queue": queue, "priority": priority}
    part = step_part(task, options, queue=queue, priority=priority)
    return wishes | part | {"queue": part["queue"] or route(task), "priority": part["priority"] or 0}


def step_part(
    task: SkillTask, options: SkillOptions, *, queue: str | None = None, priority: int | None = None
) -> dict[str, Any]:
    """Return what a step is opened with, as `execution_open` takes it."""
    reserve = amounts.limit(options.reserve, "reserve")
    if options.key and "${" not in options.key:
        _ensure_key(options)
    return {
        "skill": task.name,
        "version": task.version,
        "queue": queue or options.queue or None,
        "priority": priority if priority is not None else options.priority or None,
        "reserve_cost": _number(reserve.get("cost")),
        "reserve_tokens": reserve.get("tokens"),
        "concurrency_key": options.key or None,
        "breaker": task.name if options.breaker is None else options.breaker,
        "capability": options.capability,
        "level": options.level(),
        "lease_seconds": int(seconds(options.lease)) if options.lease is not None else conf.current().lease_seconds,
        "options": options.stored(),
    }


def child_template(
    claim: ledger.Claim,
    skill: Any,
    wishes: Mapping[str, Any],
    *,
    given: Mapping[str, Any] | None = None,
    budget: Any = None,
) -> tuple[dict[str, Any], values.Packed]:
    """Return template and input of a run that a step opens for itself; its budget is carved from its parent's."""
    from execution.skills import SkillTask

    task = task_of(skill)
    more, options = split_wishes(task, wishes, given=given)
    bound = task.bind_input((), {**(given or {}), **more})
    if budget is None:
        budget = task.options.budget or None
    if budget is None and claim.is_limited:
        budget = task.options.reserve or {"cost": 0}
    template = template_of(task, budget=budget, **options)
    if "agent" not in options and not task.options.agent:
        template["agent_id"] = str(claim.agent_id)
    template |= {
        "deadline_at": _earliest(template["deadline_at"], claim.deadline_at.isoformat() if claim.deadline_at else None),
        "correlation_id": claim.correlation_id or str(claim.root_run_id or claim.run_id),
        "parent_step_id": str(claim.step_id),
        "parent_run_id": str(claim.run_id),
        "root_run_id": str(claim.root_run_id or claim.run_id),
        "carved_cost": template["budget_cost"],
        "carved_tokens": template["budget_tokens"],
    }
    if not isinstance(task, SkillTask):
        ledger.keep_blobs(task.plan.packed)
        template = graph_template(task, template, bound)
    return template, values.pack(bound, place=f"the input of {task.name!r}")


def split_wishes(
    task: SkillTask | Stored,
    wishes: Mapping[str, Any],
    known: frozenset[str] = CHILD_OPTIONS,
    *,
    given: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part words given together into the skill's own parameters and the run's options.

    Parameters go first, except those that were given apart.
    """
    mine = set(task.takes_input.parameters) - set(given or {}) if task.takes_input else set()
    options = {name: value for name, value in wishes.items() if name in known and name not in mine}
    return {name: value for name, value in wishes.items() if name not in options}, options


def open_runs(
    task: SkillTask | Stored, template: dict[str, Any], batch: list[Opening], *, ring: bool = True
) -> list[Any]:
    """Open a batch of runs in the caller's transaction; ring for the new ones after its commit."""
    from execution.skills import SkillTask

    if not isinstance(task, SkillTask):
        return [_open_graph(task, template, opening, ring=ring) for opening in batch]
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


def _open_graph(stored: Stored, template: dict[str, Any], opening: Opening, *, ring: bool) -> Any:
    """Open one run of a workflow."""
    run_id, given, key = opening
    place = f"the input of {stored.name!r}"
    packed = values.pack(given, place=place)
    keep_blobs([packed, *stored.plan.packed])
    row = ledger.ask_in_transaction(
        "SELECT * FROM execution_open_v1(%s, %s::uuid[], %b::bytea[], %s::text[], %b::bytea[])",
        [
            Jsonb(graph_template(stored, template, given)),
            [run_id],
            [packed.data],
            [key],
            [values.digest(given, place=place) if key is not None else None],
        ],
    )[0]
    if row.is_new and ring:
        transaction.on_commit(lambda: doorbell.ring_for_runs([row.run_id]), robust=True)
    return row


def graph_template(stored: Stored, template: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the template of one run of a workflow, with its steps; its timebox counts from here."""
    if not conf.current().workflows:
        raise NotPossible(
            f"workflows are switched off here (CELERIAC['workflows']): no run of {stored.name!r} was opened"
        )
    timebox = stored.definition.timebox
    ends = _moment("deadline", timezone.now() + timedelta(seconds=seconds(timebox))) if timebox else None
    steps = stored.plan.steps(given["kwargs"], queue=template["queue"], priority=template["priority"])
    return {
        **template,
        "priority": template["priority"] or 0,
        "deadline_at": _earliest(template["deadline_at"], ends),
        "steps": steps,
        "phases": list(stored.plan.phases),
    }


def _earliest(*moments: str | None) -> str | None:
    return min((one for one in moments if one), key=datetime.fromisoformat, default=None)


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
        transaction.on_commit(lambda: doorbell.publish(rings, task.app), robust=True)


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


def unknown_word(what: str, word: Any, known: Iterable[str]) -> OptionInvalid:
    """Return the error for a word that is not one of those there are, with the nearest of them."""
    names = list(known)
    near = get_close_matches(str(word), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return OptionInvalid(f"{what} is {word!r:.80}, not one of {', '.join(names)}{hint}")


def check_key(key: Any) -> str | None:
    """Return an idempotency key that the ledger can hold."""
    if key is not None and (not isinstance(key, str) or not key):
        raise OptionInvalid(f"key is {key!r:.80}; an idempotency key is text: runs.key_of(...) makes one of any parts")
    return None if key is None else texts.checked("key", key, hint="; runs.key_of(...) makes a short one of any parts")


def tags_of(tags: Iterable[str]) -> list[str]:
    """Return tags as the ledger holds them."""
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise OptionInvalid(f"tags is {tags!r:.80}; write a list, such as [{str(tags or 'weekly')!r:.80}]")
    return [texts.checked("a tag", str(tag), longest=100) for tag in tags]


def route(task: SkillTask) -> str:
    """Return the queue that Celery's own routing gives a task."""
    app = task.app
    own = getattr(task, "queue", None)
    given = {"queue": own} if own else {}
    route = app.amqp.router.route(given, task.name)
    queue = route.get("queue")
    return str(getattr(queue, "name", queue) or app.conf.task_default_queue)


def _check_reserve(task: SkillTask | Stored, limit: dict[str, Any], reserve: dict[str, Any]) -> None:
    for name in ("cost", "tokens"):
        if name in limit and limit[name] < reserve.get(name, 0):
            raise BudgetTooSmall(
                f"the budget of {limit[name]} {name} is below the {reserve[name]} that {task.name!r} reserves for one "
                "attempt: it could never start. Raise the budget, or lower the skill's reserve"
            )


def ensure_key(name: str) -> None:
    """Make the row of a concurrency key that one step at a time may hold, where there is none."""
    from execution.skills import SkillOptions

    _ensure_key(SkillOptions(key=texts.checked("key", name, longest=200)))


def _ensure_key(options: SkillOptions) -> None:
    """Make the row of a concurrency key that is declared, keeping what an operator has set."""
    from execution.models import ConcurrencyKey

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


def _session(session: Session | uuid.UUID | str | None) -> str | None:
    from execution import sessions

    return None if session is None else str(sessions.enter(session))


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
