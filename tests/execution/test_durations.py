"""Durations as people write them."""

from datetime import timedelta

import pytest

from execution.durations import seconds
from execution.exceptions import OptionInvalid


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (90, 90),
        (0.5, 0.5),
        (timedelta(minutes=2), 120),
        ("90s", 90),
        ("1.5h", 5400),
        ("6H", 21600),
        ("1d 12h", 129600),
        ("2w", 1209600),
        (" 5 m ", 300),
    ],
)
def test_duration_is_read(written, expected):
    """Numbers are seconds; text has a number and a unit, once or more."""
    assert seconds(written) == expected


@pytest.mark.parametrize("written", ["", "soon", "5 parsecs", "6h or so", None, True, float("nan"), float("inf"), [1]])
def test_duration_that_is_none_says_how_to_write_one(written):
    """What is no duration is refused with the option's name and examples."""
    with pytest.raises(OptionInvalid, match=r"timeout is .*; write seconds, a timedelta, or text such as '90s'"):
        seconds(written, name="timeout")


@pytest.mark.parametrize("written", ["90", " 1.5 "])
def test_text_without_a_unit_is_asked_for_one(written):
    """A command line's bare number could be anything: it is not guessed."""
    with pytest.raises(OptionInvalid, match=rf"--timeout is '{written}', without a unit; write '{written.strip()}s', "):
        seconds(written, name="--timeout")
