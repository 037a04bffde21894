"""Affected: what a pattern has hit lately, by its newest failures; and what became of the recoveries from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, LiteralString

from django.db.models import Count

from execution import ledger
from execution.models import Agent, ObservedCall, ServiceDependency
from recovery.models import ActionRecord, FailurePattern
from recovery.weighing import is_taken_back, lower_bound

LOOKED_AT = 1000
"""So many of the newest failures and candidates are looked at."""

_HIT: LiteralString = """
    WITH newest AS MATERIALIZED (SELECT run_id, skill, agent_id FROM recovery_failurematch WHERE pattern_id = %s
                                 ORDER BY failed_at DESC LIMIT %s)
    SELECT 'skill' AS what, skill AS name, count(*) AS failures, count(DISTINCT run_id) AS runs FROM newest GROUP BY 2
    UNION ALL SELECT 'agent', agent_id::text, count(*), count(DISTINCT run_id) FROM newest GROUP BY 2
    ORDER BY 1, 3 DESC, 2"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A skill or an agent with how many failures and runs it had."""

    what: str
    name: str
    failures: int
    runs: int
    agent_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """An action with how it has done on this kind of failure."""

    action: str
    tried: int
    recovered: int
    surely: float
    is_taken_back: bool


def by(pattern: FailurePattern) -> list[Hit]:
    """Return the skills and agents that the newest failures hit, those first that were hit most."""
    rows = ledger.ask_in_transaction(_HIT, [pattern.pk, LOOKED_AT])
    wanted = [row.name for row in rows if row.what == "agent"]
    names = {str(key): name for key, name in Agent.objects.filter(pk__in=wanted).values_list("id", "name")}
    return [_hit(row, names) for row in rows]


def _hit(row: Any, names: dict[str, str]) -> Hit:
    if row.what == "skill":
        return Hit(what="skill", name=row.name, failures=row.failures, runs=row.runs)
    name = names.get(row.name, "an agent that is gone")
    return Hit(what="agent", name=name, failures=row.failures, runs=row.runs, agent_id=row.name)


def services(skills: list[str]) -> list[str]:
    """Return the services that these skills were seen calling, and what those need."""
    callers = [f"skill:{name}" for name in skills]
    seen = ObservedCall.objects.filter(caller__in=callers, callee__startswith="service:")
    direct = {name.removeprefix("service:") for name in seen.values_list("callee", flat=True)[:50]}
    needed = ServiceDependency.objects.filter(service_id__in=direct).values_list("needed_id", flat=True)[:50]
    return sorted(direct | set(needed))


def remedies(pattern: FailurePattern) -> list[Remedy]:
    """Return how each action has done on this kind of failure, the surest first."""
    kind = {"fingerprint": pattern.fingerprint, "fingerprint_version": pattern.fingerprint_version}
    found = [_remedy(record) for record in ActionRecord.objects.filter(**kind)[:50]]
    return sorted(found, key=lambda one: -one.surely)


def _remedy(record: ActionRecord) -> Remedy:
    return Remedy(
        action=record.action,
        tried=record.tried_count,
        recovered=record.recovered_count,
        surely=lower_bound(record.recovered_count, record.tried_count),
        is_taken_back=is_taken_back(record),
    )


def states(pattern: FailurePattern) -> dict[str, int]:
    """Return how many of the newest candidates are in which state."""
    newest = pattern.candidates.order_by("-id").values("pk")[:LOOKED_AT]
    rows = pattern.candidates.filter(pk__in=newest).values("state").annotate(count=Count("pk")).order_by("-count")
    return {row["state"]: row["count"] for row in rows}
