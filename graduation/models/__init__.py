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
from graduation.models.quality import Evaluator, Sample, Sampling, Score
from graduation.models.trust import (
    Evidence,
    GraduationHistory,
    GraduationStatus,
    Offer,
    OfferState,
    Status,
)

__all__ = [
    "Bucket", "Case", "CaseState", "DriftState", "Envelope", "EnvelopeDecision", "EnvelopeState", "Evaluator",
    "Evidence", "Freeze", "GateCall", "GraduationHistory", "GraduationStatus", "Importance", "KillSwitch",
    "Objective", "ObjectiveState", "Offer", "OfferState", "Origin", "Override", "Recommendation",
    "RecommendationState", "Retrospective", "Sample", "Sampling", "Score", "Standing", "Status",
]  # fmt: skip
