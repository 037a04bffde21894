"""Graduation's tables, one concept a module."""

from graduation.models.envelopes import Envelope, EnvelopeDecision, EnvelopeState, Importance, KillSwitch
from graduation.models.learning import Case, CaseState, Recommendation, RecommendationState, Retrospective
from graduation.models.objectives import (
    Bucket,
    DriftState,
    Freeze,
    GateCall,
    Objective,
    ObjectiveState,
    Origin,
    Override,
    Standing,
)
from graduation.models.trust import (
    Evidence,
    GraduationHistory,
    GraduationStatus,
    Offer,
    OfferState,
    Score,
    Status,
)

__all__ = [
    "Bucket", "Case", "CaseState", "DriftState", "Envelope", "EnvelopeDecision", "EnvelopeState", "Evidence", "Freeze",
    "GateCall", "GraduationHistory", "GraduationStatus", "Importance", "KillSwitch", "Objective", "ObjectiveState",
    "Offer", "OfferState", "Origin", "Override", "Recommendation", "RecommendationState", "Retrospective", "Score",
    "Standing", "Status",
]  # fmt: skip
