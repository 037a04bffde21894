"""Indicators: what an objective counts and what of it is good, as it is stored with the objective."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from execution.workflows.fields import Few
from execution.workflows.spec import Part

Operator = Literal["lt", "lte", "gt", "gte"]
Judgment = Literal[
    "reversals", "sure_failures", "audited_accuracy", "outcomes", "stability", "escalations", "calibration"
]
PARTS = 1_000_000
"""A share that comes ready-made counts as so many events, of which that share is good."""


class Threshold(Part):
    """What a measured value is compared with; a value for which that is true is good."""

    op: Operator
    value: float

    def holds(self, value: float) -> bool:
        """Whether a value is good."""
        return {
            "lt": value < self.value,
            "lte": value <= self.value,
            "gt": value > self.value,
            "gte": value >= self.value,
        }[self.op]


class OfLedger(Part):
    """Attempts or runs: by how they ended, or by what they took."""

    count: Literal["attempts", "runs"] = "attempts"
    of: str
    counted: Few
    good: Few = ()
    measure: Literal["seconds", "cost", "tokens"] | None = None
    threshold: Threshold | None = None


class OfVerdicts(Part):
    """What an agent has decided, and what became of it."""

    judgments: Judgment
    of: str
    kinds: Few = ()
    at_least: float = Field(0.0, ge=0, le=1)


class OfPrometheus(Part):
    """Queries: good (or bad) and total, a value and its threshold, or a share that is ready-made."""

    url: str = ""
    good: str = ""
    bad: str = ""
    total: str = ""
    is_counter: bool = False
    value: str = ""
    threshold: Threshold | None = None
    success: str = ""
    failure: str = ""
