"""Burn rates against tables computed by hand: windows, floors, the absolute rule, statuses, and nothing seen."""

import datetime as dt

import pytest

from execution.exceptions import OptionInvalid
from graduation.observe import burn
from graduation.observe.burn import Bucket, Counts

NOW = dt.datetime(2026, 3, 31, 12, tzinfo=dt.UTC)
MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)


def traffic(since, until, *, bad, total, every=MINUTE):
    """Return buckets from so long ago until so long ago, each with these counts."""
    count = (since - until) // every
    return [
        Bucket(start_at=NOW - since + index * every, counts=Counts(good=total - bad, total=total))
        for index in range(count)
    ]


def alarms(reading):
    """Return the rates of the pairs that alarm."""
    return [one.pair.rate for one in reading.burns if one.is_alarming]


def test_windows_of_thirty_days_are_the_usual_ones():
    """14.4 over 1 h and 5 min, 6 over 6 h and 30 min, 3 over 1 d and 2 h, 1 over 3 d and 6 h."""
    assert [(one.rate, one.long, one.short) for one in burn.pairs()] == [
        (14.4, HOUR, 5 * MINUTE),
        (6.0, 6 * HOUR, 30 * MINUTE),
        (3.0, DAY, 2 * HOUR),
        (1.0, 3 * DAY, 6 * HOUR),
    ]


def test_windows_scale_with_the_period():
    """A week's windows are 7/30 as long, and no window is shorter than a minute."""
    assert [one.long for one in burn.pairs(7 * DAY)] == [14 * MINUTE, 84 * MINUTE, 336 * MINUTE, 1008 * MINUTE]
    assert burn.pairs(DAY)[0].short == MINUTE
    assert burn.pairs(90 * DAY)[0].long == 3 * HOUR


@pytest.mark.parametrize(
    ("bad", "consumed", "status"),
    [
        (0, 0.0, "healthy"),
        (49, 0.49, "healthy"),
        (50, 0.5, "warning"),
        (79, 0.79, "warning"),
        (80, 0.8, "critical"),
        (99, 0.99, "critical"),
        (100, 1.0, "exhausted"),
        (250, 2.5, "exhausted"),
    ],
)
def test_status_follows_from_the_budget_consumed(bad, consumed, status):
    """Of 10,000 events at 99 % a hundred may be bad."""
    counts = Counts(good=10_000 - bad, total=10_000)
    assert burn.consumed(counts, 0.99) == pytest.approx(consumed)
    assert burn.status(burn.consumed(counts, 0.99)) == status


def test_nothing_seen_and_nothing_bad_are_different():
    """Without events there is no share and no rate; with good ones alone both are zero."""
    empty, good = burn.read([], 0.99, now=NOW), burn.read(traffic(HOUR, 0 * HOUR, bad=0, total=1), 0.99, now=NOW)
    assert (empty.status, empty.consumed, empty.burns[0].long_rate) == ("no_data", None, None)
    assert (good.status, good.consumed, good.burns[0].long_rate) == ("healthy", 0.0, 0.0)
    assert empty.urgency is good.urgency is None


def test_a_fast_burn_pages():
    """In the last hour 20 % of 6,000 events are bad at 99 %: rates of 20 in both short windows, 20/6 in the six hours."""
    buckets = [*traffic(6 * HOUR, HOUR, bad=0, total=100), *traffic(HOUR, 0 * HOUR, bad=20, total=100)]
    reading = burn.read(buckets, 0.99, now=NOW)
    assert [round(one.long_rate, 3) for one in reading.burns] == [20, 3.333, 3.333, 3.333]
    assert [round(one.short_rate, 3) for one in reading.burns] == [20, 20, 10, 3.333]
    assert alarms(reading) == [14.4, 3.0, 1.0]
    assert reading.urgency == "page"


def test_a_burn_that_has_ended_is_silent():
    """Both windows must pass: what burnt an hour ago and is well since five minutes does not alarm the first pair."""
    buckets = [*traffic(HOUR, 5 * MINUTE, bad=40, total=100), *traffic(5 * MINUTE, 0 * HOUR, bad=0, total=100)]
    reading = burn.read(buckets, 0.99, now=NOW)
    assert reading.burns[0].long_rate > 14.4
    assert reading.burns[0].short_rate == 0
    assert not reading.burns[0].is_alarming


