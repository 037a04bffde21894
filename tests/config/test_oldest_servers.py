"""The oldest servers that are promised: the engine on a PostgreSQL 15, and on the oldest Redis that is installed.

The servers are started by the same code as the embedded ones, and the tests are this repository's own, in a process
that reaches them as servers of one's own, by `DATABASE_URL` and `REDIS_URL`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import psycopg
import pytest

from config import substrate
from config.substrate import binaries, postgres, redis
from config.substrate.addresses import Addresses, addresses
from config.substrate.binaries import OLDEST_POSTGRES, PostgresBinaries

REPOSITORY = Path(__file__).resolve().parents[2]
ESSENTIAL = [f"tests/execution/test_{name}.py" for name in ("events", "ledger")]
# The races and the copy of a server's files are played at length: with everything else.
BRIEFLY = ["-k", "not (against or side_by_side or at_once or random or copy_of_the_files)"]


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Addresses:
    """A home whose servers are the oldest ones; they end with the module."""
    found = [
        folder for folder in places_of_postgres() if binaries._postgres_major(folder / "postgres") == OLDEST_POSTGRES
    ]
    if not found:
        pytest.skip(f"PostgreSQL {OLDEST_POSTGRES} is not installed (on Debian: apt-get install postgresql-15)")
    where = addresses({"CELERIAC_HOME": str(tmp_path_factory.mktemp("oldest"))})
    server = PostgresBinaries(folder=found[0], major=OLDEST_POSTGRES)
    with (
        mock.patch.object(postgres, "find_postgres", return_value=server),
        mock.patch.object(redis, "find_redis", oldest_redis),
    ):
        yield substrate.ensure(where)
    substrate.stop(where)
    shutil.rmtree(where.sockets)


def places_of_postgres() -> list[Path]:
    """Return where a PostgreSQL 15 may stand: where Debian puts it, and on the PATH."""
    on_path = shutil.which("postgres")
    return [Path("/usr/lib/postgresql/15/bin"), *([Path(on_path).resolve().parent] if on_path else [])]


def oldest_redis() -> Path:
    """Return the oldest Redis that is installed, and not too old."""
    found = [(binaries._redis_version(candidate), candidate) for candidate in binaries._redis_candidates()]
    return min(one for one in found if one[0] is not None and one[0] >= binaries.OLDEST_REDIS)[1]


def run_tests(where: Addresses, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this repository's tests on these servers, in a process of their own."""
    database, socket = where.database, where.postgres_socket_folder
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "CELERIAC_"))}
    given = {
        "DATABASE_URL": f"postgres://{database['USER']}@/{database['NAME']}?host={socket}",
        "REDIS_URL": where.redis_url,
        "CELERIAC_HOME": str(home),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not chaos"]
    return subprocess.run(
        [*command, *arguments], cwd=REPOSITORY, env=outer | given, capture_output=True, text=True, check=False
    )


def test_oldest_servers_are_what_they_are_taken_for(oldest):
    """The server that the tests below reach is a PostgreSQL 15, started by the code that starts the embedded one."""
    database = oldest.database
    with psycopg.connect(host=database["HOST"], user=database["USER"], dbname=database["NAME"]) as connection:
        assert connection.info.server_version // 10000 == OLDEST_POSTGRES


@pytest.mark.timeout(600)
def test_engine_on_the_oldest_servers(oldest, tmp_path):
    """Migrations, guarded writes, the log and its partitions, and the doctor do there what they do on the newest."""
    done = run_tests(oldest, tmp_path, *ESSENTIAL, *BRIEFLY)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_everything_on_the_oldest_servers(oldest, tmp_path):
    """So does all of the engine, with real workers."""
    done = run_tests(oldest, tmp_path, "tests/execution")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
