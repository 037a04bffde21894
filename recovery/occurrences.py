"""Occurrences: which events of the log tell that something is wrong, or was changed, and where in the topology.

What counts: failed tries, steps and runs, opened breakers, verdicts that do not approve, assessments of drift and
divergence, and changes of services, workflows, skills, tunables, envelopes and levels. What incidents do themselves
does not count: answering trouble is no trouble.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from psycopg.types.json import Jsonb

from execution import ledger, topology
from execution.models import Agent, AssessmentKind, Event, Step, Tier
from recovery import windows
from recovery.models import Occurrence, Severity
from recovery.neighbourhood import NOBODY, Neighbourhood

OWN_WORKFLOW = "incident"
OWN_PRODUCER = "recovery.incidents"
_FAILED = ("step.failed", "step.retrying")
_ENDED = ("step.completed", "step.suspended", *_FAILED)
_MEASURED = frozenset({
    AssessmentKind.DRIFT_SIGNAL, AssessmentKind.TOPOLOGY_DRIFT, AssessmentKind.CONTRACT_DIVERGENCE,
})  # fmt: skip
_VERSIONS_MOST = 10
_KEEP = """
    INSERT INTO recovery_occurrence (id, at, kind, nodes, severity, record_id, run_id, is_change, is_folded, data)
    SELECT x.id, x.at, x.kind, x.nodes, x.severity, x.record_id, x.run_id, x.is_change, false, x.data
    FROM jsonb_to_recordset(%s) AS x(id uuid, at timestamptz, kind text, nodes text[], severity text, record_id uuid,
                                     run_id uuid, is_change boolean, data jsonb)
    ON CONFLICT DO NOTHING"""
_ROLLED_BACK = timedelta(hours=1)
_MESSAGE_MOST = 300

Versions = dict[str, dict[str, str]]
"""The versions of each skill that were seen, and when last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Performed:
    """What is known of a step: its skill, its agent and its workflow."""

    skill: str
    version: str
    agent: str
    workflow: str

    @property
    def nodes(self) -> list[str]:
        """The topology's nodes that it is about."""
        found = [f"skill:{self.skill}", f"agent:{self.agent}"]
        return found if self.workflow == self.skill else [*found, f"workflow:{self.workflow}"]


