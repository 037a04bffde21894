"""What is simulated, how much of it, and what must come out."""

import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import starmap

import numpy as np

from tests.judgement import lives, streams
from tests.judgement.findings import Row, Section, Share, Times, Yearly, percent

SEED = 20260
FALL_RATES = (0.02, 0.03, 0.05, 0.10, 0.15, 0.25)
OFFER_RATES = (0.0, 0.01, 0.02, 0.03, 0.05, 0.06, 0.10)
RISES = (1.5, 3.0, 10.0)
"""What a rate becomes, as multiples of what is allowed."""
LEVEL_RISES = (1.25, 1.5, 2.0)
LASTING = (0.5, 0.8)
LATENCY, COST = (0.95, streams.RHYTHM), (0.5, 0.0)
"""Quantile and daily rhythm: a 95th percentile that swings by a third each day, a steady median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is simulated."""

    lives: int = 10_000
    decisions: int = 5_000
    good_before: int = 3_000
    services: int = 200
    days: int = 365
    level_years: int = 6
    lasting_years: int = 2
    rises: int = 20
    traffic: tuple[int, ...] = streams.TRAFFIC


FULL = Size()


def tasks(size):
    """Return every simulation by its name."""
    found = {
        ("fall", rate): partial(lives.falls, lives=size.lives, decisions=size.decisions, rate=rate)
        for rate in FALL_RATES
    }
    found |= {
        ("offer", rate): partial(lives.offers, lives=size.lives, decisions=size.decisions, rate=rate)
        for rate in OFFER_RATES
    }
    turned = np.repeat([0.02, 0.15], [size.good_before, 2_000])
    turning = max(100, size.lives // 10)
    found["turned"] = partial(lives.falls, lives=turning, decisions=len(turned), rate=turned)
    found["silent"] = partial(lives.audited, lives=turning, decisions=size.decisions, rate=0.15, audit_rate=0.1)
    for traffic in size.traffic:
        found |= _streams(size, traffic)
    return found | _lasting(size)


def _streams(size, traffic):
    alarms = partial(streams.rate_alarms, services=size.services, days=size.days, per_hour=traffic)
    found = {
        ("uneven", traffic): partial(alarms, burn=0.5, unevenness=0.5),
        ("edge", traffic): partial(alarms, burn=1.0),
    }
    for rise in RISES:
        found["rise", traffic, rise] = partial(
            streams.rate_delays, services=size.services, per_hour=traffic, burn=rise, days=30
        )
    for name, (quantile, rhythm) in (("latency", LATENCY), ("cost", COST)):
        stream = {"per_hour": traffic, "quantile": quantile, "rhythm": rhythm}
        for year in range(size.level_years):
            found[name, traffic, year] = partial(streams.level_alarms, days=size.days, **stream)
        for rise in LEVEL_RISES:
            found[name, traffic, "rise", rise] = partial(_delays, count=size.rises, **stream, factor=rise, days=14)
    return found


def _lasting(size):
    """Return streams whose noise lasts for hours, which the promise does not hold for."""
    quantile, rhythm = LATENCY
    alarms = partial(streams.level_alarms, days=size.days, per_hour=1_000, quantile=quantile, rhythm=rhythm)
    return {
        ("lasting", likeness, year): partial(alarms, lasting=likeness)
        for likeness in LASTING
        for year in range(size.lasting_years)
    }


def _delays(random, count, **stream):
    return np.array([streams.level_delay(random, **stream) for _ in range(count)])


def run(size=FULL, processes=2):
    """Simulate everything, and return the sections of the proof."""
    return sections(simulate(size, processes), size)


def simulate(size, processes):
    """Return what every simulation gave, each with a seed of its own, by its name."""
    named = tasks(size)
    if processes == 1:
        return dict(zip(named, starmap(_seeded, named.items()), strict=True))
    with ProcessPoolExecutor(processes) as pool:
        return dict(zip(named, pool.map(_seeded, *zip(*named.items(), strict=True)), strict=True))


def _seeded(name, task):
    return task(np.random.default_rng([SEED, zlib.crc32(repr(name).encode())]))


def sections(found, size):
    """Return what the simulations say, against what is promised."""
    return [
        _falls(found, size),
        _falls_in_time(found, size),
        _offers(found, size),
        _offers_in_time(found, size),
        _silence(found),
        _false_alarms(found, size),
        _lasting_alarms(found, size),
        _recalled_rates(found, size),
        _recalled_levels(found, size),
    ]


def _falls(found, size):
    limits = {0.02: 0.01, 0.03: 0.01, 0.05: 0.05}
    section = Section(
        title="A good agent does not fall",
        words=(
            f"Of {size.lives:,} lives of {size.decisions:,} decisions each: how many were demoted although their true "
            "rate of errors is at or below the target of 5 %. The e-process may be looked at after every decision; at "
            "the target itself it errs in at most one life of twenty, and below it hardly ever. The other rules look "
            "as often, and were not made for that: each further look is one more chance to be wrong."
        ),
        columns=("true rate", *lives.RULES),
    )
    for rate, limit in limits.items():
        shares = _shares(found["fall", rate])
        section.rows.append(
            Row(
                cells=(percent(rate), *map(str, shares.values())),
                promised=f"at most {percent(limit)}",
                holds=shares[lives.OURS].is_at_most(limit),
            )
        )
    return section


def _falls_in_time(found, size):
    section = Section(
        title="A bad agent falls soon",
        words=(
            "After how many decisions it is demoted: the median, and in brackets what 95 of 100 lives do not pass. "
            f"The last line is of an agent that made {size.good_before:,} decisions with 2 % of errors before it turned "
            "to 15 %: what is kept back from the bets makes a long good record no shield."
        ),
        columns=("true rate", *lives.RULES),
    )
    for rate, limit in {0.10: None, 0.15: 100, 0.25: None}.items():
        times = {rule: Times(whens, lives.NEVER) for rule, whens in found["fall", rate].items()}
        section.rows.append(_timed(percent(rate), times, limit))
    after = {rule: _after(whens, size.good_before) for rule, whens in found["turned"].items()}
    section.rows.append(_timed("2 %, then 15 %", after, 300))
    return section


def _after(whens, start):
    """Return the times from the turn on, of the lives that had not fallen before."""
    late = whens[whens > start]
    return Times(np.where(late == lives.NEVER, late, late - start), lives.NEVER) if len(late) else None


def _timed(label, times, limit):
    ours = times[lives.OURS]
    return Row(
        cells=(label, *("all had fallen before" if one is None else str(one) for one in times.values())),
        promised="" if limit is None else f"median at most {limit}",
        holds=None if limit is None else ours.median_upper <= limit,
    )


def _offers(found, size):
    section = Section(
        title="A rise is not offered to who has not earned it",
        words=(
            f"Of {size.lives:,} lives of {size.decisions:,} decisions each: how many were offered a rise although their "
            "true rate of errors is the target of 5 % or above it. A person decides about each offer; this is about not "
            "asking one without evidence."
        ),
        columns=("true rate", *lives.RULES),
    )
    for rate in (0.05, 0.06, 0.10):
        shares = _shares(found["offer", rate])
        section.rows.append(
            Row(
                cells=(percent(rate), *map(str, shares.values())),
                promised="at most 5 %",
                holds=shares[lives.OURS].is_at_most(0.05),
            )
        )
    return section


def _offers_in_time(found, size):
    section = Section(
        title="A good agent is offered a rise in time",
        words="After how many audited decisions: the median, and in brackets what 95 of 100 lives do not pass.",
        columns=("true rate", *lives.RULES),
    )
    for rate, limit in {0.0: 100, 0.01: 200, 0.02: 400, 0.03: None}.items():
        times = {rule: Times(whens, lives.NEVER) for rule, whens in found["offer", rate].items()}
        section.rows.append(_timed(percent(rate), times, limit))
    return section


def _silence(found):
    silent = found["silent"]
    offered = Share(int((silent["offered"] != lives.NEVER).sum()), len(silent["offered"]))
    return Section(
        title="Silence does not promote",
        words=(
            "An agent errs in 15 % of its decisions and nobody complains. One decision in ten is drawn for an audit, "
            "whatever came of it, and only what was audited counts. Times are in decisions, audited or not."
        ),
        columns=("rule", "offered a rise", "demoted after"),
        rows=[
            Row(
                cells=("only audits count", str(offered), str(Times(silent["fell"], lives.NEVER))),
                promised="no offer in 99 of 100 lives",
                holds=offered.is_at_most(0.01),
            ),
            Row(
                cells=("silence counts as success", f"all, after {silent['silence'][0]}", "never"),
            ),
        ],
    )


def _false_alarms(found, size):
    section = Section(
        title="A healthy service is not called critical",
        words=(
            "Critical drift signals of streams on which nothing changes, for each service and year. *Uneven*: half of "
            "the allowed share is bad, and varies by half from bucket to bucket. *At the edge*: just what is allowed "
            "(an objective of 99.9 %). *Latency*: a 95th percentile that swings by a third each day. *Cost*: a steady "
            "median. Judged is the sum of uneven rate, latency and cost; at the edge, rates alone."
        ),
        columns=("requests an hour", "rate, uneven", "rate, at the edge", "latency", "cost"),
    )
    for traffic in size.traffic:
        rate_years, years = size.services * size.days / 365, size.level_years * size.days / 365
        uneven, edge = (Yearly(int(found[kind, traffic].sum()), rate_years) for kind in ("uneven", "edge"))
        levels = {
            name: Yearly(sum(found[name, traffic, year] for year in range(size.level_years)), years)
            for name in ("latency", "cost")
        }
        both = Yearly(sum(one.alarms for one in levels.values()), years)
        section.rows.append(
            Row(
                cells=(f"{traffic:,}", str(uneven), str(edge), *map(str, levels.values())),
                promised="at most 1 a year",
                holds=both.upper + uneven.upper <= 1 and edge.upper <= 1,
            )
        )
    return section


def _lasting_alarms(found, size):
    section = Section(
        title="Where the promise ends: noise that lasts",
        words=(
            "The promise for latency and cost is for noise that is new in each hour. Here the level wanders by 5 % and an "
            "hour resembles the one before (1,000 requests an hour). What wanders by a tenth for some hours is called "
            "critical, and rightly or not, it is nothing that lasts."
        ),
        columns=("correlation of an hour with the next", "critical"),
    )
    for likeness in LASTING:
        alarms = sum(found["lasting", likeness, year] for year in range(size.lasting_years))
        counted = Yearly(alarms, size.lasting_years * size.days / 365)
        section.rows.append(Row(cells=(f"{likeness:g}", str(counted)), promised="nothing"))
    return section


def _recalled_rates(found, size):
    section = Section(
        title="A service that burns its budget is found",
        words=(
            "Its rate of bad events was half of what is allowed for a month, and then so many times what is allowed. How "
            "many of the services were called critical within 30 days, and after how many days at the median. Where a "
            "service has few events, even a bad day holds few bad ones: no rule can know sooner without guessing."
        ),
        columns=("requests an hour", *(f"{rise:g} times" for rise in RISES)),
    )
    for traffic in size.traffic:
        delays = [found["rise", traffic, rise] for rise in RISES]
        section.rows.append(
            Row(
                cells=(f"{traffic:,}", *map(_recall, delays)),
                promised="95 of 100 at 10 times",
                holds=_share_of(delays[-1]).is_at_least(0.95),
            )
        )
    return section


def _recalled_levels(found, size):
    section = Section(
        title="A service that became slower or dearer is found",
        words=(
            "The value rose by a factor after a month. How many of the streams were called critical within 14 days, and "
            "after how many days at the median. Latencies scatter widely (lognormal, 0.8), so that a 95th percentile of "
            "the thirty requests of three hours says little about a small rise."
        ),
        columns=(
            "requests an hour",
            *(f"{name} times {rise:g}" for name in ("latency", "cost") for rise in LEVEL_RISES),
        ),
    )
    for traffic in size.traffic:
        delays = {
            (name, rise): found[name, traffic, "rise", rise] for name in ("latency", "cost") for rise in LEVEL_RISES
        }
        least = min((_share_of(delays[name, 2.0]) for name in ("latency", "cost")), key=lambda share: share.hits)
        section.rows.append(
            Row(
                cells=(f"{traffic:,}", *map(_recall, delays.values())),
                promised="95 of 100 at twice",
                holds=least.is_at_least(0.95),
            )
        )
    return section


def _shares(whens):
    return {rule: Share(int((when != lives.NEVER).sum()), len(when)) for rule, when in whens.items()}


def _share_of(delays):
    return Share(int(np.isfinite(delays).sum()), len(delays))


def _recall(delays):
    share = _share_of(delays)
    median = Times(delays, np.inf).in_units(1)
    return f"{100 * share.hits / share.total:.0f} %" + ("" if median == "never" else f", {median} d")
