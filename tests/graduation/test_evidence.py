"""The bet: fair while the hypothesis is true, whatever the order, the batches and the moments of looking."""

import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from execution.exceptions import OptionInvalid
from graduation.evidence import BETTER, WORSE, Evidence, Trial, counted
from tests.judgement.bets import Bets

TARGET = Fraction(1, 20)
ODDS = {"above": (Fraction(3, 2), Fraction(3)), "below": (Fraction(1, 4), Fraction(1, 2))}


def begun(side):
    """Return a bet with two odds, as few as fractions can bear."""
    return getattr(Evidence, side)(float(TARGET), [float(odds) for odds in ODDS[side]])


def coins(side, outcomes):
    """Return what the coin is worth after each outcome, in exact fractions, from the words of the docstring alone."""
    alternatives = [odds * TARGET / (1 - TARGET + odds * TARGET) for odds in ODDS[side]]
    deal = [Fraction(1, 2)] + [Fraction(1, 2) / len(alternatives)] * len(alternatives)
    stakes, worth = list(deal), []
    for look, is_bad in enumerate(outcomes, start=1):
        ratios = [a / TARGET if is_bad else (1 - a) / (1 - TARGET) for a in alternatives]
        stakes = [stake * ratio for stake, ratio in zip(stakes, [1, *ratios], strict=True)]
        whole, share = sum(stakes), Fraction(1, look + 100)
        worth.append(whole)
        stakes = [(1 - share) * stake + share * part * whole for stake, part in zip(stakes, deal, strict=True)]
    return worth


def told(evidence, outcomes):
    """Return the evidence after these outcomes, one look each."""
    for outcome in outcomes:
        evidence = evidence.observe(outcome)
    return evidence


@pytest.mark.parametrize("side", ["above", "below"])
def test_it_is_worth_what_exact_fractions_say(side):
    """Over every sequence of eight outcomes, the e-value is the one that fractions give."""
    for outcomes in itertools.product((0, 1), repeat=8):
        assert told(begun(side), outcomes).e == pytest.approx(float(coins(side, outcomes)[-1]), rel=1e-12)


@pytest.mark.parametrize("side", ["above", "below"])
@pytest.mark.parametrize("rate", [Fraction(0), Fraction(1, 50), TARGET, Fraction(1, 10), Fraction(1, 2)])
def test_the_game_is_fair_at_the_target_and_worse_within_the_hypothesis(side, rate):
    """Its expectation over all sequences is one at the target, less inside the hypothesis, more outside."""
    expected = Fraction(0)
    for outcomes in itertools.product((0, 1), repeat=8):
        bad = sum(outcomes)
        expected += rate**bad * (1 - rate) ** (8 - bad) * coins(side, outcomes)[-1]
    if rate == TARGET:
        assert expected == 1
    else:
        assert (expected > 1) == ((rate > TARGET) == (side == "above"))


def test_stopping_at_the_best_moment_wins_no_more():
    """Who stops the moment the coin is twice its worth has, over all sequences, still a fair game."""
    expected = Fraction(0)
    for outcomes in itertools.product((0, 1), repeat=8):
        bad, worth = sum(outcomes), coins("above", outcomes)
        stopped = next((coin for coin in worth if coin >= 2), worth[-1])
        expected += TARGET**bad * (1 - TARGET) ** (8 - bad) * stopped
    assert expected == 1


@pytest.mark.parametrize(("side", "odds"), [("above", WORSE), ("below", BETTER)])
def test_two_forms_of_the_bet_agree(side, odds):
    """The form in logarithms and the form in arrays, written apart, are worth the same after each of 2,000 outcomes."""
    outcomes = np.random.default_rng(7).random(2000) < 0.06
    evidence, bets = getattr(Evidence, side)(0.05), Bets(1, 0.05, odds)
    for outcome in outcomes:
        evidence = evidence.observe(int(outcome))
        assert bets.see(np.array([outcome]))[0] == pytest.approx(evidence.e, rel=1e-9)


