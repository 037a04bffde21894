"""Plain Celery: prefork with two processes, results off; with the option `results`, stored in Redis.

With the option `together` they are started as one `group`.
"""

from celery import group
from celery.result import AsyncResult

from benchmarks import command, processes, throughput
from benchmarks.peers import celery_app
from benchmarks.tally import Tally


def measure(load: command.Load) -> command.Measured:
    results = "results" in load.options
    celery_app.configure(load.redis, results=results)
    started: list[AsyncResult] = []

    def start(number: int) -> None:
        started.append(celery_app.work.delay(number))

    def start_all(numbers: range) -> None:
        started.extend(group(celery_app.work.s(number) for number in numbers).delay().results)

    def wait_recorded(expected: int) -> None:
        if results:
            throughput.poll(lambda: sum(result.ready() for result in started[-4:]), min(4, expected))

    with Tally() as tally, processes.running([*celery_app.WORKER, *celery_app.QUIET]):
        seconds = throughput.seconds_for(
            load.count,
            start,
            tally=tally,
            limit_seconds=load.seconds,
            wait_recorded=wait_recorded,
            start_all=start_all if "together" in load.options else None,
        )
    return command.Measured.rate(load.count, seconds, packages=["celery", "kombu", "redis"])


if __name__ == "__main__":
    command.main(measure)
