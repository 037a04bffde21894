"""docs/judgement.md, made of what was found."""

from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "judgement.md"

HEAD = """\
# Judgement

What an agent may do alone is decided by evidence, and evidence can mislead in two ways: a good agent may fall by bad
luck, and a bad one may rise by good luck. This page says how often, and shows it by simulation. It is written by
`make judgement`, which takes the same seeds each time and fails when a guarantee does not hold.

"""

HOW = """\
## How it works

**A bet, not a bar.** Each agent's decisions are held against a target, by default at most 5 % of errors. The evidence
begins with one coin and bets it against the hypothesis "the rate is at most the target". While that is true the bets are
fair or worse, so that the coin becomes twenty in at most one life of twenty, *whenever one looks, and however often*.
When it is twenty, after 20 outcomes or more, the agent falls. A second coin is bet against "the rate is at least the
target"; when that is twenty, a rise is offered, and a person decides. What is usual instead, a share or an interval that
is looked at after each decision, is right for one look: the tables show what becomes of it after five thousand.

**How it bets.** Half of the coin is kept back; the rest is spread evenly over odds of 1.5, 2, 3, 5 and 10 times the
target's (for a rise: 0.02, 0.125, 0.25, 0.5 and 0.75 times). After the n-th look a share of 1/(n + 100) of everything is
dealt anew in the same way. A single bet on one rate would win sooner where that rate is the true one and never elsewhere;
a bet that is never dealt anew would need ten times as long for an agent that turns bad after a long good time.

**What counts.** Outcomes must be chosen without regard to what they are: a random audit of at least one decision in ten
(`graduation.audits`), or all of them. Complaints alone are no sample: they are all bad. What has no outcome yet counts
for nothing. They are told in the order of the decisions: where bad news travels faster than good, the order of arrival
would speak against everybody. Where some decisions are audited more often than others, theirs weigh less. Both bets begin anew with another
level, model, prompt or skill version, for what was shown was another's. A critical outcome needs no statistics.

**Drift.** Rates are watched by the same bet, on the events themselves, with a critical line of 1,000 instead of 20, and
with a bound on what one bucket can win, so that it takes two that agree. Latency and cost are watched by ADWIN (delta
0.00001) on the distance from the median of the same hour of the last four weeks; critical is a rise of at least a tenth
with which the two newest buckets agree. A slope by Theil and Sen tells a slow trend, and when a limit will be reached.

**What is not promised.** That errors are independent of each other is not needed for rates of errors: it is enough that,
whatever came before, the next is bad with at most the target's probability. An agent or a service that is worse than its
target for an hour of each day is not within it. The promise for latency and cost is shown for streams like the simulated
ones, whose noise is new in each hour: a level that wanders for hours, or a rhythm of the week, may be called a shift.

"""

CODE = """\
## In code

```python
from graduation import audits, intervals
from graduation.evidence import Trial

trial = Trial.begin(0.05, {"level": "advisor", "model": "m1", "prompt_version": "3", "skill_version": "1"})
trial = trial.observe(bad=0, total=120)  # audited outcomes, in the order of the decisions
assert trial.may_be_offered_a_rise and not trial.must_fall
trial = trial.observe(bad=1, critical=1)
assert trial.must_fall

trial = Trial.from_json(trial.as_json())  # what a cycle stores, and goes on from
assert trial.on({"level": "observer"}).in_favour.count == 0

assert audits.weight(rate=0.2) == 0.5  # drawn twice as often, it weighs half
assert intervals.wilson_lower(11, 11) > 0.8  # of one look alone
```

`graduation.observe.burn` reads statuses and burn rates from counts, `graduation.observe.rates` and
`graduation.observe.levels` watch for drift, `graduation.measures` measures decisions. All of them are functions of counts:
they know no table, and keep what they must remember as JSON.

"""


def render(sections):
    """Return the page."""
    broken = [section.title for section in sections if section.is_broken]
    verdict = f"**Broken: {'; '.join(broken)}.**" if broken else "**Every guarantee held.**"
    intro = (
        "## What was found\n\n"
        f"{verdict} `make judgement`, seeded. Shares of lives have their exact interval at 95 % in brackets, and a limit on "
        "a share is kept only if the whole interval keeps it. *Window*: the share of errors in the last hundred "
        "decisions against the target, or against twice (for a rise: half) of it. *Repeated Wilson*: the one-sided 95 % "
        "bound of all decisions, looked at after each. All rules see the same outcomes, and wait for the first 20.\n"
    )
    return HEAD + HOW + CODE + "\n".join([intro, *map(_section, sections)])


def _section(section):
    columns = (*section.columns, "promised", "")
    return "\n".join(
        [
            f"### {section.title}\n",
            f"{section.words}\n",
            _line(columns),
            _line(["---"] * len(columns)),
            *(
                _line((*row.cells, row.promised, f"**{row.mark}**" if row.is_broken else row.mark))
                for row in section.rows
            ),
            "",
        ]
    )


def _line(cells):
    return f"| {' | '.join(cells)} |"