def test_two_forms_of_the_bet_agree_on_buckets():
    """So they are after buckets of thousands, with a bound on what one of them can win."""
    random = np.random.default_rng(8)
    evidence, bets = Evidence.above(0.001), Bets(1, 0.001, WORSE, at_most=30)
    for rate in [0.0005] * 200 + [0.003] * 20:
        bad = int(random.binomial(5000, rate))
        evidence = evidence.observe(bad, 5000, at_most=30)
        assert np.log(bets.see_many(np.array([bad]), np.array([5000]))[0]) == pytest.approx(evidence.log_e, abs=1e-9)


def test_a_life_at_the_target_is_refuted_in_at_most_one_of_twenty():
    """By Monte Carlo: of 1,000 lives of 1,000 outcomes at exactly the target, looked at after each."""
    random, refuted = np.random.default_rng(9), np.zeros(1000, dtype=bool)
    bets = Bets(1000, 0.05, WORSE)
    for _ in range(1000):
        refuted |= bets.see(random.random(1000) < 0.05) >= 20
    assert 0.002 < refuted.mean() < 0.05


batches = some.lists(
    some.integers(1, 40).flatmap(lambda total: some.tuples(some.integers(0, total), some.just(total))), max_size=12
)


@given(batches, some.sampled_from(["above", "below"]))
@settings(deadline=None, max_examples=30)
def test_state_goes_through_json_unchanged(seen, side):
    """Stored after each batch and restored, it is the same evidence to the last bit."""
    through, kept = begun(side), begun(side)
    for bad, total in seen:
        through = Evidence.from_json(json.loads(json.dumps(through.observe(bad, total).as_json())))
        kept = kept.observe(bad, total)
    assert through == kept
    assert through.count == sum(total for _, total in seen)


@given(some.lists(some.booleans(), min_size=1, max_size=60), some.randoms())
@settings(deadline=None, max_examples=30)
def test_equal_batches_say_the_same_in_any_order(outcomes, random):
    """Within one batch only the counts matter."""
    shuffled = random.sample(outcomes, len(outcomes))
    first, second = (
        begun("above").observe(*counted(0.0 if bad else 1.0 for bad in one)) for one in (outcomes, shuffled)
    )
    assert first == second


@given(some.integers(0, 30), some.integers(0, 30), some.floats(0.05, 1))
@settings(deadline=None, max_examples=30)
def test_a_bad_outcome_never_speaks_for_the_agent(bad, good, weight):
    """One more bad outcome raises what is against it and lowers what is for it."""
    worse = {"bad": bad + 1, "total": bad + good + 1, "weight": weight}
    better = {"bad": bad, "total": bad + good + 1, "weight": weight}
    assert begun("above").observe(**worse).log_e > begun("above").observe(**better).log_e
    assert begun("below").observe(**worse).log_e < begun("below").observe(**better).log_e


@given(some.floats(0, 1))
@settings(deadline=None, max_examples=30)
def test_a_half_bad_outcome_never_says_more_than_was_seen(bad):
    """A partial outcome is worth no more than the straight line between a good one and a bad one."""
    for side in ("above", "below"):
        good, whole = begun(side).observe(0).e, begun(side).observe(1).e
        assert begun(side).observe(bad).e <= (1 - bad) * good + bad * whole + 1e-12


def test_uneven_audits_keep_the_game_fair():
    """Where bad decisions are drawn twice as often as good ones, weights make up for it: the expectation stays one."""
    rate, hard = 0.05, 0.2
    hard_rate = 0.2
    easy_rate = (rate - hard * hard_rate) / (1 - hard)
    expected = 0.0
    for share, errs, drawn in ((hard, hard_rate, 0.2), (1 - hard, easy_rate, 0.1)):
        weight = 0.1 / drawn
        seen = sum(p * Evidence.above(rate).observe(bad, weight=weight).e for bad, p in ((1, errs), (0, 1 - errs)))
        expected += share * (drawn * seen + (1 - drawn))
    assert expected == pytest.approx(1)