class Reading:
    """One pass over events: what has to be looked up for them is looked up once."""

    def __init__(self, versions: Versions) -> None:
        """Take the skills' versions as far as they are known; new ones are added."""
        self.versions = versions

    @cached_property
    def around(self) -> Neighbourhood:
        """The topology of this pass."""
        return Neighbourhood(topology.build())

    def near(self, nodes: Iterable[str]) -> frozenset[str]:
        """Return these nodes and those near them; the topology is only built where somebody asks."""
        return self.around.near(nodes)

    def of(self, events: Sequence[Event]) -> list[Occurrence]:
        """Return what these events tell."""
        self._steps = _steps([one.step_id for one in events if one.step_id and one.kind in (*_ENDED, "breaker.opened")])
        self._agents = _agents([one.agent_id for one in events if one.agent_id and one.kind == "run.failed"])
        found = [self._of(one) for one in events]
        return [made for made in found if made is not None] + list(self._new_versions(events))

    def _of(self, event: Event) -> Occurrence | None:
        reader = "_envelope" if event.kind.startswith("envelope.") else _READERS.get(event.kind)
        made: Occurrence | None = getattr(self, reader)(event) if reader else None
        return made

    def _made(
        self, event: Event, kind: str, nodes: Iterable[str], severity: str = Severity.LOW, **more: Any
    ) -> Occurrence:
        named = sorted({one for one in nodes if one != NOBODY})
        about = {"record_id": None, "run_id": None, "is_change": False, "data": {}} | more
        return Occurrence(id=event.id, at=event.at, kind=kind, nodes=named, severity=severity, **about)

    # What goes wrong

    def _failed_step(self, event: Event) -> Occurrence | None:
        step = self._steps.get(event.step_id) if event.step_id else None
        if step is None or step.workflow == OWN_WORKFLOW:
            return None
        nodes = [*step.nodes, *self._only_service(step.skill)]
        error = event.data.get("error") or {}
        data = {
            "skill": step.skill,
            "kind": str(error.get("kind", "unknown")),
            "type": str(error.get("type", "")),
            "message": str(error.get("message", ""))[:_MESSAGE_MOST],
        }
        return self._made(event, event.kind, nodes, self._severity(nodes), run_id=event.run_id, data=data)

    def _failed_run(self, event: Event) -> Occurrence | None:
        name = event.data.get("workflow", "")
        if name == OWN_WORKFLOW:
            return None
        is_skill = not self.around.knows(f"workflow:{name}")
        nodes = [f"skill:{name}" if is_skill else f"workflow:{name}"]
        if event.agent_id in self._agents:
            nodes.append(f"agent:{self._agents[event.agent_id]}")
        if is_skill:
            nodes += self._only_service(name)
        return self._made(event, event.kind, nodes, self._severity(nodes), run_id=event.run_id)

    def _opened_breaker(self, event: Event) -> Occurrence | None:
        step = self._steps.get(event.step_id) if event.step_id else None
        if step is not None and step.workflow == OWN_WORKFLOW:
            return None
        skill = step.skill if step else event.data.get("breaker", "")
        nodes = [f"skill:{skill}", *self._only_service(skill)]
        return self._made(event, event.kind, nodes, _OF_BREAKERS[self._tier(nodes)])

    def _verdict(self, event: Event) -> Occurrence | None:
        record = event.data
        if record["action"] == "approve" or record["producer"].startswith(OWN_PRODUCER):
            return None
        severity = _said_severity(record)
        if severity is None:
            is_grave = record["kind"] == windows.BREACH or record["action"] == "escalate"
            severity = Severity.HIGH if is_grave else Severity.LOW
        return self._made(
            event, f"verdict.{record['kind']}", [record["subject"]], severity, record_id=uuid.UUID(record["id"]),
            run_id=event.run_id, data={"text": str(record.get("reasoning", ""))[:_MESSAGE_MOST]},
        )  # fmt: skip

    def _assessment(self, event: Event) -> Occurrence | None:
        record = event.data
        if record["kind"] not in _MEASURED or not (record.get("data") or {}).get("is_off", True):
            return None
        severity = _said_severity(record) or Severity.LOW
        kind, key = f"assessment.{record['kind']}", uuid.UUID(record["id"])
        return self._made(event, kind, [record["subject"]], severity, record_id=key)

    # What is changed

    def _changed(self, event: Event, kind: str, nodes: Iterable[str], text: str, by: str = "") -> Occurrence:
        return self._made(event, kind, nodes, is_change=True, data={"text": text, "by": by})

    def _declared(self, event: Event) -> Occurrence:
        data = event.data
        text = "is declared" if data["is_new"] else f"has changed: {', '.join(data['fields'])}"
        node = f"service:{data['service']}"
        return self._changed(event, event.kind, [node], f"{data['service']} {text}", data["by"])

    def _registered(self, event: Event) -> Occurrence:
        data = event.data
        text = f"version {data['version']} of workflow {data['workflow']}"
        return self._changed(event, event.kind, [f"workflow:{data['workflow']}"], text, data["by"])

    def _tuned(self, event: Event) -> Occurrence:
        data = event.data
        nodes = [one for one in [f"skill:{data['subject']}"] if self.around.knows(one)]
        text = f"{data['tunable']} from {data['before']} to {data['after']}"
        return self._changed(event, event.kind, nodes, text, data["by"])

    def _envelope(self, event: Event) -> Occurrence:
        subject = str(event.data.get("subject", ""))
        return self._changed(event, event.kind, [subject] if ":" in subject else [], str(event.data)[:_MESSAGE_MOST])

    def _of_agent(self, event: Event) -> Occurrence:
        names = _agents([event.agent_id] if event.agent_id else [])
        return self._changed(event, event.kind, [f"agent:{name}" for name in names.values()], str(event.data))

    def _new_versions(self, events: Sequence[Event]) -> Iterable[Occurrence]:
        """Yield a change for each skill that was performed in a version that is new, or that has come back."""
        for event in events:
            step = self._steps.get(event.step_id) if event.step_id and event.kind in _ENDED else None
            if step is not None and step.version and self._is_new_version(step, event.at):
                made = self._changed(
                    event, "skill.version_changed", [f"skill:{step.skill}"], f"{step.skill} is {step.version} now"
                )
                made.id = uuid.uuid5(event.id, made.kind)
                yield made

    def _is_new_version(self, step: Performed, at: datetime) -> bool:
        known = self.versions.setdefault(step.skill, {})
        before, newest = known.get(step.version, ""), max(known.values(), default="")
        known[step.version] = max(before, windows.stamp(at))
        for name in sorted(known, key=lambda one: known[one])[:-_VERSIONS_MOST]:
            del known[name]
        return before < newest and before < windows.stamp(at - _ROLLED_BACK)

    # What is looked up

    def _only_service(self, skill: str) -> list[str]:
        """Return the service that a skill calls; of several nobody knows which one failed."""
        found = self.around.services_of(skill)
        return found if len(found) == 1 else []

    def _tier(self, nodes: Iterable[str]) -> Tier:
        tiers = self.around.tiers(nodes)
        return next((tier for tier in Tier if tier in tiers), Tier.STANDARD)

    def _severity(self, nodes: Iterable[str]) -> Severity:
        return Severity.HIGH if self._tier(nodes) == Tier.CRITICAL else Severity.LOW


