"""DBOS: steps of 1 KB in one workflow, each a `@DBOS.step`, recorded before the next one starts."""

import time

from dbos import DBOS

from benchmarks import command
from benchmarks.peers import dbos_app

KILOBYTE = "x" * 1024


@DBOS.step()
def remember(number: int) -> str:
    return KILOBYTE


@DBOS.workflow()
def report(count: int) -> float:
    began = time.perf_counter()
    for number in range(count):
        remember(number)
    return time.perf_counter() - began


def measure(load: command.Load) -> command.Measured:
    DBOS(config=dbos_app.configuration(load.database))
    DBOS.launch()
    try:
        report(50)
        return command.Measured.rate(load.count, report(load.count), packages=["dbos"])
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    command.main(measure)
