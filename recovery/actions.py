"""Actions: what may be done about a failure, each one verb of execution's, performed in the caller's transaction.

`SuggestionAction` rows are templates that name one of these with its parameters (`recovery/playbook.py`); the evaluator
weighs the rows, an operator or a rule decides, and `perform` does it. What is done and what is recorded about it commit
together, so that nothing is done twice. Incidents perform the same actions on services and skills.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from execution import breakers, budgets, events, runs, skills, words
from execution.exceptions import NotAllowed
from execution.models import Run, RunState, Step, Waiting
from recovery.exceptions import NotFound

FAILED = "failed"
BUDGET, VERSION, EFFECT, AUTONOMY = Waiting.BUDGET.value, Waiting.VERSION.value, Waiting.EFFECT.value, "autonomy"
ANYWHERE = frozenset({FAILED, BUDGET, VERSION, EFFECT, AUTONOMY})
"""How a run can stand: failed, or parked with what it waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What an action is done to: a failed run with its step, or a skill, an agent or a service."""

    run_id: uuid.UUID | None = None
    step_id: uuid.UUID | None = None
    agent_id: uuid.UUID | None = None
    skill: str = ""
    service: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What an action did, in words; and the run that carries on, where it is another."""

    text: str
    recovery_run_id: uuid.UUID | None = None
    details: dict[str, Any] = field(default_factory=dict)


Perform = Callable[..., Done]
"""Takes the target, the parameters by name, and `by` and `reason`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One thing that can be done, in code."""

    name: str
    perform: Perform
    lets_go_on: bool = False
    """Whether a run goes on by it, so that its end tells whether it helped."""
    fits: frozenset[str] = ANYWHERE
    """How the run must stand."""
    is_possible: Callable[[Run], bool] = lambda run: True  # noqa: ARG005 - for most, how it stands says all
    """What the run must be besides."""
    cools: str = "run"
    """What a cool-down is counted for: the run, the skill or the agent."""
    capability: str = ""
    """What must be unlocked, besides `auto_apply_recovery`, for it to be done without a person."""

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """What a template may say, by name."""
        known = inspect.signature(self.perform).parameters
        return {name: one for name, one in known.items() if name not in {"target", "by", "reason"}}

    @property
    def wanted(self) -> list[str]:
        """What a template or a person must say."""
        return [name for name, one in self.parameters.items() if one.default is inspect.Parameter.empty]


KNOWN: dict[str, Verb] = {}


def verb(name: str, **more: Any) -> Callable[[Perform], Perform]:
    """Make a function a verb that templates may name."""

    def register(function: Perform) -> Perform:
        KNOWN[name] = Verb(name=name, perform=function, **more)
        return function

    return register


def named(name: str) -> Verb:
    """Return a verb by its name."""
    known = KNOWN.get(name)
    if known is None:
        near = get_close_matches(name, KNOWN, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(KNOWN))}"
        raise NotFound("verb", repr(name), hint)
    return known


def check(name: str, parameters: Mapping[str, Any], *, whole: bool = True) -> None:
    """Refuse parameters that a verb does not take, and, for the whole of them, those that are missing."""
    known = named(name)
    for word in parameters:
        if word not in known.parameters:
            near = get_close_matches(word, known.parameters, n=1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"it takes {words.listed(list(known.parameters)) or 'none'}"
            )
            raise NotAllowed(f"{name!r} takes no parameter {word!r}; {hint}")
    missing = [word for word in known.wanted if word not in parameters]
    if whole and missing:
        raise NotAllowed(f"{name!r} must be told {words.listed(missing)}: change the parameters, then approve")


def perform(name: str, target: Target, parameters: dict[str, Any], *, by: str, reason: str = "") -> Done:
    """Do it, in the caller's transaction."""
    check(name, parameters)
    return named(name).perform(target, **parameters, by=by, reason=reason)


# Verbs by which a run goes on


@verb("retry", lets_go_on=True, fits=frozenset({FAILED}))
def retry(
    target: Target, *, seconds: float = 0, factor: float = 2, most_seconds: float = 3600, by: str, reason: str
) -> Done:
    """Try the failed step again; each further time on the same run it waits longer, by a stored timer."""
    wait = min(seconds * factor ** _earlier(target), most_seconds)
    run = runs.retry(_run_of(target), by=by, reason=reason, after=wait if wait > 0 else None)
    when = f"in {words.length(wait)}" if wait > 0 else "now"
    return Done(text=f"run {run.id} goes on from its failed step {when}", details={"after_seconds": wait})


