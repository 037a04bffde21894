"""What the suite needs around it: Celery's own tests from its source distribution, an idle Redis, a database."""

from __future__ import annotations

import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import redis

from config import substrate
from config.substrate.binaries import find_redis

VERSION = "5.7.0"
DATABASE = "celery_suite"
INI = """\
[pytest]
python_classes = test_*
xfail_strict = false
markers =
    flaky: fails at times
    amqp: needs RabbitMQ
    timeout: seconds
    celery: configuration
"""


def fetch(folder: Path) -> Path:
    """Return the folder of Celery's integration tests, downloaded once."""
    source = folder / f"celery-{VERSION}"
    if not (source / "t" / "integration").exists():
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
                *("--no-binary", ":all:", "--no-deps", "--dest", str(folder / "sdist"), f"celery=={VERSION}"),
            ],
            check=True,
        )
        _unpack(next((folder / "sdist").glob("celery-*.tar.gz")), folder)
    (source / "pytest.ini").write_text(INI)
    return source


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the tests alone: the package beside them would hide the installed one."""
    with tarfile.open(archive) as tar:
        members = [member for member in tar.getmembers() if member.name.startswith(f"celery-{VERSION}/t/")]
        tar.extractall(folder, members, filter="data")


@contextmanager
def idle_redis(folder: Path) -> Iterator[int]:
    """Run a Redis that nobody else uses, on a free port of this machine alone."""
    port = _free_port()
    command = [str(find_redis()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with (folder / "redis.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        _await(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(port: int, *, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    with redis.Redis(port=port) as client:
        while True:
            try:
                client.ping()
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


@contextmanager
def ledger_database(environment: dict[str, str]) -> Iterator[str]:
    """Make a database for the ledger, migrated, and drop it afterwards; yields its address."""
    from tests.workers import database_url

    where = substrate.ensure().database
    with psycopg.connect(_address(where, "postgres"), autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        server.execute(f"CREATE DATABASE {DATABASE}")
        url = database_url({**where, "NAME": DATABASE})
        try:
            migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
            subprocess.run(migrate, check=True, env=environment | {"DATABASE_URL": url})
            yield url
        finally:
            server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def _address(where: dict[str, object], name: str) -> str:
    parts = {"host": where["HOST"], "port": where["PORT"], "user": where["USER"], "password": where["PASSWORD"]}
    return " ".join(f"{key}={value}" for key, value in {**parts, "dbname": name}.items() if value)
