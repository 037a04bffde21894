"""Streams of services: how often a healthy one is called critical, and how soon a shifted one is.

Events come at random times (Poisson). Rates are simulated by the second form of the bet (`bets`), for hundreds of
services at once; latency and cost go through `graduation.observe.levels` itself, bucket by bucket. A bucket's value is a
quantile of as many lognormal latencies as it has events, drawn from that quantile's own distribution.
"""

import datetime as dt

import numpy as np
from scipy.special import ndtri

from graduation.observe import rates
from graduation.observe.levels import Levels
from tests.judgement.bets import Bets

TRAFFIC = (10, 100, 1_000, 10_000, 100_000)
"""Requests an hour."""
OBJECTIVE = 0.999
LOOKS_A_DAY = 48
SPREAD = 0.8
RHYTHM = 0.3
LASTING_NOISE = 0.05
BEGIN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def rate_alarms(random, services, days, per_hour, burn, unevenness=0.0):
    """Return how often services whose rate is so much of the allowed one were called critical, one count each.

    Unevenness is the coefficient of variation of the rate from bucket to bucket.
    """
    alarms = np.zeros(services, dtype=int)
    for is_critical in _watched(random, services, days * LOOKS_A_DAY, per_hour, lambda _: burn, unevenness):
        alarms += is_critical
    return alarms


def rate_delays(random, services, per_hour, burn, days):
    """Return after how many days services became critical whose rate rose, after a good month; infinity for never."""
    good = 30 * LOOKS_A_DAY
    delays = np.full(services, np.inf)
    watched = _watched(random, services, good + days * LOOKS_A_DAY, per_hour, lambda look: 0.5 if look < good else burn)
    for look, is_critical in enumerate(watched):
        if look >= good:
            delays[is_critical & np.isinf(delays)] = (look - good + 1) / LOOKS_A_DAY
    return delays


def _watched(random, services, looks, per_hour, burn_at, unevenness=0.0):
    """Yield at each look which services become critical."""
    allowed = 1 - OBJECTIVE
    bets = Bets(services, allowed, rates.ODDS, rates.ONE_BUCKET)
    for look in range(looks):
        total = random.poisson(per_hour / 2, services)
        rate = np.full(services, burn_at(look) * allowed)
        if unevenness:
            rate *= random.gamma(unevenness**-2, unevenness**2, services)
        bad = random.binomial(total, np.minimum(rate, 1))
        is_critical = bets.see_many(bad, total) >= rates.CRITICAL
        bets.begin_anew(is_critical)
        yield is_critical


def level_alarms(random, days, per_hour, quantile, rhythm, lasting=0.0):
    """Return how often one stationary stream was called critical; with lasting noise an hour is like the one before."""
    alarms, was = 0, False
    for _, severity in _levels(random, days * 24, per_hour, quantile, rhythm, lasting=lasting):
        is_critical = severity == "critical"
        alarms, was = alarms + (is_critical and not was), is_critical
    return alarms


def level_delay(random, per_hour, quantile, rhythm, factor, days):
    """Return after how many days a stream became critical that rose by a factor, after a good month."""
    hours = 30 * 24
    for hour, severity in _levels(random, hours + days * 24, per_hour, quantile, rhythm, {hours: factor}):
        if hour >= hours and severity == "critical":
            return (hour - hours + 1) / 24
    return np.inf


def _levels(random, hours, per_hour, quantile, rhythm, factors=None, lasting=0.0):
    """Yield after each hour what is said of a stream."""
    levels, raised, weather = Levels(), 0.0, 0.0
    for hour in range(hours):
        raised += np.log((factors or {}).get(hour, 1.0))
        if lasting:
            weather = lasting * weather + LASTING_NOISE * np.sqrt(1 - lasting**2) * random.normal()
        count = int(random.poisson(per_hour))
        if count:
            rank = int(np.ceil(quantile * count))
            noise = SPREAD * ndtri(random.beta(rank, count - rank + 1))
            value = float(np.exp(noise + weather + raised + rhythm * np.sin(hour * np.pi / 12)))
            levels.observe(value, count, at=BEGIN + dt.timedelta(hours=hour))
        yield hour, levels.severity
