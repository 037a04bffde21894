"""What was found: shares with their intervals, times with their quantiles, each against the limit that was promised."""

from dataclasses import dataclass, field

import numpy as np
from scipy import stats

HOLDS, BROKEN, SHOWN = "holds", "BROKEN", ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table; `holds` is None where nothing is promised."""

    cells: tuple[str, ...]
    promised: str = ""
    holds: bool | None = None

    @property
    def is_broken(self):
        return self.holds is not None and not self.holds

    @property
    def mark(self):
        return SHOWN if self.holds is None else BROKEN if self.is_broken else HOLDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One guarantee in plain words, and the table that shows it."""

    title: str
    words: str
    columns: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)

    @property
    def is_broken(self):
        return any(row.is_broken for row in self.rows)


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many lives, with the exact interval at 95 %."""

    hits: int
    total: int

    @property
    def ends(self):
        found = stats.binomtest(self.hits, self.total).proportion_ci(0.95, method="exact")
        return found.low, found.high

    def is_at_most(self, limit):
        """Whether even the upper end of the interval keeps the limit."""
        return self.ends[1] <= limit

    def is_at_least(self, limit):
        """Whether the share that was seen reaches the limit, which lies well below what is usual."""
        return self.hits >= limit * self.total

    def __str__(self):
        low, high = self.ends
        return f"{percent(self.hits / self.total)} ({percent(low)} to {percent(high)})"


@dataclass(frozen=True, slots=True)
class Yearly:
    """So many alarms in so many service-years, with the exact interval of a Poisson rate at 95 %."""

    alarms: int
    years: float

    @property
    def upper(self):
        return stats.chi2.ppf(0.975, 2 * (self.alarms + 1)) / 2 / self.years

    def __str__(self):
        return f"{self.alarms} in {self.years:,.0f} years (at most {self.upper:.2f} a year)"


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took in each life; what never came is longer than all."""

    values: np.ndarray
    never: float

    @property
    def median_upper(self):
        """The upper end of the median's interval at 95 %, from the order of the values."""
        count = len(self.values)
        return self._at(min(count - 1, int(stats.binom.ppf(0.975, count, 0.5))))

    def _at(self, rank):
        return float(np.sort(self.values)[rank])

    def _said(self, quantile, digits):
        found = self._at(min(len(self.values) - 1, int(quantile * len(self.values))))
        return "never" if found >= self.never else f"{found:,.{digits}f}"

    def __str__(self):
        return f"{self._said(0.5, 0)} ({self._said(0.95, 0)})"

    def in_units(self, digits):
        """Return the median with more digits."""
        return self._said(0.5, digits)


def percent(share):
    """Write a share with no more digits than it deserves."""
    value = round(100 * share, 9)
    return f"{value:.0f} %" if value == round(value) else f"{value:.2f} %" if value < 10 else f"{value:.1f} %"
