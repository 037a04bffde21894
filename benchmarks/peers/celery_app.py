"""The plain Celery application that the Celery contenders share, configured from two environment variables.

Best honest configuration for short tasks: early acknowledgement, no gossip, no mingle, no rate limits, results off
unless they are what is measured. Larger prefetch multipliers than the default of 4 were tried and gained nothing.
"""

import os
from urllib.parse import parse_qs, urlsplit

from celery import Celery

from benchmarks import tally

BROKER = "BENCH_BROKER"
RESULTS = "BENCH_RESULTS"
WORKER = ("-m", "celery", "-A", "benchmarks.peers.celery_app", "worker", "--pool=prefork", "--concurrency=2")
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING")


def broker_url(redis: str) -> str:
    """Return a Redis URL in the form that kombu and Celery's backend know."""
    parts = urlsplit(redis)
    if parts.scheme != "unix":
        return redis
    return f"redis+socket://{parts.path}?virtual_host={database_number(redis)}"


def database_number(redis: str) -> str:
    query = parse_qs(urlsplit(redis).query)
    return (query.get("db") or query.get("virtual_host") or ["0"])[0]


def configure(redis: str, *, results: bool) -> None:
    """Point this process and the workers that it starts at one Redis."""
    os.environ[BROKER] = broker_url(redis)
    os.environ[RESULTS] = broker_url(redis) if results else ""
    app.conf.update(_settings())


def _settings() -> dict[str, object]:
    results = os.environ.get(RESULTS)
    return {
        "broker_url": os.environ.get(BROKER),
        "result_backend": results or None,
        "task_ignore_result": not results,
        "worker_disable_rate_limits": True,
        "broker_connection_retry_on_startup": True,
    }


app = Celery("benchmark")
app.conf.update(_settings())


@app.task(name="benchmark.work")
def work(number: int) -> None:
    tally.add()


@app.task(name="benchmark.add_one")
def add_one(number: int) -> int:
    return number + 1


@app.task(name="benchmark.gather")
def gather(values: list[int]) -> list[int]:
    return values