_READERS = {
    "step.failed": "_failed_step",
    "step.retrying": "_failed_step",
    "run.failed": "_failed_run",
    "breaker.opened": "_opened_breaker",
    "verdict.given": "_verdict",
    "assessment.made": "_assessment",
    "service.declared": "_declared",
    "workflow.registered": "_registered",
    "tunable.set": "_tuned",
    "tunable.reset": "_tuned",
    "agent.level_changed": "_of_agent",
}
_OF_BREAKERS = {Tier.CRITICAL: Severity.CRITICAL, Tier.STANDARD: Severity.HIGH, Tier.LOW: Severity.LOW}


def keep(found: Iterable[Occurrence]) -> None:
    """Keep occurrences until they are folded, once each, in one statement: a storm brings thousands."""
    rows = [
        {
            "id": str(one.id), "at": windows.stamp(one.at), "kind": one.kind, "nodes": one.nodes,
            "severity": one.severity, "record_id": _text(one.record_id), "run_id": _text(one.run_id),
            "is_change": one.is_change, "data": one.data,
        }
        for one in found
    ]  # fmt: skip
    if rows:
        ledger.ask_in_transaction(_KEEP, [Jsonb(rows)])


def _text(key: uuid.UUID | None) -> str | None:
    return None if key is None else str(key)


def _said_severity(record: dict[str, Any]) -> Severity | None:
    said = (record.get("data") or {}).get("severity")
    return Severity(said) if said in Severity.values else None


def _steps(keys: list[uuid.UUID]) -> dict[uuid.UUID, Performed]:
    rows = Step.objects.filter(pk__in=keys).values_list("id", "skill", "version", "agent__name", "run__workflow")
    return {
        key: Performed(skill=skill, version=version, agent=agent, workflow=workflow)
        for key, skill, version, agent, workflow in rows
    }


def _agents(keys: list[uuid.UUID]) -> dict[uuid.UUID, str]:
    return dict(Agent.objects.filter(pk__in=set(keys)).values_list("id", "name")) if keys else {}
