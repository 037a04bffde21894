"""Forks: a new run that goes on from what another one has recorded.

What stands before the mark is copied, renumbered so that it comes before anything that the fork records. Not copied are
waits that nobody has answered, children that have not completed, and late costs: they belong to the first run.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from django.db import transaction

from execution import ids, ledger, openings, runs
from execution.exceptions import NotPossible, RunUnknown
from execution.models import Checkpoint, Effect, Run, Step
from execution.workflows import graph, planning

_VERBS = ("each", "append", "spend", "sleep", "wait", "call", "session", "recall", "remember")


@dataclass(frozen=True, slots=True)
class _Mark:
    """From where on things are done again: a position, a moment, and the loop that begins there."""

    position: int | None
    moment: datetime
    loop: str | None = None


@transaction.atomic
def fork(
    origin: Run,
    step: str | None,
    *,
    given: Mapping[str, Any] | None,
    before: str | None,
    version: str | None,
    by: str,
    reason: str,
) -> Run:
    """Open a fork of a run; see `runs.fork`."""
    origin.refresh_from_db()
    if not Step.objects.filter(pk=origin.id).exists():
        _refuse_part(origin, step, version)
        opened = _fork_graph(origin, step, given, before, version)
        told = {"from": str(origin.id), "step": step, "before": before, "by": by, "reason": reason}
        runs.note("run.forked", opened, told | ({"version": version} if version else {}))
        return opened
    if version is not None:
        raise NotPossible(f"run {origin.id} is of a single skill: only its code holds versions of it")
    source = _step_of(origin, step)
    mark = _mark_of(source, before) if before is not None else None
    task = openings.task_of(source.skill)
    changed = _input_of(task, ledger.unpack(source.input if source.input is not None else origin.input), given)
    template = openings.template_of(
        task,
        agent=origin.agent,
        correlation_id=origin.correlation_id,
        priority=origin.priority,
        queue=source.queue,
        tags=origin.tags,
        budget=_budget_of(origin),
        session=origin.session_id,
    )
    template |= {"forked_from_id": str(origin.id), "root_run_id": str(origin.root_run_id or origin.id)}
    row = openings.open_runs(task, template, [(ids.new(), changed, None)])[0]
    _copy_checkpoints(source, row.run_id, mark)
    _copy_effects(source, row.run_id, mark)
    opened = Run.objects.get(pk=row.run_id)
    runs.note("run.forked", opened, {"from": str(origin.id), "before": before, "by": by, "reason": reason})
    return opened


def _refuse_part(origin: Run, step: str | None, version: str | None) -> None:
    """Refuse to take over results of one version into another."""
    if version is not None and step is not None:
        raise NotPossible(f"run {origin.id} can go back to version {version} from its start only, not from {step!r}")


def _fork_graph(
    origin: Run, step: str | None, given: Mapping[str, Any] | None, before: str | None, version: str | None
) -> Run:
    """Open a run of the workflow, of the same version unless told; what had ended before the step stays."""
    from execution.workflows import catalog

    source = _step_of(origin, step) if step is not None else None
    if source is None and before is not None:
        raise NotPossible(f"say of which step of run {origin.id} {before!r} is a checkpoint: step=..., or --step NAME")
    mark = _mark_of(source, before) if source is not None and before is not None else None
    stored = catalog.find(f"{origin.workflow}@{version or origin.version}")
    inputs = stored.bind_input((), {**ledger.unpack(origin.input)["kwargs"], **(given or {})})
    template = openings.template_of(
        stored,
        agent=origin.agent,
        correlation_id=origin.correlation_id,
        priority=origin.priority,
        tags=origin.tags,
        budget=_budget_of(origin),
    )
    template |= {"forked_from_id": str(origin.id), "root_run_id": str(origin.root_run_id or origin.id)}
    row = openings.open_runs(stored, template, [(ids.new(), inputs, None)])[0]
    if source is not None:
        _keep_ended(origin, row.run_id, {source.name, *_after(stored.definition.needs, source.name)})
        if mark is not None:
            heir = Step.objects.get(run_id=row.run_id, name=source.name)
            _copy_checkpoints(source, heir.id, mark)
            _copy_effects(source, heir.id, mark)
    return Run.objects.get(pk=row.run_id)


def _after(needs: Mapping[str, Any], name: str) -> set[str]:
    """Return the steps that come after one, however far."""
    followers = graph.followers(needs)
    found: set[str] = set()
    waiting = [name]
    while waiting:
        more = set(followers.get(waiting.pop(), ())) - found
        found |= more
        waiting += more
    return found


def _keep_ended(origin: Run, fork_id: Any, again: set[str]) -> None:
    """Let the steps of a fork that had ended in the first run, and are not done again, stand as they ended there."""
    ledger.ask_in_transaction(
        "UPDATE execution_step f SET state = s.state, waiting = '', output = s.output, error = s.error, "
        "version = s.version, started_at = s.started_at, ended_at = s.ended_at, pending_count = 0 "
        "FROM execution_step s WHERE f.run_id = %s AND s.run_id = %s AND s.position = f.position AND s.name = f.name "
        "AND NOT f.name = ANY(%s) AND f.position >= 0 AND f.name <> %s AND (s.state IN ('completed', 'skipped') "
        "OR s.state = 'failed' AND s.options ->> 'on_failure' = 'continue')",
        [fork_id, origin.id, list(again), planning.OUTPUTS],
    )
    ledger.ask_in_transaction(
        "WITH unmet AS (SELECT f.id, count(n.id) FILTER (WHERE d.ended_at IS NULL) AS count FROM execution_step f "
        "LEFT JOIN execution_need n ON n.step_id = f.id LEFT JOIN execution_step d ON d.id = n.needed_id "
        "WHERE f.run_id = %s AND f.ended_at IS NULL GROUP BY f.id) "
        "UPDATE execution_step f SET pending_count = l.count, "
        "state = CASE WHEN l.count = 0 THEN 'ready' ELSE 'blocked' END, "
        "waiting = CASE WHEN l.count = 0 THEN 'capacity' ELSE 'needs' END FROM unmet l WHERE f.id = l.id",
        [fork_id],
    )


def _input_of(task: Any, recorded: dict[str, Any], changes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the first run's input with the changes, checked as a whole."""
    if changes is None:
        return recorded
    names = task.takes_input or inspect.signature(task.run)
    known = dict(zip(names.parameters, recorded["args"], strict=False)) | recorded["kwargs"]
    bound: dict[str, Any] = task.bind_input((), known | dict(changes))
    return bound


