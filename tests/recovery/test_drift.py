"""Topology drift: declared and not seen, seen and not declared, guarantees that do not match; told once."""

from datetime import timedelta

import pytest
from django.utils import timezone

from execution import services
from execution.models import Assessment, CycleState, ObservedCall
from execution.services import Declaration
from recovery import drift
from recovery import tasks as doorways
from tests import topology_skills as _skills  # noqa: F401 - registers them
from tests.hands import MARKS

pytestmark = MARKS


def seen(caller, callee, *, days=0):
    """Let a call have been seen so many days ago."""
    moment = timezone.now() - timedelta(days=days)
    ObservedCall.objects.update_or_create(
        caller=caller, callee=callee, defaults={"call_count": 1, "first_seen_at": moment, "last_seen_at": moment}
    )


def findings():
    """Return what is said of each node now."""
    return {node: [one["kind"] for one in found] for node, found in drift._last().items() if found}


def test_nothing_performed_is_no_drift(transactional_db):
    """Skills that were never performed say nothing, whatever they declare."""
    services.declare("payments", Declaration())
    assert (drift.compare(), findings()) == (0, {})


@pytest.mark.parametrize(("days", "kinds"), [(None, ["not_observed"]), (31, ["not_observed"]), (1, [])])
def test_declared_and_not_seen(transactional_db, days, kinds):
    """A service that a performed skill declares and did not call for thirty days is told."""
    services.declare("payments", Declaration())
    seen("agent:scout", "skill:map.charge")
    if days is not None:
        seen("skill:map.charge", "service:payments", days=days)
    drift.compare()
    assert findings().get("skill:map.charge", []) == kinds


def test_seen_and_not_declared(transactional_db):
    """A service that is called although its skill does not declare it, or nobody has declared it at all, is told."""
    services.declare("payments", Declaration())
    seen("skill:map.log", "service:payments")
    seen("skill:map.notify", "service:mail")
    drift.compare()
    assert findings() == {"skill:map.log": ["not_declared"], "service:mail": ["unknown_service"]}


def test_guarantees_that_do_not_match(transactional_db):
    """What a service wants of another, which does not give it, is told."""
    services.declare_all(
        {"ledger": Declaration(dependencies={"storage": {"wants": ["durable", "encrypted"]}}), "storage": Declaration(guarantees=["durable"])}
    )  # fmt: skip
    drift.compare()
    found = drift._last()["service:ledger"][0]
    assert (found["kind"], found["node"]) == ("guarantee", "service:storage")
    assert "wants encrypted of storage" in found["text"]


def test_told_once_and_taken_back(transactional_db):
    """The same is not said again each hour; when it is gone, that is said, once."""
    services.declare("payments", Declaration())
    seen("agent:scout", "skill:map.charge")
    assert [drift.compare() for _ in range(3)] == [1, 0, 0]
    seen("skill:map.charge", "service:payments")
    assert [drift.compare() for _ in range(2)] == [1, 0]
    said = list(Assessment.objects.filter(kind="topology_drift").order_by("id").values_list("data__is_off", flat=True))
    assert said == [True, False]


def test_doorways(transactional_db):
    """The tasks of the hour run their cycles."""
    for task in (doorways.compare_topology, doorways.compare_contracts, doorways.correlate, doorways.watch_incidents):
        task()
    names = ["recovery.topology_drift", "recovery.contract_divergence", "recovery.correlation", "recovery.incidents"]
    rows = CycleState.objects.filter(pk__in=names)
    assert [(row.tick_count, row.error_count) for row in rows] == [(1, 0)] * 4
