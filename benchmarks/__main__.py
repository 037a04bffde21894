"""`python -m benchmarks`: measure, write `benchmarks/results.json` and `docs/benchmarks.md`.

`--only runs_per_s --rounds 3 --quick` measures less; `--peers-only` measures the peers of figures whether or not ours
is written, and stores nothing.
"""

import argparse
import datetime as dt
import shlex
import sys
from collections.abc import Sequence

from benchmarks import command, environment, machine, page, registry, results, servers
from benchmarks.figures import Figure
from benchmarks.rounds import Bench


def main(arguments: Sequence[str]) -> int:
    """Measure the chosen figures; return 0 even when a target is missed, for that is a finding, not an error."""
    command.end_orderly_on_sigterm()
    given = _parse(arguments)
    figures = _chosen(given.only, peers_only=given.peers_only)
    bench = Bench(
        servers=servers.start(),
        peers_python=environment.ensure(),
        rounds=given.rounds,
        quick=given.quick,
        seconds=given.seconds,
    )
    try:
        for figure in figures:
            _measure(bench, figure, invocation=_command(arguments), is_stored=not given.peers_only)
    finally:
        if not given.keep_servers:
            servers.stop()
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [figure.name for figure in registry.FIGURES]
    parser.add_argument("--only", action="append", choices=names, help="measure this figure; may be repeated")
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender takes its turn")
    parser.add_argument("--seconds", type=float, default=120.0, help="the limit of one turn")
    parser.add_argument("--quick", action="store_true", help="apply shorter loads")
    parser.add_argument("--peers-only", action="store_true", help="measure peers, store nothing")
    parser.add_argument("--keep-servers", action="store_true", help="leave the embedded servers running")
    return parser.parse_args(arguments)


def _chosen(only: Sequence[str] | None, *, peers_only: bool) -> list[Figure]:
    chosen = [figure for figure in registry.FIGURES if not only or figure.name in only]
    left_out = [figure.name for figure in chosen if not figure.ours.is_written]
    if left_out:
        print(f"not written yet: {', '.join(left_out)}", file=sys.stderr)
    return [figure for figure in chosen if (peers_only and figure.peers) or figure.ours.is_written]


def _command(arguments: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "benchmarks", *arguments])


def _measure(bench: Bench, figure: Figure, *, invocation: str, is_stored: bool) -> None:
    load = machine.load()
    reached = bench.measure(figure)
    for name, series in reached.items():
        print(f"{figure.name}  median  {name}: {series.median:,.1f} {figure.unit}")
    if not is_stored or "ours" not in reached:
        return
    circumstances = {
        "measured_on": dt.datetime.now(dt.UTC).date().isoformat(),
        "command": invocation,
        "rounds": figure.rounds or bench.rounds,
        "machine": machine.describe() | {"load when it began": load},
        "servers": bench.servers.describe(),
        "packages": machine.packages(),
    }
    stored = results.load() | {figure.name: results.of(figure, reached, circumstances=circumstances)}
    order = [known.name for known in registry.FIGURES]
    kept = {name: stored[name] for name in order if name in stored}
    results.store(kept)
    page.write(registry.FIGURES, kept)
    print(f"{figure.name}  target: {figure.target.text}: {'met' if kept[figure.name]['met'] else 'NOT MET'}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
