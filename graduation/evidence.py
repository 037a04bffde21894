"""Evidence: what outcomes say about an error rate, valid however often one looks at it.

An evidence is a bet against a hypothesis, told to it one outcome at a time. It begins with one coin, spreads it over
several rates that would prove the hypothesis wrong, and wins where outcomes look like one of them. While the hypothesis
is true, no way of betting makes more than a fair game of it: the coin becomes twenty in at most one life of twenty,
whenever one looks, and whatever made one look (Ville's inequality). This is the e-value; its inverse is a p-value.

Half of the coin is kept back, and at each look a little of all is dealt anew. A bet that went badly for a thousand good
outcomes is therefore soon rich enough to tell when outcomes turn bad, and the game stays fair.

The outcomes must have been chosen without regard to what they are: all of them, or a random audit (`audits`). They are
told in the order of the decisions: where bad news travels faster than good, the order of arrival is itself a choice.
What has no outcome yet is not told, and counts for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from execution.exceptions import OptionInvalid

ALPHA = 0.05
LEAST_COUNT = 20
WORSE = (1.5, 2.0, 3.0, 5.0, 10.0)
"""The odds of an error that are bet on, as multiples of the target's: for a rate above it."""
BETTER = (0.02, 0.125, 0.25, 0.5, 0.75)
"""The same, for a rate below it."""
KEPT_BACK = 0.5
_SLOWNESS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A bet that the error rate is above, or below, a target: the outcomes seen so far, and what each stake is worth.

    `log_stakes` begins with what is kept back; the others stand in the order of `odds`.
    """

    target: float
    odds: tuple[float, ...]
    log_stakes: tuple[float, ...]
    look_count: int = 0
    count: int = 0
    bad: float = 0.0

    @classmethod
    def above(cls, target: float, odds: Sequence[float] = WORSE) -> Self:
        """Begin a bet against "the error rate is at most the target"."""
        return cls._begun(target, tuple(odds), are_right=all(one > 1 for one in odds))

    @classmethod
    def below(cls, target: float, odds: Sequence[float] = BETTER) -> Self:
        """Begin a bet against "the error rate is at least the target"."""
        return cls._begun(target, tuple(odds), are_right=all(0 < one < 1 for one in odds))

    @classmethod
    def _begun(cls, target: float, odds: tuple[float, ...], *, are_right: bool) -> Self:
        if not 0 < target < 1:
            raise OptionInvalid(f"the target of an error rate is {target!r}; it is a share between 0 and 1")
        if not odds or not are_right:
            raise OptionInvalid(f"the odds to bet on are {odds!r}: above 1 for a rate above, below 1 for one below")
        return cls(target=target, odds=odds, log_stakes=tuple(_log_deal(len(odds))))

    @property
    def log_e(self) -> float:
        """The natural logarithm of the e-value."""
        return _log_sum(self.log_stakes)

    @property
    def e(self) -> float:
        """What the coin has become: 20 or more refutes the hypothesis at the level 0.05."""
        return math.exp(min(self.log_e, 700.0))

    @property
    def p(self) -> float:
        """The p-value that belongs to it, valid at any time."""
        return math.exp(min(0.0, -self.log_e))

    def refutes(self, alpha: float = ALPHA, *, least_count: int = LEAST_COUNT) -> bool:
        """Whether the hypothesis is refuted at this level, by as many outcomes as are wanted."""
        return self.count >= least_count and self.log_e >= -math.log(alpha) - 1e-12

    def observe(self, bad: float, total: int = 1, *, weight: float = 1.0, at_most: float = math.inf) -> Self:
        """Return the evidence after further outcomes, of which so many were bad; nothing is learned from none.

        The order within one look is without meaning. An outcome that is half bad counts as half, which never says more
        than was seen. The weight is an audit's. One look multiplies the e-value by `at_most` at most: what is won
        beyond that is thrown away, so that one strange look alone cannot refute.
        """
        _check(bad, total, weight)
        if not total:
            return self
        won = [0.0, *(_log_won(odds, self.target, bad, total, weight) for odds in self.odds)]
        stakes = [stake + gain for stake, gain in zip(self.log_stakes, won, strict=True)]
        surplus = max(0.0, _log_sum(stakes) - self.log_e - math.log(at_most))
        return replace(
            self,
            log_stakes=_dealt_anew([stake - surplus for stake in stakes], 1 / (self.look_count + 1 + _SLOWNESS)),
            look_count=self.look_count + 1,
            count=self.count + total,
            bad=self.bad + bad,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the whole state as JSON; `from_json` goes on from it exactly."""
        return asdict(self) | {"odds": list(self.odds), "log_stakes": list(self.log_stakes)}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Return the evidence that was stored."""
        names = {one.name for one in fields(cls)}
        if set(state) != names or len(state["log_stakes"]) != len(state["odds"]) + 1:
            raise OptionInvalid(f"this is no stored evidence: it has {sorted(state)}, where {sorted(names)} are wanted")
        return cls(**{**state, "odds": tuple(state["odds"]), "log_stakes": tuple(state["log_stakes"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What speaks against an agent and what speaks for it, under one level, model, prompt and skill version."""

    against: Evidence
    in_favour: Evidence
    basis: Mapping[str, str] = field(default_factory=dict)
    critical_count: int = 0

    @classmethod
    def begin(cls, target: float, basis: Mapping[str, str]) -> Self:
        """Begin with no evidence either way."""
        return cls(against=Evidence.above(target), in_favour=Evidence.below(target), basis=dict(basis))

    def on(self, basis: Mapping[str, str]) -> Self:
        """Return this trial if it is of the same basis; otherwise a new one, for what was shown was another's."""
        return self if dict(basis) == self.basis else self.begin(self.against.target, basis)

    def observe(self, bad: float, total: int = 1, *, weight: float = 1.0, critical: int = 0) -> Self:
        """Return the trial after further outcomes; critical ones are among the bad."""
        if not 0 <= critical <= bad:
            raise OptionInvalid(f"{critical!r} critical outcomes of {bad!r} bad ones: what is critical is bad as well")
        return replace(
            self,
            against=self.against.observe(bad, total, weight=weight),
            in_favour=self.in_favour.observe(bad, total, weight=weight),
            critical_count=self.critical_count + critical,
        )

    @property
    def must_fall(self) -> bool:
        """Whether the rate is shown to be above the target, or an outcome was critical: that needs no statistics."""
        return self.critical_count > 0 or self.against.refutes()

    @property
    def may_be_offered_a_rise(self) -> bool:
        """Whether the rate is shown to be below the target, and nothing asks for a fall."""
        return self.in_favour.refutes() and not self.must_fall

    def as_json(self) -> dict[str, Any]:
        """Return the whole state as JSON; `from_json` goes on from it exactly."""
        return {
            "against": self.against.as_json(),
            "in_favour": self.in_favour.as_json(),
            "basis": dict(self.basis),
            "critical_count": self.critical_count,
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Return the trial that was stored."""
        against, in_favour = (Evidence.from_json(state[side]) for side in ("against", "in_favour"))
        return cls(
            against=against, in_favour=in_favour, basis=dict(state["basis"]), critical_count=state["critical_count"]
        )


def counted(outcomes: Iterable[float | None]) -> tuple[float, int]:
    """Return how much of these outcomes was bad, and of how many; 1 is good, 0 bad, None unresolved and left out."""
    known = [outcome for outcome in outcomes if outcome is not None]
    return math.fsum(1 - outcome for outcome in known), len(known)


def _log_won(odds: float, target: float, bad: float, total: int, weight: float) -> float:
    """Return by what these outcomes multiply a stake on odds: for whole outcomes of weight 1, the likelihood ratio."""
    bet = (odds - 1) / (1 + (odds - 1) * target)
    return bad * math.log1p(weight * bet * (1 - target)) + (total - bad) * math.log1p(-weight * bet * target)


def _log_deal(count: int) -> list[float]:
    return [math.log(KEPT_BACK), *[math.log((1 - KEPT_BACK) / count)] * count]


def _dealt_anew(stakes: Sequence[float], share: float) -> tuple[float, ...]:
    """Take a share of every stake, and deal it as at the beginning: the whole is what it was."""
    pool = math.log(share) + _log_sum(stakes)
    deal = _log_deal(len(stakes) - 1)
    return tuple(_log_sum((math.log1p(-share) + stake, pool + part)) for stake, part in zip(stakes, deal, strict=True))


def _log_sum(logs: Sequence[float]) -> float:
    most = max(logs)
    return most + math.log(math.fsum(math.exp(one - most) for one in logs))


def _check(bad: float, total: int, weight: float) -> None:
    if not 0 <= bad <= total:
        raise OptionInvalid(f"{bad!r} bad outcomes of {total!r}: give how many were seen, and how many were bad")
    if not 0 < weight <= 1:
        raise OptionInvalid(f"an outcome's weight is {weight!r}; it is above 0 and at most 1, see audits.weight")
