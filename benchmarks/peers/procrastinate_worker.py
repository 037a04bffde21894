"""A Procrastinate worker that performs jobs until it is told to stop; `procrastinate_runs` starts two."""

import sys

from procrastinate import PsycopgConnector

from benchmarks.peers.procrastinate_app import QUEUE, app


def main() -> None:
    database, concurrency = sys.argv[1], int(sys.argv[2])
    with app.replace_connector(PsycopgConnector(conninfo=database)) as connected:
        connected.run_worker(queues=[QUEUE], concurrency=concurrency)


if __name__ == "__main__":
    main()
