"""Recovery's tables, one concept a module."""

from recovery.models.advice import AdviceDay
from recovery.models.candidates import (
    ENDED,
    ActionRecord,
    CandidateState,
    DeadLetter,
    RecoveryCandidate,
    Risk,
    Source,
    Stage,
    SuggestionAction,
    SuggestionProvenance,
)
from recovery.models.failures import (
    Category,
    ExportState,
    FailureMatch,
    FailureNight,
    FailurePattern,
    FailurePatternExport,
    FailureTemplate,
    How,
    Mode,
    PatternState,
)
from recovery.models.incidents import TAKEN_IN, Incident, IncidentEntry, IncidentState, Occurrence, Severity, Window
from recovery.models.outbox import (
    Delivery,
    DistributedLock,
    EndpointState,
    HandlerSwitch,
    Handling,
    HandlingState,
    OutboxEvent,
    OutboxState,
    WebhookEndpoint,
)

__all__ = [
    "ENDED", "TAKEN_IN", "ActionRecord", "AdviceDay", "CandidateState", "Category", "DeadLetter", "Delivery",
    "DistributedLock", "EndpointState", "ExportState", "FailureMatch", "FailureNight", "FailurePattern",
    "FailurePatternExport", "FailureTemplate", "HandlerSwitch", "Handling", "HandlingState", "How", "Incident",
    "IncidentEntry", "IncidentState", "Mode", "Occurrence", "OutboxEvent", "OutboxState", "PatternState",
    "RecoveryCandidate", "Risk", "Severity", "Source", "Stage", "SuggestionAction", "SuggestionProvenance",
    "WebhookEndpoint", "Window",
]  # fmt: skip
