"""Collect: every minute each objective's counts, where it stands, and where all of them stand together.

Counts come first: from the log by cursor, from Prometheus by time. What cannot be asked is an error of its objective
and no error of the cycle. Judgments are measured by a cycle of their own, from verdicts.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from execution import records
from execution.cycles import Cycle
from execution.models import Assessment, AssessmentKind
from graduation.models import Objective, Origin, Standing
from graduation.observe import attempts, buckets, burn, judgments, prometheus, standing

PORTFOLIO = "portfolio:all"
_COUNTED = (Origin.LEDGER, Origin.PROMETHEUS)


def collect(state: dict[str, Any]) -> int:
    """Count, find where each objective stands, and roll up; returns how many events and minutes were counted."""
    count = attempts.collect() + prometheus.collect()
    for objective in Objective.objects.filter(origin__in=_COUNTED, is_enabled=True):
        standing.settle(objective)
    roll_up(state)
    return count


def roll_up(state: dict[str, Any]) -> None:
    """Record where all objectives stand together, by service: where that has changed, or once a day."""
    found = portfolio()
    last = datetime.fromisoformat(state["rolled_at"]) if "rolled_at" in state else None
    if found == state.get("portfolio") and last is not None and timezone.now() - last < standing.DAILY:
        return
    latest = Objective.objects.filter(is_enabled=True, state__assessment_id__isnull=False)
    parents = Assessment.objects.filter(pk__in=latest.values("state__assessment_id"))
    records.assess(
        AssessmentKind.PORTFOLIO_STATUS,
        subject=PORTFOLIO,
        producer=standing.PRODUCER,
        data=found,
        parents=parents.values_list("pk", flat=True),
    )
    state["portfolio"], state["rolled_at"] = found, timezone.now().isoformat()


def portfolio() -> dict[str, Any]:
    """Return the worst standing of each service and of all, with how many objectives stand where."""
    rows = Objective.objects.filter(is_enabled=True).order_by("service", "name")
    services: dict[str, list[str]] = {}
    for service, found in rows.values_list("service", "state__standing"):
        services.setdefault(service, []).append(found or Standing.NO_DATA)
    every = [one for found in services.values() for one in found]
    return {
        "worst": burn.worst(every),  # type: ignore[arg-type]
        "services": {name: burn.worst(found) for name, found in services.items()},  # type: ignore[arg-type]
        "standings": {one: every.count(one) for one in sorted(set(every))},
    }


def measure(state: dict[str, Any]) -> int:
    """Measure the objectives of judgments."""
    return judgments.collect(state)


def forget(_: dict[str, Any]) -> int:
    """Remove the counts of minutes that are no longer needed."""
    return buckets.forget()


COLLECT = Cycle(name="graduation.collect", period=timedelta(seconds=60), step=collect, is_atomic=False)
MEASURE = Cycle(name="graduation.measure", period=timedelta(seconds=60), step=measure, is_atomic=False)
FORGET = Cycle(name="graduation.forget_buckets", period=timedelta(hours=24), step=forget, is_atomic=False)
