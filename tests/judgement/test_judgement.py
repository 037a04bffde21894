"""The guarantees in small, with each test run; in full with the slow tests, and by `make judgement`."""

import numpy as np
import pytest

from tests.judgement import findings, lives, page, proof, streams
from tests.judgement.findings import Row, Section, Share, Times, Yearly


def chance(seed=1):
    """Return a source of chance that is the same each time."""
    return np.random.default_rng(seed)


def share(whens):
    """Return in how many of the lives it came."""
    return (whens != lives.NEVER).mean()


def test_a_good_agent_hardly_ever_falls():
    """Of 500 lives of 2,000 decisions with 3 % of errors at most one in a hundred; other rules let many fall."""
    fell = lives.falls(chance(), lives=500, decisions=2000, rate=0.03)
    assert share(fell[lives.OURS]) <= 0.01
    assert share(fell[lives.WINDOW_RULE]) > 0.9
    assert share(fell[lives.WILSON]) > 0.02


@pytest.mark.parametrize(("rate", "most"), [(0.10, 300), (0.15, 100), (0.25, 40)])
def test_a_bad_agent_falls_soon(rate, most):
    """At the median within so many decisions."""
    fell = lives.falls(chance(), lives=300, decisions=1000, rate=rate)
    assert np.median(fell[lives.OURS]) <= most


def test_an_agent_that_turns_bad_falls_soon():
    """After a thousand good decisions within two hundred more at the median."""
    turned = np.repeat([0.02, 0.15], [1000, 1000])
    fell = lives.falls(chance(), lives=100, decisions=2000, rate=turned)
    assert np.median(fell[lives.OURS]) - 1000 <= 200


@pytest.mark.parametrize("rate", [0.05, 0.08])
def test_a_rise_is_hardly_ever_offered_at_the_target_or_above(rate):
    """Of 500 lives of 1,500 decisions at most five in a hundred."""
    assert share(lives.offers(chance(), lives=500, decisions=1500, rate=rate)[lives.OURS]) <= 0.05


@pytest.mark.parametrize(("rate", "most"), [(0.0, 100), (0.01, 200), (0.02, 400)])
def test_a_rise_is_offered_in_time(rate, most):
    """At the median within so many audited decisions."""
    assert np.median(lives.offers(chance(), lives=200, decisions=2000, rate=rate)[lives.OURS]) <= most


def test_silence_does_not_promote():
    """Who errs in 15 % of cases and is never complained of is offered nothing, and falls by audits."""
    silent = lives.audited(chance(), lives=100, decisions=3000, rate=0.15, audit_rate=0.1)
    assert share(silent["offered"]) <= 0.01
    assert np.median(silent["fell"]) < 1500


@pytest.mark.parametrize("traffic", [10, 100_000])
def test_a_healthy_stream_is_not_called_critical(traffic):
    """Not at what is allowed, for fifty services and ten days; nor a latency in sixty."""
    assert streams.rate_alarms(chance(), services=50, days=10, per_hour=traffic, burn=1.0).sum() <= 1
    assert streams.level_alarms(chance(), days=60, per_hour=traffic, quantile=0.95, rhythm=0.3) == 0


def test_a_shifted_stream_is_found():
    """Ten times what is allowed, and twice the latency, within days."""
    assert (streams.rate_delays(chance(), services=20, per_hour=100, burn=10, days=5) < 3).all()
    assert streams.level_delay(chance(), per_hour=100, quantile=0.95, rhythm=0.3, factor=2, days=7) < 3


def test_a_broken_guarantee_is_said():
    """A row that does not hold makes its section broken, and the page says so."""
    rows = [Row(cells=("3 %", "12 %"), promised="at most 1 %", holds=np.bool_(False)), Row(cells=("1 %", "0 %"))]
    section = Section(title="Good agents stay", words="In plain words.", columns=("rate", "share"), rows=rows)
    shown = page.render([section])
    assert "**Broken: Good agents stay.**" in shown
    assert "| 3 % | 12 % | at most 1 % | **BROKEN** |" in shown
    assert not Section(title="", words="", columns=(), rows=rows[1:]).is_broken


def test_a_limit_is_kept_only_by_the_whole_interval():
    """Two of a thousand keep 1 %, eight of a thousand do not; one alarm in two years may be two in one."""
    assert Share(2, 1000).is_at_most(0.01)
    assert not Share(8, 1000).is_at_most(0.01)
    assert Yearly(0, 6).upper < 1 < Yearly(1, 2).upper
    assert str(Share(0, 1000)) == "0 % (0 % to 0.37 %)"


def test_what_never_came_is_longer_than_all():
    """The median of times of which most never came is never."""
    times = Times(np.array([10, 20, lives.NEVER, lives.NEVER, lives.NEVER]), lives.NEVER)
    assert str(times) == "never (never)"
    assert findings.percent(0.123) == "12.3 %"


def test_the_code_on_the_page_runs():
    """What the page shows is what the functions do."""
    exec(page.CODE.partition("```python\n")[2].partition("```")[0], {})  # noqa: S102 - our own page


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_guarantee_holds_in_full():
    """What `make judgement` simulates, all of it."""
    assert [section.title for section in proof.run() if section.is_broken] == []


def test_the_page_tells_every_section():
    """A tiny proof has all sections, and the page a table of each."""
    tiny = proof.Size(
        lives=50,
        decisions=150,
        good_before=100,
        services=5,
        days=5,
        level_years=1,
        lasting_years=1,
        rises=1,
        traffic=(100,),
    )
    sections = proof.run(tiny, processes=1)
    shown = page.render(sections)
    assert all(f"### {section.title}" in shown and section.rows for section in sections)
    assert len(sections) == 9
