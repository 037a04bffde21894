"""Trends: samples of the totals, kept finer the nearer they are, and what happened between them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from execution import ledger, runs, trends
from execution.metrics import WORKFLOW_BUCKETS
from execution.models import CycleState, Run
from execution.trends import SPANS, Sample
from tests import skills

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
NONE = tuple([0] * (len(WORKFLOW_BUCKETS) + 2))


def sample(minute, *, opened=0, completed=0, failed=0, cost="0", tokens=0, lengths=NONE):
    """Return a sample so many minutes after the beginning."""
    return Sample(BEGAN.timestamp() + minute * 60, opened, completed, failed, 0, cost, tokens, lengths)


def test_samples_are_kept_finer_the_nearer_they_are():
    """After two weeks of minutes and a day there are some hundred samples, and none older than two weeks."""
    kept = []
    for minute in range(15 * 24 * 60):
        kept = trends.keep(kept, sample(minute))
    ages = [(kept[-1].at - one.at) / 60 for one in kept]
    assert sum(age <= 120 for age in ages) in range(120, 123)
    assert sum(120 < age <= 2880 for age in ages) in range(180, 188)
    assert sum(age > 2880 for age in ages) in range(140, 147)
    assert max(ages) <= 14 * 24 * 60


def test_points_tell_what_happened_in_a_minute_between_two_samples():
    """A quarter of an hour in which 30 runs were opened counts as two a minute."""
    kept = [sample(0, opened=100, completed=90), sample(15, opened=130, completed=90, failed=15)]
    (found,) = trends.points(kept, SPANS[1], now=BEGAN + timedelta(minutes=20))
    assert (found.opened, found.completed, found.failed) == (2, 0, 1)
    assert (found.median, found.most) == (None, None)


def test_points_of_a_log_that_was_counted_anew_are_not_negative():
    """Where totals begin anew, what happened in between is unknown and told as nothing."""
    (found,) = trends.points([sample(0, opened=100), sample(1, opened=3)], SPANS[0], now=BEGAN)
    assert found.opened == 0


@pytest.mark.parametrize(("share", "seconds"), [(0.5, 0.5), (0.95, 4.6), (1.0, 5.0)])
def test_share_within_reads_between_the_bounds(share, seconds):
    """Of ten runs within half a second and ten between one and five, half took half a second."""
    lengths = [0, 10, 0, 10, *[0] * (len(WORKFLOW_BUCKETS) - 4), 0, 0.0]
    assert trends.share_within(lengths, share) == pytest.approx(seconds)


def test_share_within_of_runs_beyond_all_bounds_is_the_last_bound():
    """What took longer than any bucket tells is shown as the largest bound."""
    assert trends.share_within([*[0] * len(WORKFLOW_BUCKETS), 4, 0.0], 0.5) == WORKFLOW_BUCKETS[-1]


def test_what_happened_since_a_moment_and_since_the_first_sample():
    """What was spent today counts from the last sample before midnight, or from the first one there is."""
    kept = [sample(0, cost="1.5", tokens=10), sample(60, cost="2.5", tokens=30), sample(120, cost="4", tokens=50)]
    today = trends.since(kept, BEGAN + timedelta(minutes=90))
    assert (today.cost, today.tokens, today.since) == (Decimal("1.5"), 20, BEGAN + timedelta(minutes=90))
    assert trends.since(kept, BEGAN - timedelta(days=1)).since == BEGAN
    assert trends.since(kept[:1], BEGAN) is None


def test_cycle_keeps_a_sample_a_minute(transactional_db):
    """The cycle counts the runs that were opened since the last sample, and does nothing twice within a minute."""
    trends.SAMPLE.run()
    runs.start(skills.add, {"left": 2})
    assert trends.SAMPLE.run() is None
    _make_older(minutes=2)
    assert trends.SAMPLE.run() == 1
    before, after = trends.samples()
    assert after.opened - before.opened == Run.objects.count() == 1
    assert ledger.ask("SELECT error_count FROM execution_cyclestate WHERE name = %s", [trends.NAME])[0].error_count == 0


def _make_older(*, minutes):
    """Let the last sample and the last tick be so many minutes ago."""
    row = CycleState.objects.get(pk=trends.NAME)
    row.state["samples"][0][0] -= 60 * minutes
    row.ticked_at = timezone.now() - timedelta(minutes=minutes)
    row.save()
