"""Procrastinate: two worker processes woken by LISTEN, one producer that defers jobs one at a time, or, with the
option `together`, by one `batch_defer`.

Five jobs in flight per process is its fastest here; the option `slots=1` holds each process to one job at a time, as a
pool process does.
"""

import psycopg
from procrastinate import SyncPsycopgConnector

from benchmarks import command, processes, throughput
from benchmarks.peers.procrastinate_app import app, work
from benchmarks.tally import Tally

FINISHED = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"


def measure(load: command.Load) -> command.Measured:
    worker = ["-m", "benchmarks.peers.procrastinate_worker", load.database, load.option("slots", "5")]
    connector = SyncPsycopgConnector(conninfo=load.database)
    with app.replace_connector(connector), app.open(), psycopg.connect(load.database, autocommit=True) as watch:
        app.schema_manager.apply_schema()

        def wait_recorded(expected: int) -> None:
            throughput.poll(lambda: watch.execute(FINISHED).fetchone()[0], expected)

        def start_all(numbers: range) -> None:
            work.batch_defer(*({"number": number} for number in numbers))

        with Tally() as tally, processes.running(*[worker] * int(load.option("processes", "2"))):
            seconds = throughput.seconds_for(
                load.count,
                lambda number: work.defer(number=number),
                tally=tally,
                limit_seconds=load.seconds,
                wait_recorded=wait_recorded,
                start_all=start_all if "together" in load.options else None,
            )
    return command.Measured.rate(load.count, seconds, packages=["procrastinate", "psycopg"])


if __name__ == "__main__":
    command.main(measure)
