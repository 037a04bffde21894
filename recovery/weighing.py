"""Weighing: which action fits a failure, and how likely it puts it right. Pure: rows in, an order out.

An action fits by rules: the kind of error, the pattern's category, the skill, and how the run stands. What is not
proven weighs by its template; each recorded outcome moves the weight towards the evidence, which counts by its lower
bound (Wilson's interval, one-sided, 95 %) and never by its mean: one success of one says little, eleven of eleven say
0.8.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from recovery import actions
from recovery.models import ActionRecord, SuggestionAction

RULE = "fit, then evidence"
RULE_VERSION = 1
_Z = 1.6448536269514722  # the one-sided 95th percentile of the normal distribution
_PRIOR_TRIES = 3.0  # how many tries a template's own weight counts for
_NAMED_SKILL = 0.1
_NAMED_CATEGORY = 0.05
_TAKEN_BACK = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is known of a failure when an action is looked for."""

    error_kind: str
    category: str
    skill: str
    standing: str
    """How the run stands: failed, or what it is parked for."""
    cooling: frozenset[str] = frozenset()
    """Actions that were done to the same a moment ago."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One action as it was when it was weighed, a copy that no later change reaches, and what speaks for it."""

    name: str
    version: int
    proven_since: int
    verb: str
    parameters: dict[str, Any]
    level: int
    risk: str
    is_automated: bool
    needs_approval: bool
    prior: float
    confidence: float
    bound: float
    tried: int = 0
    recovered: int = 0
    is_taken_back: bool = False
    notes: tuple[str, ...] = field(default=())

    def shown(self) -> dict[str, Any]:
        """Return it as JSON, for the candidate's alternatives."""
        return {
            "action": self.name,
            "version": self.version,
            "verb": self.verb,
            "parameters": self.parameters,
            "confidence": round(self.confidence, 4),
            "bound": round(self.bound, 4),
            "tried": self.tried,
            "recovered": self.recovered,
            "risk": self.risk,
            **({"notes": list(self.notes)} if self.notes else {}),
        }


def lower_bound(recovered: int, tried: int) -> float:
    """Return Wilson's lower bound of a share, one-sided at 95 %; of nothing tried, nothing."""
    if tried <= 0:
        return 0.0
    share, square = recovered / tried, _Z**2
    spread = _Z * math.sqrt(share * (1 - share) / tried + square / (4 * tried**2))
    return max((share + square / (2 * tried) - spread) / (1 + square / tried), 0.0)


def weigh(
    case: Case, templates: Iterable[SuggestionAction], records: Mapping[tuple[str, int], ActionRecord]
) -> list[Choice]:
    """Return the actions that fit, the best first; those that cool down come last."""
    found = [
        _choice(case, action, fit, records.get((action.name, action.proven_since)))
        for action in templates
        if (fit := fit_of(case, action)) is not None
    ]
    return sorted(found, key=lambda one: (one.name in case.cooling, -one.confidence, one.name))


def fit_of(case: Case, action: SuggestionAction) -> float | None:
    """Return how well an action fits before any evidence; None where it does not."""
    verb = actions.KNOWN.get(action.verb)
    if verb is None or case.standing not in verb.fits:
        return None
    if not (_admits(action.error_kinds, case.error_kind) and _admits(action.skills, case.skill)):
        return None
    if not _admits(action.categories, case.category):
        return None
    more = (_NAMED_SKILL if action.skills else 0) + (_NAMED_CATEGORY if action.categories else 0)
    return min(action.weight + more, 1.0)


def _admits(names: list[str], name: str) -> bool:
    return not names or name in names


def is_taken_back(record: ActionRecord | None) -> bool:
    """Tell whether an action stopped working for a kind of failure, and nobody has cleared it since."""
    if record is None or record.ineffective_at is None:
        return False
    return record.cleared_at is None or record.cleared_at < record.ineffective_at


def _choice(case: Case, action: SuggestionAction, fit: float, record: ActionRecord | None) -> Choice:
    tried, recovered = (record.tried_count, record.recovered_count) if record else (0, 0)
    bound, taken_back = lower_bound(recovered, tried), is_taken_back(record)
    confidence = (_PRIOR_TRIES * fit + tried * bound) / (_PRIOR_TRIES + tried)
    notes = [
        *(["it was taken back to review"] if taken_back else []),
        *(["it was done to the same a moment ago"] if action.name in case.cooling else []),
    ]
    return Choice(
        name=action.name,
        version=action.version,
        proven_since=action.proven_since,
        verb=action.verb,
        parameters=dict(action.parameters),
        level=action.level,
        risk=action.risk,
        is_automated=action.is_automated,
        needs_approval=action.needs_approval,
        prior=fit,
        confidence=confidence * (_TAKEN_BACK if taken_back else 1),
        bound=bound,
        tried=tried,
        recovered=recovered,
        is_taken_back=taken_back,
        notes=tuple(notes),
    )
