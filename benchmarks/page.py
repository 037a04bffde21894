"""Writes `docs/benchmarks.md` from the results; every number on it was measured."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.environment import ROOT
from benchmarks.figures import Figure
from benchmarks.results import Result

PATH = ROOT / "docs" / "benchmarks.md"
HEAD = """\
# Benchmarks

Written by `make bench` from `benchmarks/results.json`; do not edit. All contenders of a figure ran in turn, in several
rounds, on the same PostgreSQL and Redis, each on a fresh database; numbers are medians. Ratios travel between machines,
absolute numbers do not.
"""
LABELS = {"p99": "99th percentile", "worst": "worst", "per_cpu_second": "median per second of one processor"}
HOW = """\
## How it is measured

- **Recorded steps**: one workflow in one process, one step after the other, each with a 1 KB result that is committed
  before the next one starts, unless the note says otherwise.
- **Runs**: workers are up and warm. One producer process starts the runs one at a time by the library's usual call
  while the workers perform them; or, as a figure of its own, all together by the call that the library has for many
  (`start_many`, a `group`, a transaction of enqueues, `batch_defer`). The first shows what starting and performing
  cost, the second what performing costs; the design's target is judged by the first. The clock stops when the last
  one has ended and, where endings are recorded, is recorded. Every contender's job does the same: it appends one byte
  to a file, by which the clock counts.
- **Load when it began** is how many processes wanted a core in the minute before. Where that is more than there are
  cores, others had a part of the machine: rates are too low then, and times too long. What is said per second of one
  processor counts what our process and its server process have used, and hardly depends on that.
- Peers live in an environment of their own, pinned in `benchmarks/peers.lock`; what was chosen for each, and why,
  stands at the top of its module in `benchmarks/peers/`.
"""


def write(figures: Sequence[Figure], results: Mapping[str, Result], path: Path = PATH) -> None:
    """Write the page for the figures that have a result."""
    shown = [(figure, results[figure.name]) for figure in figures if figure.name in results]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([HEAD, *_summary(shown), HOW, *_peers(shown), *_circumstances(shown)]))


def number(value: float) -> str:
    """Write a measured value with no more digits than it deserves."""
    for bound, digits in ((1000, 0), (10, 1), (0, 2)):
        if abs(value) >= bound:
            return f"{value:,.{digits}f}"
    return str(value)


def _summary(shown: Sequence[tuple[Figure, Result]]) -> Iterator[str]:
    yield "| figure | ours | target | met |"
    yield "| --- | --- | --- | --- |"
    for figure, result in shown:
        details = "".join(
            f", {LABELS.get(name, f'median {name}')} {number(value)}" for name, value in result["details"].items()
        )
        ours = f"{number(result['ours'])} {figure.unit}{details}"
        met = "yes" if result["met"] else "**no**"
        yield f"| {figure.title} (`{figure.name}`) | {ours} | {result['target']} | {met} |"
    yield ""


def _peers(shown: Sequence[tuple[Figure, Result]]) -> Iterator[str]:
    for figure, result in shown:
        if not result["peers"]:
            continue
        yield f"## {figure.title}\n"
        yield f"| contender | median, {figure.unit} | lowest to highest | ours / peer | configuration |"
        yield "| --- | --- | --- | --- | --- |"
        yield _row("ours", result, ratio="", note="")
        for name in result["peers"]:
            contender = figure.peers.get(name)
            yield _row(name, result, ratio=f"{result['ratios'][name]:.2f}", note=contender.note if contender else "")
        yield ""


def _row(name: str, result: Result, *, ratio: str, note: str) -> str:
    spread = result["spread"][name]
    median = result["ours"] if name == "ours" else result["peers"][name]
    ends = f"{number(spread['lowest'])} to {number(spread['highest'])}"
    return f"| {name} | {number(median)} | {ends} | {ratio} | {note} |"


def _circumstances(shown: Sequence[tuple[Figure, Result]]) -> Iterator[str]:
    yield "## Where and with what\n"
    groups: dict[tuple[str, ...], list[str]] = {}
    for figure, result in shown:
        groups.setdefault(_lines(result), []).append(f"`{figure.name}`")
    for lines, names in groups.items():
        yield f"{', '.join(names)}:\n"
        yield from lines
        yield ""
    versions = {
        name: found for _, result in shown for peer in result["versions"].values() for name, found in peer.items()
    }
    if versions:
        yield "Peers: " + ", ".join(f"{name} {found}" for name, found in sorted(versions.items())) + ".\n"


def _lines(result: Result) -> tuple[str, ...]:
    return (
        f"- command: `{result['command']}`, {result['measured_on']}",
        *(f"- {part}: {', '.join(f'{name} {value}' for name, value in result[part].items())}" for part in PARTS),
    )


PARTS = ("machine", "servers", "packages")
