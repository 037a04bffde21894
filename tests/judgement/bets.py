"""The e-process a second time, for thousands of lives at once: stakes and not logarithms, arrays and not values.

It shares no line with `graduation.evidence`; a test holds the two against each other.
"""

import numpy as np


class Bets:
    """As many bets as there are lives, each against "the rate is at most (or least) the target"."""

    def __init__(self, lives, target, odds, at_most=np.inf):
        odds = np.asarray(odds, dtype=float)
        alternative = odds * target / (1 - target + odds * target)
        self.if_bad = np.concatenate([[0.0], np.log(alternative / target)])
        self.if_good = np.concatenate([[0.0], np.log((1 - alternative) / (1 - target))])
        self.deal = np.concatenate([[0.5], np.full(len(odds), 0.5 / len(odds))])
        self.stakes = np.tile(self.deal, (lives, 1))
        self.log_at_most = np.log(at_most)
        self.looks = 0

    @property
    def e(self):
        """The e-values, one of each life."""
        return self.stakes.sum(axis=1)

    def see(self, bad):
        """Take one outcome of each life, and return the e-values."""
        self.stakes *= np.where(bad[:, None], np.exp(self.if_bad), np.exp(self.if_good))
        whole = self.e
        self._deal_anew(whole)
        return whole

    def see_many(self, bad, total):
        """Take one bucket of each life, and return the e-values."""
        gains = bad[:, None] * self.if_bad + (total - bad)[:, None] * self.if_good
        most, before = gains.max(axis=1), self.e
        self.stakes *= np.exp(gains - most[:, None])
        sums = self.e
        growth = np.minimum(most + np.log(sums / before), self.log_at_most)
        whole = before * np.exp(growth)
        self.stakes *= (whole / sums)[:, None]
        self._deal_anew(whole)
        return whole

    def keep(self, lives):
        """Go on with these lives alone."""
        self.stakes = self.stakes[lives]

    def begin_anew(self, lives):
        """Let these lives begin with a coin each."""
        self.stakes[lives] = self.deal

    def _deal_anew(self, whole):
        self.looks += 1
        share = 1 / (self.looks + 100)
        self.stakes *= 1 - share
        self.stakes += share * whole[:, None] * self.deal