@verb("retry_with_input", lets_go_on=True, fits=frozenset({FAILED}))
def retry_with_input(target: Target, *, changes: dict[str, Any], by: str, reason: str) -> Done:
    """Go on in a new run from the failed step, with some of its input changed."""
    opened = runs.fork(_run_of(target), _step_name(target), input=changes, by=by, reason=reason)
    changed = words.listed([repr(name) for name in changes])
    return Done(text=f"run {opened.id} goes on with another {changed}", recovery_run_id=opened.id)


@verb("fall_back", lets_go_on=True, fits=frozenset({FAILED}), capability="auto_route")
def fall_back(target: Target, *, skill: str, by: str, reason: str) -> Done:
    """Try the failed step again; should it fail once more, another skill takes over."""
    run = runs.retry(_run_of(target), by=by, reason=reason, fallback=skill)
    return Done(text=f"run {run.id} goes on, and {skill} takes over if its step fails again")


@verb("open_breaker", lets_go_on=True, fits=frozenset({FAILED}), cools="skill")
def open_breaker(target: Target, *, seconds: float = 300, by: str, reason: str) -> Done:
    """Hold the skill back for so long; the failed run goes on behind its breaker, as the first probe."""
    name = _breaker_of(target)
    breakers.trip(name, seconds=seconds, by=by, reason=reason)
    if target.run_id is not None:
        runs.retry(target.run_id, by=by, reason=reason)
    return Done(text=f"the breaker {name!r} is open for {words.length(seconds)}", details={"breaker": name})


@verb("fork", lets_go_on=True, fits=frozenset({FAILED}))
def fork(target: Target, *, step: str = "", before: str = "", by: str, reason: str) -> Done:
    """Go on in a new run from a step, or from before a token: what was recorded from there on is done again."""
    opened = runs.fork(
        _run_of(target), step or _step_name(target), before=before or None, by=by, reason=reason
    )  # fmt: skip
    return Done(text=f"run {opened.id} goes on from {step or 'the failed step'}", recovery_run_id=opened.id)


def _has_earlier_version(run: Run) -> bool:
    return run.version.isdigit() and int(run.version) > 1


@verb("roll_back", lets_go_on=True, fits=frozenset({FAILED}), is_possible=_has_earlier_version)
def roll_back(target: Target, *, version: str = "", by: str, reason: str) -> Done:
    """Start the run anew under the version of its workflow before this one, or under one that is named."""
    run = runs.get(_run_of(target))
    if not version and not _has_earlier_version(run):
        raise NotAllowed(f"run {run.id} has no version before {run.version!r} of {run.workflow!r} to go back to")
    before = version or str(int(run.version) - 1)
    opened = runs.fork(run, version=before, by=by, reason=reason)
    return Done(text=f"run {opened.id} does it under version {before}", recovery_run_id=opened.id)


@verb("top_up", lets_go_on=True, fits=frozenset({FAILED, BUDGET}))
def top_up(
    target: Target, *, cost: float | str = 0, tokens: int = 0, share: float = 0, by: str, reason: str
) -> Done:  # fmt: skip
    """Raise the run's budget, by amounts or by a share of what it has, and let it go on."""
    run = runs.get(_run_of(target))
    more = Decimal(str(cost)) + (run.budget_cost or 0) * Decimal(str(share))
    more_tokens = tokens + int((run.budget_tokens or 0) * share)
    raised = budgets.top_up(run, cost=more, tokens=more_tokens, by=by, reason=reason)
    if raised.state == RunState.FAILED:
        runs.retry(raised, by=by, reason=reason)
    return Done(text=f"the budget of run {run.id} is raised by {words.money(more)} and {more_tokens:,} tokens")


@verb("resume", lets_go_on=True, fits=frozenset({VERSION}))
def resume(target: Target, *, by: str, reason: str) -> Done:
    """Let a parked run go on, under the version that its skill has now."""
    run = runs.resume(_run_of(target), by=by, reason=reason)
    return Done(text=f"run {run.id} goes on")


