"""The command line that every contender answers to, ours and the peers' alike.

A contender is a module with one function, `measure(load)`, that applies a bounded load and returns a `Measured`. Run
as `python -m benchmarks.peers.dbos_steps --database URL --redis URL --count N` it prints that as one JSON line, the
last of its output. Only the standard library is used, since two environments import this.
"""

import argparse
import dataclasses
import json
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What to load, and how much: two servers of one's own, a count, a limit in seconds, free options."""

    database: str
    redis: str
    count: int
    seconds: float
    options: tuple[str, ...] = ()

    def option(self, name: str, default: str) -> str:
        """Return the value of an option given as `name=value`."""
        pairs = (option.partition("=") for option in self.options)
        return next((value for key, _, value in pairs if key == name), default)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The values of one round: a single rate, or one latency per attempt; `also` holds further named series."""

    values: Sequence[float]
    also: dict[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def rate(cls, count: int, seconds: float, *, packages: Sequence[str] = ()) -> "Measured":
        """Return the round's one value: how many a second."""
        return cls(values=[count / seconds], versions=installed(packages))


def installed(packages: Sequence[str]) -> dict[str, str]:
    """Return the installed version of each package."""
    return {package: version(package) for package in packages}


def parse(arguments: Sequence[str]) -> Load:
    """Read a contender's command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", required=True, help="PostgreSQL URL of a database for this contender alone")
    parser.add_argument("--redis", required=True, help="Redis URL of a database for this contender alone")
    parser.add_argument("--count", type=int, default=500, help="how many steps, runs or attempts")
    parser.add_argument("--seconds", type=float, default=120.0, help="give up after this long")
    parser.add_argument("--option", action="append", default=[], help="a variant that the contender knows")
    given = parser.parse_args(arguments)
    return Load(
        database=given.database,
        redis=given.redis,
        count=given.count,
        seconds=given.seconds,
        options=tuple(given.option),
    )


def end_orderly_on_sigterm() -> None:
    """Let SIGTERM unwind the stack, so that what was started is stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def main(measure: Callable[[Load], Measured]) -> None:
    """Measure once, as the command line says, and print the outcome as one JSON line."""
    end_orderly_on_sigterm()
    measured = measure(parse(sys.argv[1:]))
    print(json.dumps(dataclasses.asdict(measured)), flush=True)