def test_twenty_outcomes_are_the_least():
    """Nineteen bad outcomes of nineteen refute nothing yet; the twentieth does."""
    evidence = told(Evidence.above(0.05), [1] * 19)
    assert evidence.e > 1e6
    assert not evidence.refutes()
    assert evidence.observe(1).refutes()


def test_a_long_good_record_is_no_shield():
    """After 5,000 outcomes with 2 % of errors, an agent that errs in every second is found within thirty more."""
    evidence = told(Evidence.above(0.05), [i % 50 == 0 for i in range(5000)])
    for count in itertools.count(1):
        evidence = evidence.observe(count % 2)
        if evidence.refutes():
            break
    assert count <= 30


def test_one_look_wins_no_more_than_it_may():
    """A burst within one look multiplies the e-value by the bound, not by millions."""
    evidence = Evidence.above(0.01).observe(0, 100)
    assert evidence.observe(500, 500, at_most=30).e == pytest.approx(30 * evidence.e)


def test_nothing_seen_changes_nothing():
    """No outcome is no evidence, for either side."""
    trial = Trial.begin(0.05, {"level": "advisor"})
    assert trial.observe(0, 0) == trial
    assert counted([None, None]) == (0.0, 0)
    assert counted([1, None, 0.5, 0]) == (1.5, 3)


def test_a_trial_offers_a_rise_after_good_outcomes_and_asks_for_a_fall_after_bad_ones():
    """A hundred good outcomes may be offered a rise; thirty bad ones must fall, and are offered nothing."""
    trial = Trial.begin(0.05, {"level": "advisor"})
    good = trial.observe(0, 100)
    assert good.may_be_offered_a_rise
    assert not good.must_fall
    bad = good.observe(30, 30)
    assert bad.must_fall
    assert not bad.may_be_offered_a_rise


def test_a_critical_outcome_needs_no_statistics():
    """One critical outcome asks for a fall at once, and no rise is offered."""
    trial = Trial.begin(0.05, {}).observe(0, 200).observe(1, critical=1)
    assert trial.must_fall
    assert not trial.may_be_offered_a_rise
    with pytest.raises(OptionInvalid, match="what is critical is bad as well"):
        trial.observe(0, 3, critical=1)


@pytest.mark.parametrize("changed", ["level", "model", "prompt_version", "skill_version"])
def test_a_trial_begins_anew_on_another_basis(changed):
    """What was shown at one level, model, prompt or skill version says nothing of another."""
    basis = {"level": "advisor", "model": "m1", "prompt_version": "p1", "skill_version": "1"}
    trial = Trial.begin(0.05, basis).observe(1, 50)
    assert trial.on(dict(basis)) is trial
    assert trial.on(basis | {changed: "other"}) == Trial.begin(0.05, basis | {changed: "other"})


def test_a_trial_goes_through_json_unchanged():
    """Both bets, the basis and the critical outcomes are kept."""
    trial = Trial.begin(0.05, {"model": "m"}).observe(1, 30, critical=1)
    assert Trial.from_json(json.loads(json.dumps(trial.as_json()))) == trial


def test_the_wealth_of_millions_is_a_number():
    """Ten million outcomes neither overflow nor vanish, and can be stored."""
    evidence = Evidence.above(0.001)
    for bad in (0, 5000, 50_000, 0):
        evidence = evidence.observe(bad, 10_000_000)
    assert math.isfinite(evidence.log_e)
    assert 0 <= evidence.p <= 1
    json.dumps(evidence.as_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Evidence.above(5), "a share between 0 and 1"),
        (lambda: Evidence.above(0.05, [0.5]), "odds to bet on"),
        (lambda: Evidence.below(0.05, []), "odds to bet on"),
        (lambda: Evidence.above(0.05).observe(3, 2), "3 bad outcomes of 2"),
        (lambda: Evidence.above(0.05).observe(1, weight=2), "weight is 2"),
        (lambda: Evidence.from_json({"target": 0.05}), "no stored evidence"),
    ],
)
def test_what_cannot_be_is_refused(wrong, said):
    """Bad input says what it is and what is wanted."""
    with pytest.raises(OptionInvalid, match=said):
        wrong()
