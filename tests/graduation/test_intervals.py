"""Intervals: the figures of the textbooks, and no figure where nothing was seen."""

import math
import subprocess
import sys

import pytest

from execution.exceptions import OptionInvalid
from graduation import intervals
from graduation.intervals import Interval


def wilson_by_hand(hits, total, z):
    """Return both ends by the formula, before they are cut to the range of a share."""
    share = hits / total
    middle = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (middle - half) / (1 + z * z / total), (middle + half) / (1 + z * z / total)


@pytest.mark.parametrize(("hits", "total"), [(0, 20), (3, 20), (11, 11), (50, 1000)])
def test_wilson_is_its_formula(hits, total):
    """Both sides and each side alone agree with the formula, within the range of a share."""
    low, high = wilson_by_hand(hits, total, 1.959963984540054)
    found = intervals.wilson(hits, total)
    assert (found.low, found.high) == (pytest.approx(max(0, low), abs=1e-9), pytest.approx(min(1, high), abs=1e-9))
    low, high = wilson_by_hand(hits, total, 1.6448536269514722)
    assert intervals.wilson_lower(hits, total) == pytest.approx(max(0, low), abs=1e-9)
    assert intervals.wilson_upper(hits, total) == pytest.approx(min(1, high), abs=1e-9)


def test_eleven_of_eleven_are_enough_for_four_fifths():
    """The lower bound of eleven of eleven passes 0.8, that of ten of ten does not."""
    assert intervals.wilson_lower(11, 11) >= 0.8 > intervals.wilson_lower(10, 10)


def test_exact_bounds_are_those_of_the_binomial():
    """None of twenty: the upper bound is where that has a chance of 2.5 %, or of 5 % on one side."""
    assert intervals.exact(0, 20).high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert intervals.exact_upper(0, 20) == pytest.approx(1 - 0.05 ** (1 / 20))
    assert intervals.exact_lower(20, 20) == pytest.approx(0.05 ** (1 / 20))


def test_of_nothing_seen_everything_is_possible():
    """No data is neither good nor bad."""
    assert intervals.wilson(0, 0) == intervals.exact(0, 0) == Interval(low=0, high=1)
    assert 0.3 in intervals.wilson(0, 0)


def test_impossible_counts_are_refused():
    """More hits than looks are no share."""
    with pytest.raises(OptionInvalid, match="3 of 2 is no share"):
        intervals.wilson(3, 2)
    with pytest.raises(OptionInvalid, match="between 0 and 1"):
        intervals.wilson(1, 2, confidence=95)


def test_the_app_needs_no_numbers_package_to_be_imported():
    """Importing graduation and its statistics brings in neither numpy nor scipy nor river; the bet needs none at all."""
    told = (
        "import sys\n"
        "import graduation, graduation.audits, graduation.evidence, graduation.intervals, graduation.measures\n"
        "import graduation.observe.burn, graduation.observe.levels, graduation.observe.rates\n"
        "graduation.evidence.Evidence.above(0.05).observe(1)\n"
        "sys.exit(bool({'numpy', 'scipy', 'river'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", told], check=False).returncode == 0