def _step_of(run: Run, name: str | None) -> Step:
    steps = Step.objects.filter(run_id=run.id).order_by("position")
    found = steps.first() if name is None else steps.filter(name=name).first()
    if found is None:
        names = list(steps.values_list("name", flat=True))
        near = get_close_matches(name or "", names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"its steps: {', '.join(names)}"
        raise RunUnknown(f"run {run.id} has no step {name!r}; {hint}")
    return found


def _mark_of(source: Step, before: str) -> _Mark:
    """Return where a token stands, whether it is given as the skill says it or as the ledger does."""
    effect = Effect.objects.filter(step_id=source.id, token__in=[before, f"effect:{before}"]).first()
    if effect is not None:
        return _Mark(position=None, moment=effect.intended_at)
    tokens = [before, *(f"{verb}:{before}" for verb in _VERBS), f"wait:{before}:got"]
    found = Checkpoint.objects.filter(step_id=source.id, token__in=tokens).order_by("position").first()
    if found is None:
        raise _no_token(source, before)
    if "]/" in found.token:
        raise NotPossible(
            f"{before!r} stands in an iteration of a loop, and a loop is done again as a whole: fork before its name"
        )
    return _Mark(
        position=found.position, moment=found.saved_at, loop=found.token if found.token.startswith("each:") else None
    )


def _no_token(source: Step, before: str) -> NotPossible:
    recorded = Checkpoint.objects.filter(step_id=source.id, is_scoped=False).order_by("position")
    names = list(recorded.values_list("token", flat=True)[:1000])
    near = get_close_matches(before, [name.rpartition(":")[2] for name in names] + names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; it has recorded {', '.join(names[:20]) or 'nothing'}"
    return NotPossible(f"step {source.name!r} of run {source.run_id} has no checkpoint {before!r}{hint}")


def _budget_of(run: Run) -> dict[str, Any] | None:
    if run.budget_cost is None and run.budget_tokens is None:
        return None
    return {"cost": run.budget_cost, "tokens": run.budget_tokens}


def _copy_checkpoints(source: Step, fork_id: Any, mark: _Mark | None) -> None:
    position, moment, loop = (mark.position, mark.moment, mark.loop) if mark else (None, None, None)
    ledger.ask_in_transaction(
        "INSERT INTO execution_checkpoint "
        "(step_id, token, kind, position, name, is_scoped, epoch, data, size, saved_at) "
        "SELECT %(fork)s, c.token, c.kind, row_number() OVER (ORDER BY c.position), c.name, c.is_scoped, 0, "
        "c.data, c.size, c.saved_at FROM execution_checkpoint c WHERE c.step_id = %(source)s AND c.kind <> 'late' "
        "AND (%(moment)s::timestamptz IS NULL OR CASE WHEN %(position)s::bigint IS NULL "
        "THEN c.saved_at < %(moment)s ELSE c.position < %(position)s END) "
        "AND (%(loop)s::text IS NULL OR NOT starts_with(c.token, %(loop)s || '[')) "
        "AND (c.kind <> 'wait' OR c.token LIKE '%%:got' OR c.token LIKE '%%:late') "
        "AND (c.kind <> 'call' OR EXISTS (SELECT 1 FROM execution_run r WHERE r.parent_step_id = c.step_id "
        "AND r.state = 'completed' AND c.data = convert_to('j\"' || r.id || '\"', 'UTF8')))",
        {"fork": fork_id, "source": source.id, "moment": moment, "position": position, "loop": loop},
    )


def _copy_effects(source: Step, fork_id: Any, mark: _Mark | None) -> None:
    ledger.ask_in_transaction(
        "INSERT INTO execution_effect "
        "(id, step_id, token, key, state, policy, epoch, intent, receipt, intended_at, ended_at) "
        "SELECT execution_uuid7_v1(), %(fork)s, token, key, state, policy, 0, intent, receipt, intended_at, ended_at "
        "FROM execution_effect WHERE step_id = %(source)s AND state = 'done' "
        "AND (%(moment)s::timestamptz IS NULL OR intended_at < %(moment)s) "
        "AND (%(loop)s::text IS NULL OR NOT starts_with(token, %(loop)s || '['))",
        {"fork": fork_id, "source": source.id, "moment": mark and mark.moment, "loop": mark and mark.loop},
    )
