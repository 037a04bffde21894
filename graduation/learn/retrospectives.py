"""Retrospectives: what an incident or a snapshot looks like afterwards, written once each, with what should change.

A source is an incident that has ended, or a snapshot about which no incident was opened. Its assessment, its
recommendations and the row that says it was looked back on commit together, so a pass that dies leaves none or all.
Topology and counts are read before that transaction. Locks: the row of the source, by its key.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from execution import conf, ledger, records, topology, words
from execution.cycles import Cycle
from execution.exceptions import CeleriacError
from execution.models import Agent, Assessment, AssessmentKind, Verdict
from graduation.learn import policies, recommending
from graduation.learn.recommending import Advised, Trouble
from graduation.models import Case, CaseState, Recommendation, Retrospective
from recovery.models import Incident, IncidentState, Window

log = structlog.get_logger(__name__)

PRODUCER = "graduation.retrospectives"
_MOST = 20
_LINES_MOST = 200
_DECISIONS_MOST = 1000
_NAMED_MOST = 50
_INCIDENT_WAIT = timedelta(minutes=2)
"""A snapshot waits so long for the incident that may be opened about it."""
_RETRY_WAIT = timedelta(hours=24)
"""An incident that failed waits so long for somebody who goes on with it."""


def look_back() -> int:
    """Look back on what has ended since; returns on how much."""
    incidents = [_alone(f"incident:{one.pk}", lambda one=one: of_incident(one)) for one in _incidents()]
    snapshots = [_alone(f"snapshot:{one.pk}", lambda one=one: of_snapshot(one)) for one in _snapshots()]
    return sum([*incidents, *snapshots])


def _alone(source: str, verb: Any) -> bool:
    """Look back on one source; what goes wrong with one is told and stops no other."""
    try:
        return verb() is not None
    except Exception:
        log.exception("retrospectives.failed", source=source)
        return False


def _incidents() -> list[Incident]:
    """Return the incidents that have ended for good and were not looked back on."""
    ended = Q(state__in=[IncidentState.RESOLVED, IncidentState.CLOSED])
    ended |= Q(state=IncidentState.FAILED, ended_at__lt=Now() - _RETRY_WAIT)
    found = Incident.objects.filter(ended, ended_at__gt=Now() - _kept()).select_related("window")
    return list(_new(found, "incident:"))


def _snapshots() -> list[Assessment]:
    """Return the snapshots about which there is no incident and that were not looked back on."""
    found = Assessment.objects.filter(
        kind=AssessmentKind.CORRELATION_SNAPSHOT,
        created_at__lt=Now() - _INCIDENT_WAIT,
        created_at__gt=Now() - _kept(),
    )
    answered = Incident.objects.filter(Q(snapshot_id__isnull=False)).values("snapshot_id")
    windows = Window.objects.answered().filter(snapshot_id__isnull=False).values("snapshot_id")
    return list(_new(found.exclude(pk__in=answered).exclude(pk__in=windows), "snapshot:"))


def _new(rows: Any, prefix: str) -> Any:
    """Return the oldest rows that have no retrospective."""
    table = rows.model._meta.db_table  # noqa: SLF001 - Django's documented name
    known = f"NOT EXISTS (SELECT 1 FROM graduation_retrospective r WHERE r.source = %s || {table}.id)"  # noqa: S608 - ours
    return rows.extra(where=[known], params=[prefix]).order_by("pk")[:_MOST]  # noqa: S610 - ours


def _kept() -> timedelta:
    return timedelta(days=conf.current().assessment_days)


# What they say


def of_incident(incident: Incident) -> Assessment | None:
    """Look back on an incident, once; None where that was done."""
    window = incident.window
    start = window.started_at if window is not None else incident.opened_at
    end = incident.ended_at or ledger.ask_in_transaction("SELECT clock_timestamp() AS now")[0].now
    trouble = _trouble(window, tuple(incident.services), start, end)
    entries = incident.entries.order_by("id")[:_LINES_MOST]
    lines = [{"at": one.at, "kind": one.kind, "text": one.text, "by": one.by} for one in entries]
    further = Window.objects.taken_in_by(incident).values_list("snapshot_id", flat=True)
    triggers = [incident.snapshot_id, *further, incident.breach_id, *(window.verdicts if window is not None else [])]
    return _write(
        f"incident:{incident.pk}",
        subject=f"incident:{incident.pk}",
        trouble=trouble,
        rests_on=[*triggers, *(one.verdict_id for one in entries)],
        data={
            "title": incident.title,
            "state": str(incident.state),
            "severity": str(incident.severity),
            "cause": incident.cause or incident.summary,
            "timeline": lines,
        },
    )


def of_snapshot(snapshot: Assessment) -> Assessment | None:
    """Look back on a snapshot, once; None where that was done."""
    window = Window.objects.filter(snapshot_id=snapshot.pk).first()
    start = snapshot.window_start_at or snapshot.created_at
    end = snapshot.window_end_at or snapshot.created_at
    affected = snapshot.data.get("affected", [])
    nodes = tuple(one["node"] for one in affected) or (snapshot.subject,)
    lines = [{"at": one["first_at"], "kind": "affected", "text": one["node"], "by": ""} for one in affected]
    return _write(
        f"snapshot:{snapshot.pk}",
        subject=snapshot.subject,
        trouble=_trouble(window, nodes, start, end, snapshot.data),
        rests_on=[snapshot.pk],
        data={
            "title": words.listed(list(nodes)),
            "state": "ended",
            "severity": snapshot.data.get("severity", ""),
            "cause": snapshot.data.get("summary", ""),
            "timeline": lines[:_LINES_MOST],
        },
    )


def _trouble(
    window: Window | None, nodes: tuple[str, ...], start: datetime, end: datetime, said: dict[str, Any] | None = None
) -> Trouble:
    details = window.details if window is not None else (said or {})
    affected = details.get("affected", [])
    ordered = [one["node"] for one in affected]
    return Trouble(
        nodes=tuple(dict.fromkeys([*ordered, *nodes])),
        start=start,
        end=max(start, end),
        first_at={one["node"]: one["first_at"] for one in affected},
        errors=details.get("errors", {}),
        suspects=tuple(details.get("suspects", [])),
    )


def _write(
    source: str, *, subject: str, trouble: Trouble, rests_on: Iterable[uuid.UUID | None], data: dict[str, Any]
) -> Assessment | None:
    """Write a retrospective with its recommendations, unless somebody was faster."""
    decisions = _decisions(trouble)
    advised = recommending.recommend(trouble)
    found = data | {
        "source": source,
        "duration_seconds": (trouble.end - trouble.start).total_seconds(),
        "affected": list(trouble.nodes),
        "suspects": list(trouble.suspects),
        "blast_radius": _blast(trouble.nodes),
        "decisions_affected": len(decisions),
        "decisions": [str(key) for key in decisions[:_NAMED_MOST]],
        "outcome_coverage": _coverage(decisions),
        "recommendations": [asdict(one) for one in advised],
    }
    with transaction.atomic():
        row, is_new = Retrospective.objects.get_or_create(source=source, defaults={"assessment_id": uuid.UUID(int=0)})
        if not is_new:
            return None
        made = records.assess(
            AssessmentKind.RETROSPECTIVE,
            subject=subject,
            producer=PRODUCER,
            window=(trouble.start, trouble.end),
            parents=_there(rests_on),
            data=found,
        )
        Retrospective.objects.filter(pk=row.pk).update(assessment_id=made.id)
        for one in advised:
            _recommend(made, one)
    log.info("retrospectives.written", source=source, recommendations=len(advised))
    return made


def _recommend(made: Assessment, one: Advised) -> None:
    """Write a recommendation; while nobody has decided about it, retention keeps what it stands in."""
    row = Recommendation.objects.create(
        retrospective_id=made.id, key=one.key, kind=one.kind, text=one.text, change=one.change, evidence=one.evidence
    )
    records.hold(made, f"recommendation:{row.pk}")


def _decisions(trouble: Trouble) -> list[uuid.UUID]:
    """Return the decisions that were made about what was affected, or by who was affected, while it lasted."""
    names = [one.removeprefix("agent:") for one in trouble.nodes if one.startswith("agent:")]
    agents = list(Agent.objects.filter(name__in=names).values_list("id", flat=True))
    found = Verdict.objects.filter(outcome_of=None, created_at__gte=trouble.start, created_at__lte=trouble.end)
    mine = found.filter(Q(subject__in=trouble.nodes) | Q(agent_id__in=agents))
    return list(mine.order_by("id").values_list("id", flat=True)[:_DECISIONS_MOST])


def _coverage(decisions: list[uuid.UUID]) -> dict[str, Any]:
    """Return of how many of these decisions it is known what became of them."""
    known = Case.objects.filter(pk__in=decisions, state=CaseState.RESOLVED).count()
    return {"known": known, "total": len(decisions), "share": known / len(decisions) if decisions else None}


def _blast(nodes: Iterable[str]) -> list[dict[str, Any]]:
    """Return what stands to fail with each node, as far as the topology knows it."""
    graph, found = topology.build(), []
    for node in nodes:
        try:
            blast = graph.blast(node)
        except CeleriacError:
            continue
        found.append({"node": blast.node, "radius": blast.radius, "dependants": list(blast.dependants[:_NAMED_MOST])})
    return found


def _there(keys: Iterable[uuid.UUID | None]) -> list[uuid.UUID]:
    """Return the records among these that retention has left."""
    wanted = list(dict.fromkeys(key for key in keys if key is not None))
    there = {*Verdict.objects.filter(pk__in=wanted).values_list("id", flat=True),
             *Assessment.objects.filter(pk__in=wanted).values_list("id", flat=True)}  # fmt: skip
    return [key for key in wanted if key in there]


def _pass(_: dict[str, Any]) -> int:
    return look_back() + policies.try_all()


WATCH = Cycle(name="graduation.retrospectives", period=timedelta(seconds=30), step=_pass, is_atomic=False)
