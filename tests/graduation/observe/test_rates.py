"""Rates: critical where more is bad than allowed, silent where not, and well again when the stream is."""

import datetime as dt
import json

import numpy as np
import pytest

from graduation.observe.rates import Rates

HALF_HOUR = dt.timedelta(minutes=30)


def fed(rates, random, rate, *, total, buckets):
    """Return what is known after so many buckets of this rate."""
    for _ in range(buckets):
        rates = rates.observe(int(random.binomial(total, rate)), total)
    return rates


def test_nothing_seen_is_no_data():
    """No event, no signal; and empty buckets change nothing."""
    rates = Rates.begin(0.999)
    assert rates.observe(0, 0) is rates
    assert rates.severity == "no_data"
    signal = rates.signal(bucket=HALF_HOUR, left=10)
    assert (signal.severity, signal.statistic, signal.exhaustion) == ("no_data", None, None)


def test_one_burst_is_no_drift_and_a_second_bucket_makes_it_one():
    """A bucket in which all is bad is not critical alone; when the next agrees, it is."""
    rates = fed(Rates.begin(0.999), np.random.default_rng(1), 0.0005, total=5000, buckets=20)
    burst = rates.observe(5000, 5000)
    assert burst.severity != "critical"
    assert fed(burst, np.random.default_rng(2), 0.0005, total=5000, buckets=3).severity == "none"
    assert fed(burst, np.random.default_rng(2), 0.01, total=5000, buckets=2).severity == "critical"


def test_a_signal_ends_when_the_stream_is_well_again():
    """A day of five times what is allowed is critical; a day later it is not."""
    random = np.random.default_rng(3)
    rates = fed(Rates.begin(0.999), random, 0.005, total=5000, buckets=48)
    assert rates.severity == "critical"
    assert fed(rates, random, 0.0005, total=5000, buckets=48).severity == "none"


def test_a_drift_that_lasts_stays_critical():
    """Once it has begun it does not flicker."""
    random, said = np.random.default_rng(4), []
    rates = Rates.begin(0.999)
    for _ in range(200):
        rates = fed(rates, random, 0.003, total=500, buckets=1)
        said.append(rates.severity)
    assert set(said[said.index("critical") :]) == {"critical"}


def test_the_signal_tells_when_the_budget_is_used_up():
    """240 events a day at 5 % bad are 12 a day: 60 left are gone in five days, give or take the interval."""
    rates = Rates.begin(0.99)
    for _ in range(8):
        rates = rates.observe(10, 200)
    signal = rates.signal(bucket=dt.timedelta(hours=20), left=60)
    assert signal.exhaustion.days == pytest.approx(60 / 12)
    assert signal.exhaustion.soonest < 5 < signal.exhaustion.latest
    assert (signal.statistic, signal.count, signal.before) == (0.05, 1600, pytest.approx(0.01))
    json.dumps(signal.as_json(), allow_nan=False)


def test_a_rate_that_is_allowed_never_uses_up_the_budget():
    """What falls out of the window is as much as comes in."""
    signal = Rates.begin(0.99).observe(5, 1000).signal(bucket=HALF_HOUR, left=10)
    assert signal.exhaustion.days is None
    assert signal.exhaustion.latest is None
    assert signal.exhaustion.soonest is not None


def test_state_goes_through_json_unchanged():
    """Stored and restored after each bucket it is the same, also while a critical signal is held."""
    random = np.random.default_rng(5)
    kept = through = Rates.begin(0.999)
    for rate in [0.0005] * 20 + [0.01] * 10 + [0.0005] * 20:
        bad = int(random.binomial(2000, rate))
        kept, through = (
            kept.observe(bad, 2000),
            Rates.from_json(json.loads(json.dumps(through.observe(bad, 2000).as_json()))),
        )
        assert through == kept
