"""Levels: a step is found by two buckets, a trend by its slope, a rhythm is neither; state survives as JSON."""

import datetime as dt
import json
import math

import numpy as np
import pytest

from execution.exceptions import OptionInvalid
from graduation.observe.levels import KEPT, Levels

BEGIN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
GOOD = 20 * 24


def fed(values, *, count=100, levels=None, first=0):
    """Return what is known after these hourly values."""
    levels = levels or Levels()
    for hour, value in enumerate(values, start=first):
        levels.observe(float(value), count, at=BEGIN + dt.timedelta(hours=hour))
    return levels


def noisy(random, hours, level=0.2, noise=0.05, rhythm=0.0, a_day=1.0):
    """Return hourly latencies in seconds."""
    hour = np.arange(hours)
    return level * np.exp(random.normal(0, noise, hours) + rhythm * np.sin(hour * np.pi / 12)) * a_day ** (hour / 24)


def test_nothing_seen_is_no_data():
    """Neither no bucket nor empty ones are zero."""
    levels = Levels()
    levels.observe(0.2, 0, at=BEGIN)
    assert levels.severity == "no_data"
    assert {one.severity for one in levels.signals()} == {"no_data"}
    assert {one.severity for one in fed([0.2]).signals()} == {"no_data"}


@pytest.mark.parametrize("rhythm", [0.0, 0.4])
def test_a_step_is_critical_within_a_day(rhythm):
    """Half as much again, after twenty quiet days, with or without the rhythm of the day."""
    random = np.random.default_rng(1)
    good = noisy(random, GOOD, rhythm=rhythm)
    levels = fed(good)
    assert levels.severity == "none"
    worse = 1.5 * noisy(random, 24, rhythm=rhythm)
    levels = fed(worse, levels=levels, first=GOOD)
    shift, _ = levels.signals()
    assert levels.severity == shift.severity == "critical"
    assert shift.statistic == pytest.approx(1.5, rel=0.2)
    json.dumps(shift.as_json(), allow_nan=False)


def test_a_step_is_found_above_a_level_that_lay_low():
    """Also where the last days were a little below what the noise was taken from: the newest buckets say whether it rose."""
    random = np.random.default_rng(8)
    levels = fed([*noisy(random, 200), *(0.97 * noisy(random, GOOD - 200)), *(2 * noisy(random, 24))])
    assert levels.severity == "critical"


def test_a_step_down_and_a_small_step_are_not_critical():
    """Half as slow is good news, and five percent are none."""
    for factor in (0.5, 1.05):
        random = np.random.default_rng(2)
        levels = fed([*noisy(random, GOOD), *(factor * noisy(random, 72))])
        assert levels.severity != "critical"


def test_one_wild_bucket_is_no_shift():
    """A hundred times the usual, once, moves nothing."""
    random = np.random.default_rng(3)
    levels = fed([*noisy(random, GOOD), 20.0, *noisy(random, 12)])
    assert levels.severity == "none"


def test_a_shift_ends_when_the_level_is_back():
    """Two buckets at the former level are enough."""
    random = np.random.default_rng(4)
    levels = fed([*noisy(random, GOOD), *(2 * noisy(random, 24))])
    assert levels.severity == "critical"
    fed(noisy(random, 2), levels=levels, first=GOOD + 24)
    assert levels.severity == "none"


def test_a_trend_tells_when_the_limit_is_reached():
    """Three percent a day from 0.2 s: after 20 days 0.361 s, and 1 s is 34 days away."""
    random = np.random.default_rng(5)
    _, trend = fed(noisy(random, GOOD, noise=0.02, a_day=1.03)).signals(limit=1.0)
    assert trend.severity == "warning"
    assert trend.statistic == pytest.approx(0.03, abs=0.003)
    expected = math.log(1 / (0.2 * 1.03**20)) / math.log(1.03)
    assert trend.exhaustion.soonest < expected < trend.exhaustion.latest
    assert trend.exhaustion.days == pytest.approx(expected, rel=0.1)
    assert trend.p < 1e-6


def test_no_trend_never_reaches_a_limit():
    """On a steady stream there is no warning, and by the slope's lower end the limit is never reached."""
    _, trend = fed(noisy(np.random.default_rng(6), GOOD)).signals(limit=1.0)
    assert trend.severity == "none"
    assert trend.exhaustion.latest is None


def test_little_traffic_is_put_together():
    """Ten events an hour make one bucket of three hours, with the mean of their values."""
    levels = fed([0.1, 0.2, 0.3] * 10, count=10)
    assert len(levels.kept) == 10
    assert math.exp(levels.kept[0].level) == pytest.approx(0.2)


def test_state_goes_through_json_unchanged():
    """Stored and restored after each bucket, it says the same at each, over a shift and over what is cut off."""
    random = np.random.default_rng(7)
    values = [*noisy(random, 2 * KEPT - 20), *(1.6 * noisy(random, 60))]
    kept, through, said = Levels(), Levels(), set()
    for hour, value in enumerate(values):
        for levels in (kept, through):
            levels.observe(float(value), 100, at=BEGIN + dt.timedelta(hours=hour))
        if hour % 100 == 0 or hour > 2 * KEPT - 22:
            through = Levels.from_json(json.loads(json.dumps(through.as_json(), allow_nan=False)))
        assert through.severity == kept.severity
        said.add(kept.severity)
    assert through.as_json() == kept.as_json()
    assert len(kept.kept) < 2 * KEPT
    assert said == {"no_data", "none", "critical"} | ({"warning"} & said)


def test_a_value_of_nothing_is_refused():
    """A latency of zero has no logarithm."""
    with pytest.raises(OptionInvalid, match="above nothing"):
        Levels().observe(0.0, 5, at=BEGIN)
