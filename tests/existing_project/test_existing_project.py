"""An existing project's tests pass with plain tasks, and unchanged when only the base of its tasks is changed."""

import os
import re
import subprocess
import sys

import psycopg
import pytest

from config import substrate
from tests.workers import Worker, database_url


@pytest.fixture(params=["plain", "durable"])
def project(request):
    """Return the environment of the project, with a database of its own."""
    where = substrate.addresses()
    name = f"existing_{request.param}"
    with psycopg.connect(
        host=where.database["HOST"], user=where.database["USER"], dbname="postgres", autocommit=True
    ) as server:
        server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        server.execute(f"CREATE DATABASE {name}")
        yield {
            "DJANGO_SETTINGS_MODULE": "tests.existing_project.settings",
            "DATABASE_URL": database_url({**where.database, "NAME": name}),
            "CELERY_BROKER_URL": where.broker_url,
            "CELERY_RESULT_BACKEND": where.result_backend,
            "EXISTING_DURABLE": "1" if request.param == "durable" else "0",
        }
        server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def worker(project, tmp_path):
    """Start the project's own worker."""
    command([sys.executable, "-m", "django", "migrate", "--run-syncdb", "--verbosity", "0"], project)
    made = Worker("shop", logs=tmp_path, queues="existing", skills="", environment=project)
    made.command[made.command.index("config")] = "tests.existing_project.celery"
    yield made.start()
    made.kill()


def command(words, environment):
    """Run a command of the project, and return what it said."""
    done = subprocess.run(words, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stderr


@pytest.mark.slow
def test_own_tests_pass(project, worker):
    """Every test of the project's own passes against its real worker."""
    said = command([sys.executable, "-m", "unittest", "-v", "tests.existing_project.own"], project)
    assert int(re.search(r"Ran (\d+) tests", said)[1]) >= 15
