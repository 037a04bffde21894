"""Celery's own `chain` of 10 tasks with Redis results: milliseconds from the call to the last result, one at a time."""

import time

from celery import chain

from benchmarks import command, processes
from benchmarks.peers import celery_app

LENGTH = 10


def milliseconds() -> float:
    began = time.perf_counter()
    steps = chain(celery_app.add_one.s(0), *(celery_app.add_one.s() for _ in range(LENGTH - 1)))
    result = steps.delay().get(timeout=30)
    if result != LENGTH:
        raise AssertionError(f"the chain returned {result}")
    return (time.perf_counter() - began) * 1000


def measure(load: command.Load) -> command.Measured:
    celery_app.configure(load.redis, results=True)
    with processes.running([*celery_app.WORKER, *celery_app.QUIET]):
        for _ in range(5):
            milliseconds()
        values = [milliseconds() for _ in range(load.count)]
    return command.Measured(values=values, versions=command.installed(["celery", "kombu", "redis"]))


if __name__ == "__main__":
    command.main(measure)