# Verbs that leave the run as it is


@verb("pause_skill", cools="skill")
def pause_skill(target: Target, *, by: str, reason: str) -> Done:
    """Hold every step of the skill back until a person lets it go on."""
    name = _breaker_of(target)
    breakers.trip(name, seconds=None, by=by, reason=reason)
    return Done(text=f"{target.skill or name} is paused until its breaker is closed", details={"breaker": name})


@verb("reconfigure", cools="skill", capability="auto_apply_policy")
def reconfigure(
    target: Target,
    *,
    tunable: str,
    value: float,
    subject: str = "",
    timebox: str = "1h",
    most_percent: float = 100,
    by: str,
    reason: str,
) -> Done:
    """Ask for an envelope: a bounded change of one tunable for a time, which can be rolled back."""
    wish = {"tunable": tunable, "value": value, "subject": subject, "timebox": timebox, "most_percent": most_percent}
    _tell("recovery.envelope_wanted", target, wish | {"by": by, "reason": reason})
    return Done(text=f"an envelope is asked for: {tunable} at {value:g} for {timebox}", details=wish)


@verb("lower_autonomy", cools="agent")
def lower_autonomy(target: Target, *, levels: int = 1, by: str, reason: str) -> Done:
    """Ask that the agent may do less alone."""
    _tell("recovery.level_fall_wanted", target, {"levels": levels, "by": by, "reason": reason})
    return Done(text=f"it is asked that the agent falls by {words.counted(levels, 'level')}")


@verb("escalate")
def escalate(target: Target, *, to: str = "", by: str, reason: str) -> Done:
    """Call for a person, by an event that webhooks carry."""
    _tell("recovery.escalated", target, {"to": to, "by": by, "reason": reason})
    return Done(text=f"{to or 'a person'} is called for")


@verb("notify")
def notify(target: Target, *, message: str = "", by: str, reason: str) -> Done:
    """Tell of it, by an event that webhooks carry."""
    _tell("recovery.notified", target, {"message": message, "by": by, "reason": reason})
    return Done(text="it was told")


@verb("manual")
def manual(target: Target, *, instruction: str = "", by: str, reason: str) -> Done:  # noqa: ARG001 - as every verb takes
    """Leave it to a person, who puts right what is wrong and retries the run."""
    return Done(text=instruction or "a person puts it right")


@verb("skip")
def skip(target: Target, *, by: str, reason: str) -> Done:  # noqa: ARG001 - as every verb takes
    """Leave the run as it is."""
    return Done(text="the run is left as it is")


def _run_of(target: Target) -> uuid.UUID:
    if target.run_id is None:
        raise NotAllowed("this action is done to a run, and none is named")
    return target.run_id


def _step_name(target: Target) -> str | None:
    """Return the step's name in its graph; a run of a single skill needs none."""
    if target.step_id is None or target.step_id == target.run_id:
        return None
    return Step.objects.values_list("name", flat=True).get(pk=target.step_id)


def _breaker_of(target: Target) -> str:
    step = Step.objects.filter(pk=target.step_id).first() if target.step_id else None
    if step is None:
        return skills.breaker_of(target.skill)
    if not step.breaker:
        raise NotAllowed(f"the skill {step.skill!r} has no breaker, so that nothing can hold it back; declare one")
    return step.breaker


def _earlier(target: Target) -> int:
    """Return how often the run was recovered before; what is being done now is counted already."""
    from recovery.models import RecoveryCandidate

    if target.run_id is None:
        return 0
    applied = RecoveryCandidate.objects.filter(run_id=target.run_id, applied_at__isnull=False)
    return max(applied.count() - 1, 0)


def _tell(kind: str, target: Target, data: dict[str, Any]) -> None:
    about = {k: v for k, v in {"skill": target.skill, "service": target.service}.items() if v}
    events.note(kind, data | about, run_id=target.run_id, step_id=target.step_id, agent_id=target.agent_id)


def standing(run: Run | None) -> str:
    """Return how a run stands: failed, or what it is parked for; empty where it needs no recovery."""
    if run is None or run.state not in (RunState.FAILED, RunState.PARKED):
        return ""
    return FAILED if run.state == RunState.FAILED else run.waiting