def test_a_rate_of_exactly_the_line_does_not_pass_it():
    """144 bad of 1,000 at 99 % burn at 14.4, which is not more than 14.4."""
    buckets = [Bucket(start_at=NOW - MINUTE, counts=Counts(good=856, total=1000))]
    assert burn.read(buckets, 0.99, now=NOW).burns[0].long_rate == pytest.approx(14.4)
    assert alarms(burn.read(buckets, 0.99, now=NOW)) == [6.0, 3.0, 1.0]


@pytest.mark.parametrize(("bad", "total", "heard"), [(1, 5, False), (3, 9, False), (2, 10, False), (3, 10, True)])
def test_a_quiet_hour_pages_nobody(bad, total, heard):
    """Fewer than ten events, or than three bad ones, are not heard."""
    buckets = [Bucket(start_at=NOW - MINUTE, counts=Counts(good=total - bad, total=total))]
    assert bool(alarms(burn.read(buckets, 0.999, now=NOW))) is heard


def test_a_long_outage_at_low_traffic_is_heard():
    """Two events an hour, all bad for six hours, none in the last five: the pairs are deaf, the absolute rule is not."""
    good = traffic(30 * DAY, 6 * HOUR, bad=0, total=2, every=HOUR)
    dead = [
        Bucket(start_at=NOW - 5 * HOUR + minutes * MINUTE, counts=Counts(good=0, total=2))
        for minutes in range(0, 250, 50)
    ]
    reading = burn.read([*good, *dead], 0.99, now=NOW)
    assert not reading.burns[0].is_alarming
    assert not reading.burns[1].is_alarming
    assert (reading.outage.counts.bad, reading.outage.is_alarming) == (10, True)
    assert reading.outage.budget_share == pytest.approx(10 / (1438 * 0.01))
    assert reading.urgency == "page"


def test_ten_bad_events_of_millions_are_no_outage():
    """The absolute rule wants two percent of the budget as well."""
    buckets = traffic(5 * HOUR, 4 * HOUR, bad=1, total=100_000)
    outage = burn.read(buckets, 0.999, now=NOW).outage
    assert (outage.counts.bad, outage.is_alarming) == (60, False)
    assert outage.budget_share == pytest.approx(60 / 6000)


def test_a_slow_burn_is_a_ticket():
    """Twice what is allowed for three days pages nobody and is told all the same."""
    reading = burn.read(traffic(3 * DAY, 0 * DAY, bad=2, total=100, every=HOUR), 0.99, now=NOW)
    assert alarms(reading) == [1.0]
    assert reading.urgency == "ticket"


def test_what_is_outside_the_period_is_left_out():
    """A bucket of before the period, and one that begins now, do not count."""
    buckets = [
        Bucket(start_at=NOW - 30 * DAY - MINUTE, counts=Counts(good=0, total=50)),
        Bucket(start_at=NOW - 30 * DAY, counts=Counts(good=7, total=7)),
        Bucket(start_at=NOW, counts=Counts(good=0, total=50)),
    ]
    assert burn.read(buckets, 0.99, now=NOW).counts == Counts(good=7, total=7)


def test_the_worst_status_speaks_for_all():
    """What is wrong goes before what is unknown, and that before healthy; of nothing, nothing is known."""
    assert burn.worst(["healthy", "warning", "no_data"]) == "warning"
    assert burn.worst(["healthy", "no_data"]) == "no_data"
    assert burn.worst(["error", "healthy", "no_data"]) == "error"
    assert burn.worst(["critical", "exhausted"]) == "exhausted"
    assert burn.worst([]) == "no_data"


def test_events_are_counted_by_the_minute():
    """Three events in two minutes make two buckets."""
    events = [(NOW, True), (NOW + dt.timedelta(seconds=59), False), (NOW + MINUTE, True)]
    assert list(burn.by_minute(events)) == [
        Bucket(start_at=NOW, counts=Counts(good=1, total=2)),
        Bucket(start_at=NOW + MINUTE, counts=Counts(good=1, total=1)),
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Counts(good=3, total=2), "3 good events of 2"),
        (lambda: burn.consumed(Counts(good=1, total=1), 99.9), "such as 0.999"),
        (lambda: burn.pairs(0 * DAY), "usually 30 days"),
    ],
)
def test_what_cannot_be_is_refused(wrong, said):
    """Bad input says what it is and what is wanted."""
    with pytest.raises(OptionInvalid, match=said):
        wrong()
