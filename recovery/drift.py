"""Topology drift: where what is declared and what was seen do not agree, each hour, one assessment a node.

Told are services that a skill declares by `calls` and was not seen to call, although it was performed; services that
were seen to be called and are not declared; and guarantees that are wanted of a service and not given by it. What was
never performed says nothing. An assessment is made where the findings have changed, also when they are gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from execution import ledger, records, services, topology
from execution.cycles import Cycle
from execution.models import Assessment, AssessmentKind, Service
from execution.topology import Topology
from execution.topology.graph import DECLARED, OBSERVED
from recovery import conf

PRODUCER = "recovery.drift"
Finding = dict[str, Any]


def compare() -> int:
    """Assess every node of which other things are to be said than the last time; returns how many."""
    found = topology.build()
    clock = ledger.ask_in_transaction("SELECT clock_timestamp() AS now")[0].now
    findings: dict[str, list[Finding]] = defaultdict(list)
    for node, finding in [*_of_calls(found, clock), *_of_guarantees(services.listed())]:
        findings[node].append(finding)
    last = _last()
    changed = [node for node in sorted({*findings, *last}) if findings.get(node, []) != last.get(node, [])]
    for node in changed:
        _assess(node, findings.get(node, []))
    return len(changed)


def _of_calls(found: Topology, clock: datetime) -> Iterator[tuple[str, Finding]]:
    """Yield what is declared and was not seen, and what was seen and is not declared."""
    oldest = (clock - timedelta(days=conf.current().drift_days)).isoformat()
    for skill, service, facts in sorted(found.graph.edges(data=True), key=lambda edge: edge[:2]):
        if not (skill.startswith("skill:") and service.startswith("service:")):
            continue
        is_seen = OBSERVED in facts["sources"] and facts["last_seen_at"] >= oldest
        if DECLARED in facts["sources"] and not is_seen and _is_performed(found, skill, oldest):
            yield skill, _finding("not_observed", service, f"{skill} declares {service} and was not seen to call it")
        if is_seen and DECLARED not in facts["sources"]:
            yield (
                skill,
                _finding("not_declared", service, f"{skill} was seen to call {service} and does not declare it"),
            )
        if is_seen and not found.graph.nodes[service]["is_known"]:
            yield service, _finding("unknown_service", skill, f"{skill} calls {service}, which nobody has declared")


def _is_performed(found: Topology, skill: str, oldest: str) -> bool:
    edges = found.graph.in_edges(skill, data=True)
    return any(OBSERVED in facts["sources"] and facts["last_seen_at"] >= oldest for _, _, facts in edges)


def _of_guarantees(declared: Iterable[Service]) -> Iterator[tuple[str, Finding]]:
    """Yield the guarantees that a service relies on in another that does not give them."""
    rows = list(declared)
    given = {one.name: set(one.guarantees) for one in rows}
    for one in rows:
        for each in one.dependencies.all():
            lacking = [want for want in each.wants if want not in given.get(each.needed_id, set())]
            if lacking:
                text = f"{one.name} wants {', '.join(lacking)} of {each.needed_id}, which does not guarantee that"
                yield f"service:{one.name}", _finding("guarantee", f"service:{each.needed_id}", text)


def _finding(kind: str, node: str, text: str) -> Finding:
    return {"kind": kind, "node": node, "text": text}


def _last() -> dict[str, list[Finding]]:
    """Return what was said of each node the last time."""
    rows = Assessment.objects.filter(kind=AssessmentKind.TOPOLOGY_DRIFT, producer=PRODUCER)
    latest = rows.order_by("subject", "-id").distinct("subject").values_list("subject", "data")
    return {subject: data["findings"] for subject, data in latest}


def _assess(node: str, findings: list[Finding]) -> Assessment:
    data = {"is_off": bool(findings), "severity": "low", "findings": findings}
    return records.assess(AssessmentKind.TOPOLOGY_DRIFT, subject=node, producer=PRODUCER, data=data)


COMPARE = Cycle(name="recovery.topology_drift", period=timedelta(hours=1), step=lambda _: compare())
