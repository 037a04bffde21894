"""The rules by which a run's ending changes what its agent remembers.

A cycle reads the endings of runs by cursor. Each rule that fits one is applied on its own, in a savepoint, and what
became of it is a row: an error in a rule touches neither the run nor any other rule. A rule is applied once for a run,
because its row, the memory and the cursor are written together. In a rule's expressions `item` is what the run
returned, `inputs` is its input, and `steps`, `run` and `state(...)` are as in workflows.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from django.db import transaction

from execution import agents, events, ledger, memory, openings
from execution.cycles import Cycle
from execution.durations import Duration, seconds
from execution.exceptions import CeleriacError, OptionInvalid
from execution.models import (
    Agent,
    Checkpoint,
    Event,
    Memory,
    MemoryRule,
    MemoryUpdate,
    Operation,
    Run,
    Step,
    StepState,
    UpdateOutcome,
)
from execution.models.agents import agent_name
from execution.workflows import templates
from execution.workflows.evaluation import Scope, evaluate
from execution.workflows.expressions import parse

log = structlog.get_logger(__name__)

READER = "execution.memory"
ENDINGS = ("completed", "failed", "cancelled")
LONGEST_LIST = 1000
_PASS_SECONDS = 5.0
_KINDS = frozenset({f"run.{ending}" for ending in ENDINGS})


def set_rule(
    name: str,
    *,
    key: str,
    operation: str = "set",
    path: str = "",
    on: str = "completed",
    condition: str = "",
    agent: str | Agent | None = None,
    workflow: str = "",
    kind: str = "note",
    ttl: Duration | None = None,
    is_enabled: bool = True,
) -> MemoryRule:
    """Make or change a rule; it is applied to runs that end from then on. Refused where it could not be read."""
    if operation not in Operation.values:
        raise openings.unknown_word("a rule's operation", operation, Operation.values)
    if on and on not in ENDINGS:
        raise openings.unknown_word("the ending that a rule is for", on, ENDINGS)
    _check_texts(name, key, kind)
    for text in filter(None, (condition, _place(path))):
        parse(text)
    templates.pieces(key)
    rule, _ = MemoryRule.objects.update_or_create(
        name=name,
        defaults={
            "key": key,
            "operation": operation,
            "path": path,
            "ending": on,
            "condition": condition,
            "agent_id": agents.id_of(agent) if agent else None,
            "workflow": workflow,
            "kind": kind,
            "ttl": None if ttl is None else timedelta(seconds=seconds(ttl, name="ttl")),
            "is_enabled": is_enabled,
        },
    )
    return rule


def _check_texts(name: Any, key: Any, kind: Any) -> None:
    for what, text, longest in (("name", name, 200), ("key", key, 255), ("kind", kind, 50)):
        if not isinstance(text, str) or not 0 < len(text) <= longest or "\0" in text:
            raise OptionInvalid(f"a rule's {what} is text of 1 to {longest} characters, not {text!r:.80}")


# The cycle


def apply_all(pass_seconds: float = _PASS_SECONDS) -> int:
    """Apply the rules to the runs that have ended, and keep what steps could not; returns how many events were read."""
    return events.consume_for(READER, _handle, seconds=pass_seconds)


def _watch(_: dict[str, Any]) -> int:
    return apply_all() + memory.tidy()


WATCH = Cycle(name="execution.memory", period=timedelta(seconds=10), step=_watch, is_atomic=False)


def _handle(found: Sequence[Event]) -> None:
    rules = list(MemoryRule.objects.filter(is_enabled=True))
    for event in found:
        if event.kind in _KINDS and event.run_id is not None:
            _apply_rules(event.run_id, [rule for rule in rules if rule.created_at <= event.at], event)
        elif event.kind == "memory.owed":
            _keep_owed(event)


def _keep_owed(event: Event) -> None:
    """Keep what a step's memory could not take."""
    if event.step_id is None or event.agent_id is None:
        return
    row = Checkpoint.objects.filter(step_id=event.step_id, token=event.data["token"]).first()
    found = ledger.unpack(row.data) if row else None
    if not found or "owed" not in found:
        return
    key, outcome = found["owed"]["key"], UpdateOutcome.APPLIED
    try:
        with transaction.atomic():
            outcome = _kept_late(memory.of_owed(found["owed"]), event.agent_id, event)
    except Exception as raised:  # noqa: BLE001 - one entry must not hold up the others
        outcome = UpdateOutcome.FAILED
        log.warning("memory.owed_failed", step=str(event.step_id), key=key, error=_said(raised))
    _note(event, "remember", outcome, key)


def _kept_late(made: memory.Entry, agent_id: uuid.UUID, event: Event) -> UpdateOutcome:
    """Keep an entry, unless something newer stands under its key."""
    same = Memory.objects.filter(agent_id=agent_id, kind=made.kind, key=made.key)
    if same.filter(updated_at__gt=event.at).exists():
        return UpdateOutcome.SKIPPED
    memory.keep(agent_id, made, run_id=event.run_id)
    return UpdateOutcome.APPLIED


