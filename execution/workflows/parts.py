"""The skills that a graph is held together by: lists, gates, sleeps, sub-workflows and outputs.

They are skills like any other, performed under a claim and resumed after a crash. None of them holds a worker while it
waits.
"""

from __future__ import annotations

from typing import Any

from execution import ledger, performing, skill, words
from execution.durations import seconds
from execution.exceptions import GateClosed, GateRefused, GateTimedOut, OptionInvalid, Suspend, WaitTimeout
from execution.workflows import catalog, evaluation, gates, planning, scopes

MOST_ENTRIES = 100_000


@skill("execution.foreach", retries=0, breaker="")
def foreach(items: Any) -> list[Any]:
    """Spread over the entries of a list, then gather what they returned, in order."""
    claim = performing.claimed()
    if "items" in claim.options:
        return scopes.gathered(claim)
    if not isinstance(items, list):
        raise OptionInvalid(f"step {claim.step_name!r} goes through a list, and was given {evaluation.kind_of(items)}")
    if len(items) > MOST_ENTRIES:
        raise OptionInvalid(
            f"the list of step {claim.step_name!r} has {len(items):,} entries, more than {MOST_ENTRIES:,}: "
            "a job takes millions (docs/jobs.md)"
        )
    if not items:
        return []
    parts, packed = planning.entries(claim, items, scopes.of(claim))
    ledger.keep_blobs(packed)
    raise Suspend("needs", spread={"steps": parts, "limit": claim.options["graph"]["each"]["limit"]})


@skill("execution.sleep", retries=0, breaker="")
def sleep(ctx: Any, length: float | str) -> None:
    """Rest without holding a worker."""
    ctx.sleep("sleep", seconds=seconds(length, name="the length of a sleep"))


@skill("execution.workflow", retries=0, breaker="")
def workflow(ctx: Any, workflow: str, given: dict[str, Any], wishes: dict[str, Any] | None = None) -> Any:
    """Run another workflow as one step, and return what it returns."""
    stored = catalog.find(workflow)
    options = dict(wishes or {})
    if "timebox" in options:
        options["deadline"] = options.pop("timebox")
    budget = options.pop("budget", None)
    return ctx.call(stored, stored.definition.bind(given), budget=budget, **options)


@skill("execution.approval", retries=0, breaker="")
def approval(
    ctx: Any, who: list[str] | None = None, given: dict[str, Any] | None = None, timeout: float | None = None
) -> dict[str, Any]:
    """Wait until somebody who may do so approves; a refusal fails the step."""
    name = performing.claimed().step_name
    ctx.once("asked", lambda: {"who": who or [], "given": given or {}})
    try:
        answer = ctx.wait_for(gates.signal_name(name), timeout=timeout)
    except WaitTimeout:
        raise GateTimedOut(name, who or [], words.length(seconds(timeout or 0))) from None
    if not answer["approved"]:
        raise GateRefused(name, answer["by"], answer["reason"])
    return dict(answer)


@skill("execution.signal", retries=0, breaker="")
def signal(ctx: Any, signal: str, timeout: float | None = None) -> Any:
    """Wait for a signal from outside, and return what it brought."""
    return ctx.wait_for(signal, timeout=timeout)


@skill("execution.check", retries=0, breaker="")
def check() -> None:
    """Let the run go on only where something is true."""
    claim = performing.claimed()
    condition = claim.options["graph"]["check"]
    if not scopes.holds(condition, scopes.of(claim)):
        raise GateClosed(claim.step_name, str(condition))


@skill("execution.outputs", retries=0, breaker="")
def outputs(values: dict[str, Any]) -> dict[str, Any]:
    """Return what the run returns."""
    return values
