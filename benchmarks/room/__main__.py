"""`python -m benchmarks.room --runs 1000000`: load a ledger of its own, open each page, print what it took.

The embedded servers of the benchmarks' home are used, or those of DATABASE_URL. `--keep` leaves the database for the
next time, which then only measures. Status 1 where a page takes longer than it may.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

import psycopg

from benchmarks import command, servers

DATABASE = "celeriac_room_bench"
MOST_MILLISECONDS = 300


def main(arguments: Sequence[str]) -> int:
    """Load, measure and print."""
    command.end_orderly_on_sigterm()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.room", description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--only", default="", help="measure the pages whose name has this in it")
    parser.add_argument("--keep", action="store_true", help="use the loaded database again, and leave it")
    given = parser.parse_args(arguments)
    started = servers.start()
    try:
        return _run(started, given)
    finally:
        if not given.keep:
            _drop(started)
            servers.stop()


def _run(started: servers.Servers, given: argparse.Namespace) -> int:
    is_there = _exists(started) and given.keep
    if not is_there:
        _drop(started)
        _execute(started, f"CREATE DATABASE {DATABASE}")
    os.environ["DATABASE_URL"] = servers.with_database(started.database, DATABASE)
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    import django

    django.setup()
    if not is_there:
        _load(given.runs)
    return _measure(given.only)


def _load(runs: int) -> None:
    from django.core.management import call_command

    from benchmarks.room import loading

    began = time.monotonic()
    call_command("migrate", verbosity=0)
    loading.load(runs)
    print(f"loaded {runs:,} runs in {time.monotonic() - began:.0f} s", file=sys.stderr)


def _measure(only: str) -> int:
    from benchmarks.room import pages

    print("| page | median ms | fastest ms | processor ms | queries |\n| --- | ---: | ---: | ---: | ---: |")
    slow = 0
    for page in pages.measure(only):
        is_slow = page.milliseconds > MOST_MILLISECONDS or page.status != 200
        mark = f" **{page.status}**" if page.status != 200 else ""
        figures = (page.milliseconds, page.fastest, page.processor, page.queries)
        print(f"| {page.name}{mark} | {' | '.join(f'{one:.0f}' for one in figures)} |", flush=True)
        slow += is_slow
    print(f"{slow} pages above {MOST_MILLISECONDS} ms" if slow else f"every page within {MOST_MILLISECONDS} ms")
    return int(slow > 0)


def _exists(started: servers.Servers) -> bool:
    with psycopg.connect(started.database, autocommit=True) as connection:
        return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is not None


def _drop(started: servers.Servers) -> None:
    _execute(started, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def _execute(started: servers.Servers, statement: str) -> None:
    with psycopg.connect(started.database, autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[call-overload] # names of this file


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
