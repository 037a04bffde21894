"""The steps of an incident: triage, investigation, telling, remediation and verification.

Each part is done once: its verdict, its line in the timeline and what it changes commit together under the step's name,
and a step that is performed again after a crash finds what it has written. Rules decide; where a model is configured it
may name a cause and another action, about which a person decides in any case.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypedDict

from django.db import transaction
from pydantic import BaseModel, Field

from execution import records, skill, words
from execution.context import Context
from execution.exceptions import NotAllowed
from execution.models import Assessment, Verdict
from recovery import advice, conf, incidents, remedies
from recovery.models import Incident, Window
from recovery.occurrences import OWN_PRODUCER
from recovery.remedies import Plan

PROMPT_VERSION = "1"
_LOOKS = 8
_PARTS: dict[str, Any] = {
    "retries": 2,
    "breaker": "",
    "timebox": conf.current().incident_step_seconds,
}


class Triaged(TypedDict):
    """What a triage says."""

    verdict: str
    severity: str


class Investigated(TypedDict):
    """What an investigation says: the probable cause, and what is to be done."""

    verdict: str
    cause: str
    plan: dict[str, Any]
    needs_approval: bool


class Remediated(TypedDict):
    """What was done, and how long is watched until it is verified."""

    verdict: str
    plan: dict[str, Any]
    results: list[dict[str, Any]]
    watch_seconds: float


class Verdicted(TypedDict):
    """The verdict of a step that says no more."""

    verdict: str


class Resolved(TypedDict):
    """Whether it has helped."""

    verdict: str
    is_resolved: bool
    text: str


class Suspicion(BaseModel):
    """What a model is asked about an incident."""

    cause: str = Field(min_length=1, max_length=1000, description="The probable cause, in one or two sentences.")
    action: str = Field("", max_length=100, description="The action to take, one of those listed; empty: none of them.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one step of an incident has come to."""

    action: str
    text: str
    kind: str
    confidence: float | None = None
    model: str = ""
    prompt_version: str = ""
    cost: Decimal = Decimal(0)
    by: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@skill("recovery.incident.triage", **_PARTS)
def triage(ctx: Context, incident: str) -> Triaged:
    """Say how grave it is, and what it rests on."""
    done: Triaged = _once(ctx, incident, "triage", _triaged, parents=_triggers)
    return done


def _triggers(held: Incident) -> list[uuid.UUID]:
    """Return what an incident rests on: the breach, the verdicts of its window, and its snapshot."""
    window = held.window
    found = [held.breach_id, *(window.verdicts if window else []), held.snapshot_id]
    wanted = [key for key in found if key is not None]
    there = {*Verdict.objects.filter(pk__in=wanted).values_list("id", flat=True),
             *Assessment.objects.filter(pk__in=wanted).values_list("id", flat=True)}  # fmt: skip
    return [key for key in dict.fromkeys(wanted) if key in there]


def _triaged(held: Incident) -> Part:
    text = f"{held.severity}: {words.listed(held.services)}"
    return Part(action="escalate", kind="triaged", text=text, data={"severity": str(held.severity)})


@skill("recovery.incident.investigate", **_PARTS)
def investigate(ctx: Context, incident: str, after: str) -> Investigated:
    """Find the probable cause, and what is to be done."""
    found = _found(incidents.get(incident))
    advised = ctx.once("advice", _advice, incident) if conf.current().model else None

    def make(held: Incident) -> Part:
        plan = remedies.plan(held, found)
        if advised and advised["action"] not in ("", plan.action):
            plan = remedies.planned_by_advice(held, found, advised["action"]) or plan
        cause = advised["cause"] if advised else _cause(held, found)
        Incident.objects.filter(pk=held.pk).update(cause=cause)
        asked = f" ({plan.why_asked})" if plan.needs_approval else ""
        audit = {name: advised[name] for name in ("model", "prompt_version")} if advised else {}
        return Part(
            action="defer" if plan.needs_approval else "approve",
            kind="investigated",
            text=f"{cause} To do: {plan}{asked}.",
            cost=Decimal(advised["cost"]) if advised else Decimal(0),
            data={"cause": cause, "plan": plan.stored(), "needs_approval": plan.needs_approval},
            **audit,
        )

    done: Investigated = _once(ctx, incident, "investigate", make, parents=lambda _: [uuid.UUID(after)])
    return done


def _found(held: Incident) -> remedies.Found:
    window = Window.objects.filter(pk=held.window_id).first() if held.window_id else None
    return remedies.found_in(window, held.services[0] if held.services else "")


def _cause(held: Incident, found: remedies.Found) -> str:
    """Return the probable cause by rules: a change near it, else what is needed by all that fails, else the error."""
    window = held.window
    affected = window.details.get("affected", []) if window is not None else []
    first = affected[0]["node"] if affected else (held.services[0] if held.services else "something")
    if found.suspects:
        return f"It began after a change: {found.suspects[0]['text']}."
    if found.error:
        return f"It comes from {first}: {words.one_line(found.error)}."
    return f"It comes from {first}."


