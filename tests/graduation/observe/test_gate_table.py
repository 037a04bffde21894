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


@pytest.mark.parametrize(
    ("tier", "worst", "stale", "is_frozen", "is_overridden"),
    list(
        itertools.product(TABLE, [*LEFTS, "none"], ["fresh", "stale", "no data", "error"], [False, True], [False, True])
    ),
)
def test_truth_table(tier, worst, stale, is_frozen, is_overridden):
    """The worst of all decides; what is unknown blocks critical tiers; a freeze blocks; an override lets through."""
    known = [] if worst == "none" else [look(1.0), look(LEFTS[worst]), look(0.9)]
    unknown = [] if stale == "fresh" else [look(unknown=f"is {stale}")]
    expected = APPROVED if known or unknown else UNKNOWN[tier]
    if known:
        expected = TABLE[tier][list(LEFTS).index(worst)]
    if unknown:
        expected = max(expected, UNKNOWN[tier], key=ORDER.index)
    if is_frozen:
        expected = BLOCKED
    if is_overridden and expected != APPROVED:
        expected = WARNING
    found = gate.decide(
        "payments", tier, known + unknown,
        freeze=Freeze(pk=1, by="ann", reason="holidays") if is_frozen else None,
        override=Override(pk=2, by="bob", reason="a fix", until=timezone.now()) if is_overridden else None,
    )  # fmt: skip
    assert (found.answer, found.exit_code) == (expected, {APPROVED: 0, WARNING: 0, BLOCKED: 2}[expected])
