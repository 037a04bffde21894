"""Celery's own `chord` of 1,000 tasks with Redis results: milliseconds from the call to the body's result."""

import time

from celery import chord

from benchmarks import command, processes
from benchmarks.peers import celery_app

WIDTH = 1000


def milliseconds() -> float:
    began = time.perf_counter()
    result = chord([celery_app.add_one.s(number) for number in range(WIDTH)])(celery_app.gather.s()).get(timeout=60)
    if sorted(result) != list(range(1, WIDTH + 1)):
        raise AssertionError(f"the chord returned {len(result)} entries")
    return (time.perf_counter() - began) * 1000


def measure(load: command.Load) -> command.Measured:
    celery_app.configure(load.redis, results=True)
    with processes.running([*celery_app.WORKER, *celery_app.QUIET]):
        milliseconds()
        values = [milliseconds() for _ in range(load.count)]
    return command.Measured(values=values, versions=command.installed(["celery", "kombu", "redis"]))


if __name__ == "__main__":
    command.main(measure)