def _advice(incident: str) -> dict[str, Any] | None:
    held = incidents.get(incident)
    found = _found(held)
    listed = "\n".join(f"{row.name}: {row.description or row.verb}" for row in remedies.fitting(found))
    question = (
        f"An incident: {held.title}. Summary: {held.summary or 'none yet'}. The most frequent error: {found.error}. "
        f"Changes before: {[one.get('text') for one in found.suspects]}. What probably caused it, and which of these "
        f"actions should be taken?\n{listed}"
    )
    given = advice.ask(question, Suspicion, purpose="incident.investigate", prompt_version=PROMPT_VERSION)
    if given is None:
        return None
    return {
        "cause": given.answer.cause,
        "action": given.answer.action,
        "model": given.model,
        "prompt_version": given.prompt_version,
        "cost": str(given.cost),
    }


@skill("recovery.incident.tell", **_PARTS)
def tell(ctx: Context, incident: str, after: str, stage: str) -> Verdicted:
    """Let those know who want to: an event, which webhooks deliver, and a line in the timeline."""

    def make(held: Incident) -> Part:
        text = _news(held, stage)
        incidents.tell("incident.told", held, stage=stage, text=text)
        return Part(action="flag", kind="told", text=text)

    done: Verdicted = _once(ctx, incident, f"tell_{stage}", make, parents=lambda _: [uuid.UUID(after)])
    return done


def _news(held: Incident, stage: str) -> str:
    if stage == "began":
        return f"{held.title}. {held.summary}".strip()
    latest = held.entries.exclude(kind__in=["told", "comment"]).order_by("-id").first()
    return f"{held.title}: {latest.text if latest else 'ended'}"


@skill("recovery.incident.remediate", **_PARTS)
def remediate(ctx: Context, incident: str, after: str, approval: dict[str, Any] | None = None) -> Remediated:
    """Do what is planned, once; what was done is recorded in the same transaction."""

    def make(held: Incident) -> Part:
        planned = held.entries.get(key="investigate")
        plan = Plan.of(planned.data["plan"])
        by = approval["by"] if approval else incidents.AGENT
        reason = (approval or {}).get("reason") or f"incident {held.pk}: {held.title}"
        results = remedies.carry_out(plan, by=by, reason=reason)
        if results and not any(one["is_done"] or one["is_settled"] for one in results):
            raise NotAllowed(f"{plan} could not be done: {results[0]['text']}")
        return Part(
            action="approve",
            kind="remediated",
            text=f"{plan}: {remedies.told(results)}",
            by=by,
            data={
                "plan": plan.stored(), "results": results, "watch_seconds": conf.current().incident_watch_seconds,
            },
        )  # fmt: skip

    done: Remediated = _once(ctx, incident, "remediate", make, parents=lambda _: [uuid.UUID(after)])
    return done


@skill("recovery.incident.verify", **_PARTS)
def verify(ctx: Context, incident: str, after: str) -> Resolved:
    """Say whether it has helped; where nothing has gone well yet, look again until the step's time is nearly over."""
    for look in range(_LOOKS):
        if _verified(incidents.get(incident)).is_decided:
            break
        ctx.sleep(f"look-{look}", seconds=conf.current().incident_step_seconds / (_LOOKS + 2))

    def make(held: Incident) -> Part:
        found = _verified(held)
        return Part(
            action="approve" if found.is_resolved else "escalate",
            kind="verified",
            text=found.text,
            data={"is_resolved": found.is_resolved, "text": found.text},
        )

    done: Resolved = _once(ctx, incident, "verify", make, parents=lambda _: [uuid.UUID(after)])
    return done


def _verified(held: Incident) -> remedies.Verified:
    done = held.entries.get(key="remediate")
    return remedies.verify(Plan.of(done.data["plan"]), done.data["results"], held.services, done.at)


def _once(
    ctx: Context,
    incident: str,
    name: str,
    make: Callable[[Incident], Part],
    *,
    parents: Callable[[Incident], list[uuid.UUID]],
) -> Any:
    """Do a part in one transaction with its verdict and its entry, or return what it came to before."""
    with transaction.atomic():
        held = Incident.objects.select_for_update().get(pk=incidents.get(incident).pk)
        known = held.entries.filter(key=name).first()
        if known is not None:
            return known.data
        part = make(held)
        verdict = records.judge(
            f"incident_{part.kind}",
            subject=f"incident:{held.pk}",
            action=part.action,
            producer=OWN_PRODUCER,
            confidence=part.confidence,
            reasoning=part.text,
            model=part.model,
            prompt_version=part.prompt_version,
            cost=part.cost,
            parents=parents(held),
            run=ctx.run_id,
            step=ctx.step_id,
        )
        data = part.data | {"verdict": str(verdict.id)}
        incidents.note(held, name, kind=part.kind, text=part.text, by=part.by, verdict=verdict, data=data)
        return data
