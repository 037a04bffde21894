"""What a process loads before it has anything to do: every worker, keeper and command pays for it at each start."""

import json
import os
import subprocess
import sys

from tests.workers import REPOSITORY, test_environment

USED_LATER = {
    "anyio", "boto3", "drain3", "genai_prices", "httpcore", "httpx", "hvac", "markdown_it", "networkx", "numpy",
    "openai", "openlineage", "opentelemetry", "playwright", "prometheus_client", "prov", "pydantic_ai", "redis",
    "river", "rope", "scipy", "sqlglot", "standardwebhooks", "storages", "tree_sitter",
}  # fmt: skip
"""What some task or page needs, and loads when it does."""
AS_A_WORKER = """
import django; django.setup()
from config import celery_app
celery_app.loader.import_default_modules()
assert {"execution.clean_up", "recovery.deliver_outbox", "graduation.evaluate"} <= celery_app.tasks.keys()
"""
AS_A_KEEPER = """
from execution import keeper
keeper.show_no_pages()
import django; django.setup()
import execution.keeping
"""


def loaded(code):
    """Return what a fresh interpreter has loaded after this."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"],
        cwd=REPOSITORY,
        env=os.environ | test_environment() | {"DJANGO_SETTINGS_MODULE": "config.settings"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_start_loads_nothing_that_only_some_task_needs():
    """A process that knows every task, skill, page and check has loaded none of the packages that a few of them use."""
    found = loaded(AS_A_WORKER)
    assert {"recovery.admin.incidents", "recovery.workflows.incident", "graduation.admin"} <= found, "all is loaded"
    assert found & USED_LATER == set()


def test_keeper_loads_no_pages():
    """A keeper has loaded its project without what the admin shows."""
    found = loaded(AS_A_KEEPER)
    assert {"execution.models", "recovery.models", "graduation.models"} <= found
    assert not {one for one in found if one.startswith(("execution.admin", "recovery.admin", "graduation.admin"))}
