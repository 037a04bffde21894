"""A DBOS executor that performs queued workflows until it is told to stop; `dbos_runs` starts two."""

import signal
import sys
import threading

from dbos import DBOS

from benchmarks import tally
from benchmarks.peers import dbos_app


@DBOS.workflow(name="work")
def work(number: int) -> None:
    tally.add()


def main() -> None:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    DBOS(config=dbos_app.configuration(sys.argv[1]))
    DBOS.launch()
    stopping.wait()
    DBOS.destroy()


if __name__ == "__main__":
    main()
