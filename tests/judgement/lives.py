"""Lives of agents: after how many decisions each rule would have let one fall, or offered it a rise.

All rules see the same outcomes. Beside ours: what is often done instead. A *window* compares the share of errors in the
last hundred decisions with a line; a *repeated Wilson bound* looks after each decision at all that were made.
"""

import numpy as np

from graduation import evidence
from tests.judgement.bets import Bets

TARGET = 0.05
LEAST = evidence.LEAST_COUNT
WINDOW = 100
NEVER = np.iinfo(np.int64).max
CHUNK = 1000
OURS, WINDOW_RULE, WIDE_WINDOW, WILSON = (
    "e-process",
    "window of 100",
    "window, line at twice or half",
    "repeated Wilson",
)
RULES = (OURS, WINDOW_RULE, WIDE_WINDOW, WILSON)
_Z = 1.6448536269514722


def falls(random, lives, decisions, rate):
    """Return for each rule after which decision each life fell; the rate may be one a decision."""
    return _lived(random, lives, decisions, rate, _falls)


def offers(random, lives, decisions, rate):
    """Return for each rule after which decision each life was offered a rise."""
    return _lived(random, lives, decisions, rate, _offers)


def audited(random, lives, decisions, rate, audit_rate):
    """Return when silent agents fell and were offered a rise, by audits alone; and by taking silence for success.

    Their errors are never reported by anybody; an audit finds what it looks at.
    """
    bad = random.random((lives, decisions)) < rate
    looked = random.random((lives, decisions)) < audit_rate
    found = [bad[life][looked[life]] for life in range(lives)]
    counts = min(len(one) for one in found)
    at = [np.flatnonzero(one)[:counts] + 1 for one in looked]
    outcomes = np.stack([one[:counts] for one in found])
    fell, offered = _bet(outcomes, evidence.WORSE), _bet(outcomes, evidence.BETTER)
    silent = np.zeros((1, decisions), dtype=bool)
    return {
        "fell": _placed(fell, at),
        "offered": np.where(offered < fell, _placed(offered, at), NEVER),
        "silence": np.repeat(_bet(silent, evidence.BETTER), lives),
    }


def _placed(whens, places):
    return np.array([NEVER if when == NEVER else place[when - 1] for when, place in zip(whens, places, strict=True)])


def _lived(random, lives, decisions, rate, rules):
    parts = []
    for start in range(0, lives, CHUNK):
        outcomes = random.random((min(CHUNK, lives - start), decisions), dtype=np.float32) < rate
        parts.append(rules(outcomes))
    return {rule: np.concatenate([part[rule] for part in parts]) for rule in RULES}


def _falls(outcomes):
    window, whole, counts = _counted(outcomes)
    return {
        OURS: _bet(outcomes, evidence.WORSE),
        WINDOW_RULE: _first(window > TARGET),
        WIDE_WINDOW: _first(window > 2 * TARGET),
        WILSON: _first(_wilson(whole, counts, -1) > TARGET),
    }


def _offers(outcomes):
    window, whole, counts = _counted(outcomes)
    window[:, : WINDOW - 1] = 1
    return {
        OURS: _bet(outcomes, evidence.BETTER),
        WINDOW_RULE: _first(window < TARGET),
        WIDE_WINDOW: _first(window < TARGET / 2),
        WILSON: _first(_wilson(whole, counts, +1) < TARGET),
    }


def _bet(outcomes, odds):
    """Return when the e-value of each life was twenty."""
    lives, decisions = outcomes.shape
    bets, when, alive = Bets(lives, TARGET, odds), np.full(lives, NEVER), np.arange(lives)
    for n in range(1, decisions + 1):
        has_won = bets.see(outcomes[alive, n - 1]) >= 1 / evidence.ALPHA
        if n >= LEAST and has_won.any():
            when[alive[has_won]] = n
            alive = alive[~has_won]
            bets.keep(~has_won)
            if not len(alive):
                break
    return when


def _counted(outcomes):
    """Return the share of errors in the window and in all, after each decision, and how many decisions there were."""
    whole = np.cumsum(outcomes, axis=1, dtype=np.int32)
    counts = np.arange(1, outcomes.shape[1] + 1)
    window = whole.copy()
    window[:, WINDOW:] -= whole[:, :-WINDOW]
    return window / np.minimum(counts, WINDOW), whole / counts, counts


def _wilson(share, counts, sign):
    """Return Wilson's one-sided bound at 95 %, the lower (-1) or the upper (+1)."""
    middle = share + _Z**2 / (2 * counts)
    half = _Z * np.sqrt(share * (1 - share) / counts + _Z**2 / (4 * counts**2))
    return (middle + sign * half) / (1 + _Z**2 / counts)


def _first(says):
    """Return the first decision, from the least count on, at which a rule says so."""
    late = says[:, LEAST - 1 :]
    return np.where(late.any(axis=1), late.argmax(axis=1) + LEAST, NEVER)
