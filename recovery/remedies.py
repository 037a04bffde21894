"""Remedies: which action answers an incident, by rules over what was found, and whether it has helped.

The actions are the templates that candidates are answered with, `SuggestionAction`: one is safe, and done without
asking, where its risk is low, it needs no approval and its cool-down is over. Where no template fits, a person is asked
to put it right, and approves when that is done.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from django.db import transaction

from execution import ledger, words
from execution.exceptions import CeleriacError
from execution.models import Agent, Run, RunState, Step, StepState
from recovery import actions, correlation
from recovery.actions import Target
from recovery.models import Incident, IncidentEntry, Risk, SuggestionAction, Window

MANUAL = "manual"
Aim = Literal["runs", "skills", "agents"]
_TARGETS_MOST = 200
_TRANSIENT = ("transient", "resource", "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an investigation knows: which skills and agents, with which kind of error, and what was changed before."""

    skills: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    error_kind: str = ""
    error: str = ""
    runs: tuple[uuid.UUID, ...] = ()
    suspects: tuple[dict[str, Any], ...] = ()
    is_breach: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When which verbs are thought of, in this order, and what they are done to."""

    name: str
    holds: Callable[[Found], bool]
    verbs: tuple[str, ...]
    aim: Aim


RULES = (
    Rule(
        name="an agent does not keep its objective",
        holds=lambda found: found.is_breach and bool(found.agents),
        verbs=("lower_autonomy",),
        aim="agents",
    ),
    Rule(
        name="what failed for a time may succeed again",
        holds=lambda found: bool(found.runs) and found.error_kind in _TRANSIENT,
        verbs=("retry",),
        aim="runs",
    ),
    Rule(
        name="a workflow fails for good since its new version",
        holds=lambda found: bool(found.runs) and any(one["kind"] == "workflow.registered" for one in found.suspects),
        verbs=("roll_back",),
        aim="runs",
    ),
    Rule(
        name="a skill fails for good",
        holds=lambda found: bool(found.skills),
        verbs=("pause_skill", "open_breaker"),
        aim="skills",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done about an incident, and why."""

    action: str
    verb: str = ""
    version: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)
    aim: str = ""
    targets: tuple[str, ...] = ()
    rule: str = ""
    risk: str = Risk.HIGH
    needs_approval: bool = True
    why_asked: str = ""
    """Why a person must decide; empty: nobody need."""

    @classmethod
    def of(cls, data: dict[str, Any]) -> Plan:
        """Return a plan as it was stored."""
        return cls(**(data | {"targets": tuple(data["targets"])}))

    def stored(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        return asdict(self) | {"targets": list(self.targets)}

    def __str__(self) -> str:
        if self.action == MANUAL:
            return "put it right by hand, then approve"
        noun = words.counted(len(self.targets), {"runs": "run", "skills": "skill", "agents": "agent"}[self.aim])
        shown = "" if self.aim == "runs" else f": {words.listed(list(self.targets))}"
        return f"{self.action} {noun}{shown}"


def found_in(window: Window | None, subject: str = "") -> Found:
    """Return what a window tells; without one, what a breach's subject does."""
    nodes = list(window.services) if window is not None else [subject]
    details = window.details if window is not None else {}
    errors = sorted(details.get("errors", {}).items(), key=lambda one: (-one[1]["count"], one[0]))
    failing = list(dict.fromkeys(key.split("|")[0] for key, _ in errors))
    most = errors[0] if errors else ("||", {"message": ""})
    return Found(
        skills=tuple(failing),
        agents=tuple(one.removeprefix("agent:") for one in nodes if one.startswith("agent:")),
        error_kind=most[0].split("|")[1],
        error=most[1]["message"],
        runs=tuple(map(uuid.UUID, details.get("runs", []))),
        suspects=tuple(details.get("suspects", [])),
        is_breach=window is None or window.breach_at is not None,
    )


def plan(incident: Incident, found: Found) -> Plan:
    """Return what the first rule that holds says is to be done, by the template that fits best."""
    for rule in RULES:
        if rule.holds(found):
            for verb in rule.verbs:
                template = _template(verb, found)
                if template is not None:
                    return _planned(incident, rule, template, found)
    return Plan(action=MANUAL, why_asked="no action fits what was found")


def fitting(found: Found) -> list[SuggestionAction]:
    """Return the templates that may be named for what was found."""
    verbs = [verb for rule in RULES if rule.holds(found) for verb in rule.verbs]
    return [template for verb in verbs if (template := _template(verb, found)) is not None]


def planned_by_advice(incident: Incident, found: Found, name: str) -> Plan | None:
    """Return the plan of another template that fits, as a model has named it: a person decides about it in any case."""
    for template in fitting(found):
        if template.name == name:
            rule = next(rule for rule in RULES if template.verb in rule.verbs and rule.holds(found))
            made = _planned(incident, rule, template, found)
            return Plan.of(made.stored() | {"needs_approval": True, "why_asked": "a model has chosen it"})
    return None


def safe() -> list[SuggestionAction]:
    """Return the actions that incidents take without asking."""
    rows = SuggestionAction.objects.filter(
        is_enabled=True, is_automated=True, needs_approval=False, risk=Risk.LOW
    ).order_by("name")
    return [row for row in rows if row.verb in VERIFIED]


def _template(verb: str, found: Found) -> SuggestionAction | None:
    if verb not in actions.KNOWN:
        return None
    rows = SuggestionAction.objects.filter(verb=verb, is_enabled=True).order_by("-weight", "name")
    fits = (row for row in rows if _fits(row, found))
    return next(fits, None)


def _fits(row: SuggestionAction, found: Found) -> bool:
    is_kind = not row.error_kinds or not found.error_kind or found.error_kind in row.error_kinds
    return is_kind and (not row.skills or not found.skills or bool({*row.skills} & {*found.skills}))


def _planned(incident: Incident, rule: Rule, template: SuggestionAction, found: Found) -> Plan:
    everyone = {"runs": [str(run) for run in found.runs], "skills": found.skills, "agents": found.agents}[rule.aim]
    made = Plan(
        action=template.name,
        verb=template.verb,
        version=template.version,
        parameters=template.parameters,
        aim=rule.aim,
        targets=tuple(everyone[:_TARGETS_MOST]),
        rule=rule.name,
        risk=template.risk,
    )
    why = _why_asked(incident, template, made)
    return Plan.of(made.stored() | {"needs_approval": bool(why), "why_asked": why})


def _why_asked(incident: Incident, template: SuggestionAction, made: Plan) -> str:
    """Return why a person must decide, or nothing where the action is safe."""
    if not template.is_automated or template.needs_approval:
        return f"{template.name} needs an approval"
    if template.risk != Risk.LOW:
        return f"{template.name} is of {template.risk} risk"
    if _is_hot(incident, template, made):
        return f"{template.name} was done within the last {words.length(template.cooldown_seconds)}"
    return ""


def _is_hot(incident: Incident, template: SuggestionAction, made: Plan) -> bool:
    """Tell whether the same was done to one of the same targets within the action's cool-down."""
    earlier = IncidentEntry.objects.filter(kind="remediated", data__plan__action=template.name)
    earlier = earlier.filter(at__gt=_now() - timedelta(seconds=template.cooldown_seconds))
    return any({*entry.data["plan"]["targets"]} & {*made.targets} for entry in earlier.exclude(incident=incident)[:500])


# Doing it


def carry_out(plan: Plan, *, by: str, reason: str) -> list[dict[str, Any]]:
    """Do what is planned to each target, each in a savepoint, and return what became of each."""
    return [_done(plan, target, by=by, reason=reason) for target in plan.targets] if plan.verb else []


def told(results: Sequence[dict[str, Any]]) -> str:
    """Say to how many it was done."""
    if not results:
        return "done by hand"
    settled = sum(one["is_settled"] for one in results)
    rest = f", {settled} needed it no more" if settled else ""
    return f"done to {sum(one['is_done'] for one in results)} of {len(results)}{rest}"


def _done(plan: Plan, name: str, *, by: str, reason: str) -> dict[str, Any]:
    if plan.aim == "runs" and not Run.objects.filter(pk=name, state=RunState.FAILED).exists():
        return {"target": name, "is_done": False, "is_settled": True, "text": "it does not stand failed any more"}
    try:
        with transaction.atomic():
            done = actions.perform(plan.verb, _target(plan.aim, name), plan.parameters, by=by, reason=reason)
    except CeleriacError as error:
        return {"target": name, "is_done": False, "is_settled": False, "text": str(error)}
    carrier = str(done.recovery_run_id) if done.recovery_run_id else None
    return {"target": name, "is_done": True, "is_settled": False, "text": done.text, "run": carrier}


def _target(aim: str, name: str) -> Target:
    if aim == "skills":
        return Target(skill=name)
    if aim == "agents":
        return Target(agent_id=Agent.objects.filter(name=name).values_list("id", flat=True).first())
    run = Run.objects.get(pk=name)
    step = Step.objects.filter(run_id=run.id, state=StepState.FAILED).order_by("-ended_at").first()
    return Target(
        run_id=run.id, step_id=step.id if step else None, agent_id=run.agent_id, skill=step.skill if step else ""
    )


# Has it helped?


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Whether a remediation has helped, and how that was seen."""

    is_resolved: bool
    text: str
    is_decided: bool = True
    """Whether looking again later could not tell more: where nothing has gone well yet, nothing is known."""


def verify(plan: Plan, results: Sequence[dict[str, Any]], nodes: Sequence[str], since: datetime) -> Verified:
    """Tell whether what was done has held, and whether anything has failed since."""
    held = VERIFIED.get(plan.verb, _held_nothing)(results)
    if held.is_decided and not held.is_resolved:
        return held
    if correlation.is_trouble_since(nodes, since):
        return Verified(is_resolved=False, text=f"{held.text}; it still fails")
    return replace(held, text=f"{held.text}; nothing has failed since")


def _held_nothing(results: Sequence[dict[str, Any]]) -> Verified:
    return Verified(is_resolved=True, text=told(results))


def _runs_went_on(results: Sequence[dict[str, Any]]) -> Verified:
    wanted = [one.get("run") or one["target"] for one in results if one["is_done"] or one["is_settled"]]
    states = list(Run.objects.filter(pk__in=wanted).values_list("state", flat=True))
    failed, completed = states.count(RunState.FAILED), states.count(RunState.COMPLETED)
    text = f"{completed} of {words.counted(len(states), 'run')} completed, {failed} failed again"
    return Verified(is_resolved=completed > 0 and failed == 0, text=text, is_decided=completed > 0 or failed > 0)


VERIFIED: dict[str, Callable[[Sequence[dict[str, Any]]], Verified]] = {
    "retry": _runs_went_on,
    "lower_autonomy": _held_nothing,
    "roll_back": _runs_went_on,
    "pause_skill": _held_nothing,
    "open_breaker": _held_nothing,
}
"""How each verb is verified, beside that nothing fails any more."""

_OF_RUNS = "a run has completed, none has failed again, and nothing fails any more"
VERIFICATION = {
    verb: _OF_RUNS if held is _runs_went_on else "nothing fails any more" for verb, held in VERIFIED.items()
}


def _now() -> datetime:
    found: datetime = ledger.ask_in_transaction("SELECT clock_timestamp() AS now")[0].now
    return found
