"""What the recovery app brings to the room."""

from __future__ import annotations

from execution.room.parts import Group, listed
from recovery import inbox

WAITING = inbox.WAITING

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
