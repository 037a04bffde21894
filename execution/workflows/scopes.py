"""What a step's expressions may name, looked up in the ledger by who performs the step.

A step of a graph is claimed like any other; only then are the run's inputs and the results that it names read, without
locks. They have ended before it began and do not change, so every attempt sees the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from execution import ledger
from execution.exceptions import ExpressionFailed, Skip
from execution.workflows import evaluation, templates
from execution.workflows.evaluation import Scope

if TYPE_CHECKING:
    from execution.ledger import Claim
    from execution.skills import SkillTask


def given(claim: Claim, task: SkillTask, performer: SkillTask, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the performer of a step is given; raises Skip where the step's condition is not true."""
    look = claim.options.get("graph") or {}
    found = dict(kwargs)
    if "when" in look or look.get("is_template"):
        scope = of(claim)
        if "when" in look and not holds(look["when"], scope):
            raise Skip
        if look.get("is_template"):
            found = task.bind_input((), templates.render(found, scope))["kwargs"]
    if performer is not task and task.name in _OWN:
        found = performer.bind_input((), found.get("given") or {})["kwargs"]
    return found


_OWN = frozenset({"execution.workflow", "execution.approval", "execution.signal", "execution.check"})
"""Skills of our own that do a step's work: a fallback takes what the step was given, not what these are."""


def holds(condition: Any, scope: Scope) -> bool:
    """Tell whether a condition is true; what is neither true nor false is an error that says so."""
    found = templates.render(condition, scope)
    if not isinstance(found, bool):
        text = str(condition).removeprefix("${").removesuffix("}")
        raise ExpressionFailed(text, f"it is {evaluation.kind_of(found)}, and has to be true or false")
    return found


def of(claim: Claim) -> Scope:
    """Return what the expressions of a claimed step may name."""
    look = claim.options.get("graph") or {}
    inputs, run = _of_run(claim) if look.get("run") else ({}, {})
    rows = _needed(claim, look["steps"], look.get("results", [])) if "steps" in look else []
    return Scope(
        inputs=inputs,
        steps={row.name: ledger.unpack(row.output) for row in rows if row.is_wanted and row.state == "completed"},
        states={row.name: row.state for row in rows},
        run=run,
    )


def _of_run(claim: Claim) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a run's inputs, and what else expressions may ask of it."""
    row = ledger.ask(
        "SELECT r.input, r.workflow, r.version, r.key FROM execution_run r WHERE r.id = %s", [claim.run_id]
    )[0]
    about = {
        "id": str(claim.run_id),
        "workflow": row.workflow,
        "version": row.version,
        "agent": claim.agent_name,
        "key": row.key,
        "correlation_id": claim.correlation_id or str(claim.root_run_id or claim.run_id),
    }
    return (ledger.unpack(row.input) or {}).get("kwargs", {}), about


def _needed(claim: Claim, names: list[str], results: list[str]) -> list[Any]:
    return ledger.ask(
        "SELECT s.name, s.state, s.name = ANY(%s) AS is_wanted, CASE WHEN s.name = ANY(%s) THEN s.output END AS output "
        "FROM execution_need n JOIN execution_step s ON s.id = n.needed_id WHERE n.step_id = %s AND s.name = ANY(%s)",
        [results, results, claim.step_id, names],
    )


def gathered(claim: Claim) -> list[Any]:
    """Return the results of a list's entries in order; null for one that was skipped or failed."""
    span = claim.options["items"]
    rows = ledger.ask(
        "SELECT s.output FROM execution_step s WHERE s.run_id = %s AND s.position >= %s AND s.position < %s "
        "ORDER BY s.position",
        [claim.run_id, span["first"], span["first"] + span["count"]],
    )
    return [ledger.unpack(row.output) for row in rows]
