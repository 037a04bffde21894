"""What a figure is: a name, a unit, whether more is better, a target in words and as a rule, and its contenders.

Targets are judged on medians over all rounds, and against peers measured in the same rounds.
"""

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Literal


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One side of a figure: a module with `measure(load)`, how much to load, and which environment runs it."""

    module: str
    count: int
    quick_count: int
    options: tuple[str, ...] = ()
    note: str = ""
    seconds: float | None = None
    """The limit of its turn, where that is not everybody's."""

    @property
    def is_ours(self) -> bool:
        """Whether our environment runs it, not the peers'."""
        return self.module.startswith("benchmarks.ours.")

    @property
    def is_written(self) -> bool:
        """Whether its module is there."""
        return find_spec(self.module) is not None


@dataclasses.dataclass(slots=True)
class Series:
    """All values of one contender over all rounds, with those of its further named series."""

    values: list[float] = dataclasses.field(default_factory=list)
    also: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)

    def add(self, outcome: Mapping[str, object]) -> None:
        """Add the outcome of one round, as a contender printed it."""
        self.values.extend(_numbers(outcome["values"]))
        for name, values in dict(outcome["also"]).items():  # type: ignore[call-overload]
            self.also.setdefault(name, []).extend(_numbers(values))
        self.versions.update(outcome["versions"])  # type: ignore[call-overload]

    @property
    def median(self) -> float:
        """The median over all rounds."""
        return statistics.median(self.values)

    def of(self, name: str) -> "Series":
        """Return a further series by its name."""
        return Series(self.also[name])

    def percentile(self, percent: float) -> float:
        """Return the smallest value that `percent` of the values do not pass."""
        ranked = sorted(self.values)
        return ranked[max(0, -(-int(len(ranked) * percent) // 100) - 1)]


def _numbers(values: object) -> list[float]:
    return [float(value) for value in values]  # type: ignore[attr-defined]


Medians = Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target in words, and the rule that says whether ours, beside the peers' medians, meets it."""

    text: str
    is_met: Callable[[Series, Medians], bool]
    needs: frozenset[str] = frozenset()

    def __and__(self, other: "Target") -> "Target":
        return Target(
            text=f"{self.text}; {other.text}",
            is_met=lambda ours, peers: self.is_met(ours, peers) and other.is_met(ours, peers),
            needs=self.needs | other.needs,
        )


def at_least_times(factor: float, peer: str) -> Target:
    """Ours is at least `factor` times a peer's rate."""
    return Target(
        text=f"at least {factor:g} times {peer}",
        is_met=lambda ours, peers: ours.median >= factor * peers[peer],
        needs=frozenset({peer}),
    )


def times_as_fast(factor: float, peer: str) -> Target:
    """Ours takes at most a `factor`-th of a peer's time."""
    return Target(
        text=f"{factor:g} times as fast as {peer}",
        is_met=lambda ours, peers: ours.median * factor <= peers[peer],
        needs=frozenset({peer}),
    )


def at_least(bound: float, unit: str) -> Target:
    """Ours is at least a fixed rate."""
    return Target(text=f"at least {bound:,g} {unit}", is_met=lambda ours, _: ours.median >= bound)


def median_below(bound: float, unit: str, *, of: str = "") -> Target:
    """The median, of the main or of a named series, is below a bound."""
    return Target(
        text=f"median{f' of {of}' if of else ''} below {bound:g} {unit}",
        is_met=lambda ours, _: (ours.of(of) if of else ours).median < bound,
    )


def percentile_below(percent: float, bound: float, unit: str) -> Target:
    """A percentile of ours is below a bound."""
    return Target(
        text=f"{percent:g}th percentile below {bound:g} {unit}",
        is_met=lambda ours, _: ours.percentile(percent) < bound,
    )


def worst_below(bound: float, unit: str, *, attempts: int) -> Target:
    """The worst value is below a bound, and there were enough of them to say so."""
    return Target(
        text=f"worst of {attempts} below {bound:g} {unit}",
        is_met=lambda ours, _: len(ours.values) >= attempts and max(ours.values) < bound,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the results. `rounds`, where given, replaces the command line's number of rounds."""

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower"]
    ours: Contender
    peers: Mapping[str, Contender]
    target: Target
    rounds: int | None = None

    def __post_init__(self) -> None:
        if missing := self.target.needs - set(self.peers):
            raise ValueError(f"{self.name}: the target compares with {sorted(missing)}, which are not among its peers")

    def contenders(self) -> Sequence[tuple[str, Contender]]:
        """Return who takes part, ours first where it is written."""
        ours = [("ours", self.ours)] if self.ours.is_written else []
        return [*ours, *self.peers.items()]
