"""The gate's truth table: every tier, worst objective, kind of ignorance, freeze and override together."""

import itertools

import pytest
from django.utils import timezone

from graduation.models import Freeze, Override
from graduation.observe import gate
from graduation.observe.gate import APPROVED, BLOCKED, WARNING, Look

LEFTS = {
    "full": 1.0, "above 30": 0.31, "30": 0.3, "above 20": 0.21, "20": 0.2, "above 10": 0.11, "10": 0.1, "1": 0.01,
    "0": 0.0, "over": -2.0,
}  # fmt: skip
TABLE = {
    "critical": [APPROVED] * 4 + [WARNING] * 2 + [BLOCKED] * 4,
    "standard": [APPROVED] * 4 + [WARNING] * 4 + [BLOCKED] * 2,
    "low": [APPROVED] * 2 + [WARNING] * 8,
}
UNKNOWN = {"critical": BLOCKED, "standard": WARNING, "low": WARNING}
ORDER = [APPROVED, WARNING, BLOCKED]


def look(left=1.0, unknown=""):
    """Return an objective as the gate sees it."""
    return Look(objective="one", standing="x", left=None if unknown else left, unknown=unknown)


def expected(tier, worst, ignorance, *, is_frozen, is_overridden):
    """Return what the gate has to say, by the tables above."""
    is_unknown, known = ignorance != "fresh", worst != "none"
    found = TABLE[tier][list(LEFTS).index(worst)] if known else APPROVED if is_unknown else UNKNOWN[tier]
    found = max(found, UNKNOWN[tier], key=ORDER.index) if is_unknown else found
    found = BLOCKED if is_frozen else found
    return WARNING if is_overridden and found != APPROVED else found


@pytest.mark.parametrize("tier", TABLE)
def test_truth_table(tier):
    """The worst of all decides; what is unknown blocks critical tiers; a freeze blocks; an override lets through."""
    cases = itertools.product([*LEFTS, "none"], ["fresh", "stale", "no data", "error"], [False, True], [False, True])
    for worst, ignorance, is_frozen, is_overridden in cases:
        known = [] if worst == "none" else [look(1.0), look(LEFTS[worst]), look(0.9)]
        unknown = [] if ignorance == "fresh" else [look(unknown=f"is {ignorance}")]
        found = gate.decide(
            "payments",
            tier,
            known + unknown,
            freeze=Freeze(pk=1, by="ann", reason="holidays") if is_frozen else None,
            override=Override(pk=2, by="bob", reason="a fix", until=timezone.now()) if is_overridden else None,
        )
        wanted = expected(tier, worst, ignorance, is_frozen=is_frozen, is_overridden=is_overridden)
        case = (worst, ignorance, is_frozen, is_overridden)
        assert (found.answer, found.exit_code) == (wanted, {APPROVED: 0, WARNING: 0, BLOCKED: 2}[wanted]), case
