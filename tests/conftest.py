"""Real servers for every test: a home of the tests' own, a database migrated once, a Redis that is empty each time.

A session stops the servers that it started; `CELERIAC_HOME=.celeriac/test .venv/bin/python -m config.substrate start`
keeps them up between sessions. Two sessions at once need a CELERIAC_HOME each, and so do the lanes of one (`-n 3`): what
the tests mostly do is wait for leases, so lanes side by side cost little of each other's time.
"""

import os
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

REPOSITORY = Path(__file__).resolve().parent.parent
LANE = os.environ.get("PYTEST_XDIST_WORKER", "")
os.environ.setdefault("CELERIAC_HOME", str(REPOSITORY / ".celeriac" / "test"))
if LANE:
    os.environ["CELERIAC_HOME"] += f"-{LANE}"
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
# Hundreds of workers are started: each would compile everything anew where the environment forbids to keep bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

import django  # noqa: E402 - the home must be named before anything reads it
import pytest  # noqa: E402
import redis  # noqa: E402
from django.db import connection  # noqa: E402

from config import substrate  # noqa: E402
from tests import emptying  # noqa: E402
from tests.workers import Workers  # noqa: E402

WERE_RUNNING = any(server.is_running for server in substrate.status())
# Here and not by pytest-django's option, which would read the settings before this file has named the home.
django.setup()

Answer = TypeVar("Answer")


def pytest_configure(config: pytest.Config) -> None:
    """Bring the servers up, but not for a process that only hands tests out to lanes."""
    if not LANE and config.getoption("numprocesses", None):
        del os.environ[
            "DJANGO_SETTINGS_MODULE"
        ]  # a lane that inherited it would read the settings before it has a home
        return
    substrate.ensure()
    emptying.instead_of_flush()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a lane report what a test has logged, half a character too, which no socket takes."""
    report = yield
    report.sections = [(name, text.encode(errors="replace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(autouse=True)
def _empty_redis() -> None:
    """Begin each test with servers that are up, also after a test that took them down, and with no message left."""
    substrate.ensure()
    with redis.from_url(substrate.addresses().redis_url) as client:
        client.flushdb()


@pytest.fixture(scope="session", autouse=True)
def _begin_empty(django_db_setup: None, django_db_blocker: Any) -> None:
    """Let the first test find what every other one finds: what `migrate` has installed, and not what it has logged.

    Where no test of the session asks for a database there is none of the tests' own: nothing is emptied.
    """
    with django_db_blocker.unblock():
        if connection.settings_dict["NAME"].startswith("test_"):
            emptying.empty_all()


@pytest.fixture(scope="session", autouse=True)
def _close_the_ledger(django_db_setup: None) -> Iterator[None]:
    """Close this process's own connection to the ledger before the test database is dropped."""
    yield
    from execution import ledger

    ledger.close()


@pytest.fixture(autouse=True)
def _forget_rows() -> None:
    """Forget what this process remembers of rows that the last test's end has emptied."""
    from execution import agents, openings, tunables

    agents.forget()
    openings.forget()
    tunables.forget()


@pytest.fixture
def eventually() -> Callable[..., object]:
    """Wait for a condition with a deadline, and return what made it true."""
    return wait_until


@pytest.fixture
def grown_server(transactional_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a server that is older than a lease, here and in the workers: beside a younger one nobody is thought dead."""
    from execution import ledger

    settings.CELERIAC = settings.CELERIAC | {"lease_seconds": 6, "heartbeat_seconds": 2.0}
    monkeypatch.setenv("CELERIAC_LEASE_SECONDS", "6")
    monkeypatch.setenv("CELERIAC_HEARTBEAT_SECONDS", "2")
    age = "SELECT clock_timestamp() - pg_postmaster_start_time() > interval '6 seconds' AS is_grown"
    wait_until(lambda: ledger.ask(age)[0].is_grown, message="the server is older than a lease")


@pytest.fixture
def workers(transactional_db: None, tmp_path: Path) -> Iterator[Workers]:
    """Start real workers on the test database; whatever is left of them dies with the test."""
    crew = Workers(logs=tmp_path / "workers")
    yield crew
    crew.kill_all()


def pytest_unconfigure() -> None:
    """Stop the servers that this session started."""
    if not WERE_RUNNING:
        substrate.stop()


@pytest.fixture(scope="session", autouse=True)
def _no_leftovers() -> Iterator[None]:
    """End every process that the session started, also after an error in a fixture."""
    yield
    Workers.kill_leftovers()


def wait_until(
    condition: Callable[[], Answer], *, timeout: float = 30.0, every: float = 0.05, message: str = ""
) -> Answer:
    """Poll until the condition is true, and return its value; fail with the message after the deadline."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            what = message or getattr(condition, "__name__", repr(condition))
            pytest.fail(f"still not true after {timeout:g} s: {what}; last answer {answer!r}")
        time.sleep(every)
    return answer