def _apply_rules(run_id: uuid.UUID, rules: Sequence[MemoryRule], event: Event) -> None:
    ending = event.kind.removeprefix("run.")
    workflow = event.data.get("workflow", "")
    fitting = [rule for rule in rules if _fits(rule, ending, workflow, event.agent_id)]
    if not fitting:
        return
    run = Run.objects.prefetch_related("agent").get(pk=run_id)
    applied = MemoryUpdate.objects.filter(run_id=run.id, outcome=UpdateOutcome.APPLIED)
    done = set(applied.values_list("rule_id", flat=True))
    scope = functools.cache(partial(_scope, run))
    for rule in fitting:
        if rule.id not in done:
            _apply_alone(rule, run, scope, event)


def _fits(rule: MemoryRule, ending: str, workflow: str, agent_id: uuid.UUID | None) -> bool:
    return rule.ending in ("", ending) and rule.workflow in ("", workflow) and rule.agent_id in (None, agent_id)


def _apply_alone(rule: MemoryRule, run: Run, scope: Callable[[], Scope], event: Event) -> None:
    """Apply one rule in a savepoint, and write what became of it."""
    key, error = "", ""
    try:
        with transaction.atomic():
            key, outcome = _apply(rule, run, scope())
    except Exception as raised:  # noqa: BLE001 - whatever a result makes of a rule is that rule's row
        outcome, error = UpdateOutcome.FAILED, _said(raised)
        log.warning("memory.rule_failed", rule=rule.name, run=str(run.id), error=error)
    MemoryUpdate.objects.update_or_create(
        run_id=run.id, rule=rule, defaults={"outcome": outcome, "key": key, "error": error, "at": event.at}
    )
    _note(event, rule.operation, outcome, key, rule=rule.name)


def _said(error: Exception) -> str:
    text = str(error) if isinstance(error, CeleriacError) else f"{type(error).__name__}: {error}"
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:2000]


def _note(event: Event, operation: str, outcome: str, key: str, **more: Any) -> None:
    data = {"operation": operation, "outcome": outcome, "key": key, **more}
    events.note("memory.updated", data, run_id=event.run_id, step_id=event.step_id, agent_id=event.agent_id)


def _scope(run: Run) -> Scope:
    """Return what a rule's expressions may name."""
    steps = list(Step.objects.filter(run_id=run.id).order_by("position", "ended_at"))
    results = {step.name: ledger.unpack(step.output) for step in steps if step.state == StepState.COMPLETED}
    last = max(
        (step for step in steps if step.state == StepState.COMPLETED and step.ended_at),
        key=lambda step: (step.position, step.ended_at),
        default=None,
    )
    return Scope(
        inputs=(ledger.unpack(run.input) or {}).get("kwargs", {}),
        steps=results,
        states={step.name: step.state for step in steps},
        run={
            "id": str(run.id), "workflow": run.workflow, "version": run.version, "agent": agent_name(run),
            "key": run.key, "correlation_id": run.correlation_id,
        },
        item=results[last.name] if last else None,
    )  # fmt: skip


# One rule


def _apply(rule: MemoryRule, run: Run, scope: Scope) -> tuple[str, UpdateOutcome]:
    if rule.condition and evaluate(parse(rule.condition), scope) is not True:
        return "", UpdateOutcome.SKIPPED
    key = templates.written(templates.render(rule.key, scope))
    if rule.operation == Operation.EXPIRE:
        _expire(rule, run, key)
        return key, UpdateOutcome.APPLIED
    value = evaluate(parse(_place(rule.path) or "item"), scope) if rule.path or rule.operation != "increment" else 1
    made = memory.entry(_next(rule, run, key, value), key=key, kind=rule.kind, ttl=rule.ttl)
    memory.keep(run.agent_id, made, run_id=run.id)
    return key, UpdateOutcome.APPLIED


def _place(path: str) -> str:
    """Return a path into the result as an expression: `title` and `[0].title` stand in what the run returned."""
    return "" if not path else f"item{path}" if path.startswith("[") else f"item.{path}"


def _next(rule: MemoryRule, run: Run, key: str, value: Any) -> Any:
    """Return what is remembered next, given what is remembered now."""
    if rule.operation == Operation.SET:
        return value
    held = Memory.objects.select_for_update().filter(agent_id=run.agent_id, kind=rule.kind, key=key).first()
    now = ledger.unpack(held.value) if held else None
    if rule.operation == Operation.APPEND:
        if now is not None and not isinstance(now, list):
            raise OptionInvalid(f"the memory {key!r} is no list, so nothing can be appended to it")
        return [*(now or []), value][-LONGEST_LIST:]
    for number in (now or 0, value):
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise OptionInvalid(f"the memory {key!r} counts, and {number!r:.80} is no number")
    return (now or 0) + value


def _expire(rule: MemoryRule, run: Run, key: str) -> None:
    """Let a memory expire, after the rule's time or at once."""
    ledger.ask_in_transaction(
        "UPDATE execution_memory SET expires_at = clock_timestamp() + coalesce(%s, interval '0') "
        "WHERE agent_id = %s AND kind = %s AND key = %s",
        [rule.ttl, run.agent_id, rule.kind, key],
    )
