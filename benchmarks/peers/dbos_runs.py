"""DBOS queues: two executor processes, one client that enqueues single-step workflows.

The queue has no concurrency limit (the default), so that each executor takes whatever is there into its threads, and is
polled far more often than the default of once a second, which would only add idle time. The option `slots=1` holds
each executor to one workflow at a time, as a pool process does; polling then bounds the rate. The option `together` enqueues all of them in one transaction of the client.
"""

import sqlalchemy
from dbos import DBOS, DBOSClient

from benchmarks import command, processes, throughput
from benchmarks.peers import dbos_app
from benchmarks.tally import Tally

QUEUE = "work"
FINISHED = sqlalchemy.text("SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'")




def prepare(load: command.Load) -> None:
    """Create the tables and the queue before any executor starts."""
    DBOS(config=dbos_app.configuration(load.database))
    DBOS.launch()
    DBOS.register_queue(
        QUEUE,
        polling_interval_sec=float(load.option("poll", "0.1")),
        worker_concurrency=int(load.option("slots", "0")) or None,
    )
    DBOS.destroy()


def measure(load: command.Load) -> command.Measured:
    prepare(load)
    url = dbos_app.sqlalchemy_url(load.database)
    client = DBOSClient(system_database_url=url)
    watch = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT").connect()

    options = {"workflow_name": "work", "queue_name": QUEUE, "app_version": dbos_app.VERSION}

    def start(number: int) -> None:
        client.enqueue(options, number)

    def start_all(numbers: range) -> None:
        with sqlalchemy.create_engine(url).begin() as connection:
            for number in numbers:
                client.enqueue_in_transaction(connection, options, number)

    def wait_recorded(expected: int) -> None:
        throughput.poll(lambda: watch.execute(FINISHED).scalar_one(), expected)

    worker = ["-m", "benchmarks.peers.dbos_worker", load.database]
    with Tally() as tally, processes.running(*[worker] * int(load.option("processes", "2"))):
        seconds = throughput.seconds_for(
            load.count,
            start,
            tally=tally,
            limit_seconds=load.seconds,
            wait_recorded=wait_recorded,
            start_all=start_all if "together" in load.options else None,
        )
        client.destroy()
    return command.Measured.rate(load.count, seconds, packages=["dbos"])


if __name__ == "__main__":
    command.main(measure)
