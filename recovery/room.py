"""What the recovery app brings to the room."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connection
from django.http import HttpRequest
from django.utils import timezone

from execution.room.finding import Kind, search
from execution.room.parts import Grant, Group, Panel, listed
from recovery import inbox
from recovery.models import FailurePattern, Incident

WAITING = inbox.WAITING

PEOPLE = [
    Grant(group="viewer", permissions=["recovery.view_*"]),
    Grant(
        group="operator",
        permissions=[
            "recovery.decide_candidate", "recovery.replay_deadletter", "recovery.answer_incident",
            "recovery.answer_handling", "recovery.operate_webhook", "recovery.operate_export", "recovery.judge_pattern",
        ],
    ),
    Grant(group="governor", permissions=["recovery.switch_handler", "recovery.change_suggestionaction"]),
]  # fmt: skip

NAVIGATION = [
    Group(
        title="Recovery",
        place=20,
        entries=[
            listed("Failures by pattern", "category", "recovery.failurepattern"),
            listed("Candidates", "healing", "recovery.recoverycandidate"),
            listed("Incidents", "e911_emergency", "recovery.incident"),
            listed("Webhooks", "webhook", "recovery.webhookendpoint"),
            listed("Dead letters", "drafts", "recovery.deadletter"),
            listed("Exports", "cloud_upload", "recovery.failurepatternexport"),
        ],
    ),
    Group(
        title="Ledger",
        place=61,
        entries=[
            listed("Failures", "error", "recovery.failurematch"),
            listed("Outbox", "outbox", "recovery.outboxevent"),
            listed("Handlings", "extension", "recovery.handling"),
        ],
    ),
]

KINDS = (
    Kind(
        model="recovery.failurepattern",
        noun="pattern",
        icon="category",
        ids=(),
        names=["name__icontains", "fingerprint", "template__icontains"],
        tell=lambda pattern: f"{pattern.state}, {pattern.count:,} failures",
        unread=["examples"],
    ),
    Kind(
        model="recovery.recoverycandidate",
        noun="candidate",
        icon="healing",
        ids=["pk", "run_id"],
        tell=lambda candidate: candidate.state,
        unread=["evidence", "alternatives", "parameters"],
    ),
    Kind(
        model="recovery.incident",
        noun="incident",
        icon="e911_emergency",
        ids=["pk", "run_id"],
        words=["title__icontains", "services__contains"],
        tell=lambda incident: f"{incident.state}, {incident.severity}",
    ),
    Kind(
        model="recovery.failurematch",
        noun="failure",
        icon="error",
        ids=["pk", "attempt_id", "run_id"],
        unread=["message"],
    ),
    Kind(
        model="recovery.webhookendpoint",
        noun="webhook",
        icon="webhook",
        names=["name__icontains", "url__icontains"],
        tell=lambda endpoint: endpoint.state,
        unread=["secrets"],
    ),
    Kind(
        model="recovery.outboxevent", noun="message", icon="outbox", tell=lambda message: message.state, unread=["body"]
    ),
    Kind(
        model="recovery.handling",
        noun="handling",
        icon="extension",
        ids=["pk", "event_id"],
        tell=lambda handling: handling.state,
        unread=["event"],
    ),
    Kind(model="recovery.deadletter", noun="dead letter", icon="drafts", words=["original_id"], unread=["body"]),
    Kind(model="recovery.failurepatternexport", noun="export", icon="cloud_upload", ids=(), names=["name__icontains"]),
)
SEARCHES = [search(kind) for kind in KINDS]


SHOWN_MOST = 6
FAILURES_MOST = 5_000
"""Failures of today that are grouped by pattern: the latest."""


def failures(request: HttpRequest) -> dict[str, Any]:  # noqa: ARG001 - a panel takes it
    """Return today's failures by pattern."""
    counts = failed_since(timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0))
    total = sum(count for _, count in counts)
    patterns = FailurePattern.objects.only("name", "state").in_bulk([pk for pk, _ in counts[:SHOWN_MOST] if pk])
    return {
        "total": f"{total:,}" if total < FAILURES_MOST else f"{FAILURES_MOST:,}+",
        "patterns": [
            {"pattern": patterns.get(pk), "count": count, "percent": round(100 * count / total)}
            for pk, count in counts[:SHOWN_MOST]
        ],
        "others": max(len(counts) - SHOWN_MOST, 0),
    }


def failed_since(moment: datetime) -> list[tuple[int | None, int]]:
    """Return how many failures there were of each pattern, and of none; of the latest ones."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pattern_id, count(*) FROM (SELECT pattern_id FROM recovery_failurematch WHERE failed_at >= %s "
            "ORDER BY failed_at DESC LIMIT %s) x GROUP BY pattern_id ORDER BY count(*) DESC, pattern_id",
            [moment, FAILURES_MOST],
        )
        return [(row[0], int(row[1])) for row in cursor.fetchall()]


def incidents(request: HttpRequest) -> dict[str, Any] | None:  # noqa: ARG001 - a panel takes it
    """Return the incidents that are open; None without any."""
    found = list(Incident.objects.open().order_by("-opened_at")[: SHOWN_MOST + 1])
    return {"incidents": found[:SHOWN_MOST], "has_more": len(found) > SHOWN_MOST} if found else None


PANELS = [
    Panel(
        name="incidents",
        place=15,
        template="admin/room/panels/incidents.html",
        permission="recovery.view_incident",
        read=incidents,
    ),
    Panel(
        name="failures",
        place=50,
        template="admin/room/panels/failures.html",
        permission="recovery.view_failurepattern",
        read=failures,
    ),
]
