"""Pages for graduation's tables, one module per model: read-only, with the few changes that a person may make."""

from graduation.admin import (
    agents,
    cases,
    envelopes,
    evaluators,
    gate,
    graduation,
    killswitch,
    ladder,
    objectives,
    offers,
    recommendations,
    retrospectives,
    samplings,
    scores,
)

__all__ = [
    "agents",
    "cases",
    "envelopes",
    "evaluators",
    "gate",
    "graduation",
    "killswitch",
    "ladder",
    "objectives",
    "offers",
    "recommendations",
    "retrospectives",
    "samplings",
    "scores",
]
