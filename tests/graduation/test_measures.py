"""Measures: escalations on neither side, nothing seen is not zero, near a target is marginal."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from execution.exceptions import OptionInvalid
from graduation import measures
from graduation.measures import Decision, Share

GOOD, BAD = Decision(action="approve", outcome=1), Decision(action="approve", outcome=0, is_reversed=True)
ASKED = Decision(action="escalate", outcome=0, is_reversed=True)
OPEN = Decision(action="approve")


def test_escalations_are_on_neither_side_of_a_reversal_rate():
    """Who asks was not reversed, and did not decide well; what has no outcome yet is left out as well."""
    decisions = [GOOD] * 8 + [BAD] * 2 + [ASKED] * 30 + [OPEN] * 7
    assert measures.reversals(decisions) == Share(hits=2, total=10)
    assert measures.escalations(decisions) == Share(hits=30, total=47)


def test_nothing_seen_has_no_value():
    """No decision is no share, not a share of zero."""
    shares = (measures.reversals, measures.sure_failures, measures.audited_accuracy, measures.outcomes)
    for measure in (*shares, measures.escalations):
        assert measure([]).value is None
        assert measures.state(measure([]), 0.05) == "no_data"
    assert measures.brier([]) is None
    assert measures.calibration_error([OPEN, ASKED]) is None


def test_only_what_the_agent_was_sure_of_is_a_sure_failure():
    """Two sure decisions, one of them wrong; the unsure wrong one is another matter."""
    sure = [Decision(action="approve", outcome=outcome, confidence=0.95) for outcome in (0, 1)]
    unsure = Decision(action="approve", outcome=0, confidence=0.6)
    assert measures.sure_failures([*sure, unsure, BAD]) == Share(hits=1, total=2)


def test_accuracy_is_of_audited_decisions_alone():
    """A hundred unaudited successes do not flatter it."""
    audited = [Decision(action="approve", outcome=outcome, is_audited=True) for outcome in (1, 1, 0.5, 0)]
    assert measures.audited_accuracy([*audited, *[GOOD] * 100]) == Share(hits=3, total=4)


def test_a_bad_segment_does_not_hide_in_a_good_whole():
    """Each segment has its own share."""
    decisions = [Decision(action="approve", outcome=1, segment="small")] * 9
    decisions.append(Decision(action="approve", outcome=0, is_reversed=True, segment="large"))
    assert measures.by_segment(decisions, measures.reversals) == {
        "large": Share(hits=1, total=1),
        "small": Share(hits=0, total=9),
    }


def test_stability_counts_pairs_that_agree():
    """Of one item decided three times, two alike, one pair of three agrees; once is no repetition."""
    repeated = [("a", "approve"), ("b", "reject"), ("a", "approve"), ("a", "reject")]
    assert measures.stability(repeated) == Share(hits=1, total=3)


def test_calibration_by_hand():
    """Two bins: said 0.9 and right in one of two (gap 0.4), said 0.3 and never right (gap 0.3)."""
    decisions = [
        Decision(action="approve", outcome=outcome, confidence=said)
        for said, outcome in ((0.9, 1), (0.9, 0), (0.3, 0), (0.3, 0))
    ]
    assert measures.calibration_error(decisions) == pytest.approx((0.4 + 0.3) / 2)
    assert measures.brier(decisions) == pytest.approx((0.01 + 0.81 + 0.09 + 0.09) / 4)
    assert measures.signal(0.9, 0.5) == pytest.approx(0.4)


@given(some.lists(some.tuples(some.floats(0, 1), some.sampled_from([0.0, 0.5, 1.0])), min_size=1))
def test_calibration_stays_between_nothing_and_one(pairs):
    """Whatever was said and came: an error and a score are shares, and the error is no more than the mean distance."""
    decisions = [Decision(action="approve", confidence=said, outcome=came) for said, came in pairs]
    mean = sum(measures.signal(said, came) for said, came in pairs) / len(pairs)
    assert 0 <= measures.calibration_error(decisions) <= mean + 1e-9
    assert 0 <= measures.brier(decisions) <= 1


@pytest.mark.parametrize(
    ("hits", "total", "state"),
    [
        (0, 0, "no_data"),
        (0, 20, "marginal"),
        (0, 200, "healthy"),
        (8, 200, "marginal"),
        (12, 200, "marginal"),
        (30, 200, "breach"),
    ],
)
def test_near_the_target_is_marginal(hits, total, state):
    """Healthy and in breach is what the whole interval says; twenty without an error are not yet healthy at 5 %."""
    assert measures.state(Share(hits=hits, total=total), 0.05) == state


@pytest.mark.parametrize(
    ("hits", "state"), [(0, "breach"), (60, "healthy"), (20, "marginal"), (90, "marginal"), (190, "breach")]
)
def test_an_escalation_share_has_two_bounds(hits, state):
    """Never to ask is a breach, and so is always to ask."""
    assert measures.state_between(Share(hits=hits, total=200), 0.1, 0.5) == state


@pytest.mark.parametrize(
    ("hits", "severity"), [(6, "low"), (9, "low"), (10, "high"), (24, "high"), (25, "critical"), (90, "critical")]
)
def test_severity_follows_from_the_allowance_used(hits, severity):
    """Five of a hundred are allowed: below ten low, below twenty-five high, then critical."""
    assert measures.severity(Share(hits=hits, total=100), 0.05) == severity


def test_targets_are_shares():
    """Bounds and targets that cannot be are refused."""
    with pytest.raises(OptionInvalid, match="share between 0 and 1"):
        measures.state(Share(hits=0, total=1), 5)
    with pytest.raises(OptionInvalid, match="the lower first"):
        measures.state_between(Share(hits=0, total=1), 0.5, 0.1)
