"""Audits: drawn by id alone, at least one in ten, and weighed so that all speak together."""

import uuid

import pytest
from scipy import stats

from execution.exceptions import OptionInvalid
from graduation import audits


def test_as_many_are_drawn_as_the_rate_says():
    """Of 20,000 ids a tenth is drawn, within chance."""
    drawn = sum(audits.is_drawn(uuid.UUID(int=number)) for number in range(20_000))
    assert stats.binomtest(drawn, 20_000, 0.1).pvalue > 0.001


def test_the_same_are_drawn_everywhere_and_others_with_a_secret():
    """A draw depends on the id, the rate and the secret, and on nothing else; a higher rate draws the same and more."""
    ids = range(2000)
    first = {one for one in ids if audits.is_drawn(one)}
    assert first == {one for one in ids if audits.is_drawn(one)}
    assert first < {one for one in ids if audits.is_drawn(one, 0.3)}
    assert first != {one for one in ids if audits.is_drawn(one, secret="s")}
    assert all(audits.is_drawn(one, 1.0) for one in ids)


def test_what_is_drawn_more_often_weighs_less():
    """Drawn at twice the least rate, an outcome weighs half."""
    assert audits.weight(0.1) == 1
    assert audits.weight(0.2) == 0.5
    assert audits.weight(1.0, 0.25) == 0.25


@pytest.mark.parametrize("rate", [0.0, 0.05, 1.5])
def test_fewer_than_one_in_ten_are_refused(rate):
    """Silence must not pass for success, so the rate cannot be lowered beyond that."""
    with pytest.raises(OptionInvalid, match="at least 0.1"):
        audits.is_drawn(1, rate)
    with pytest.raises(OptionInvalid, match="at least 0.1"):
        audits.weight(rate)
