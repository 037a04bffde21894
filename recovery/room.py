"""What the recovery app brings to the room."""

from __future__ import annotations

from execution.room.parts import Grant, Group, listed
from recovery import inbox

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
