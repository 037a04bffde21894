"""Every test begins with an empty log, and remembers nothing of tables that are empty again."""

import pytest
from django.db import connection

from execution import agents, ledger, openings
from tests.hands import Hands


@pytest.fixture(scope="session", autouse=True)
def _nothing_connected(django_db_setup):
    """Close this thread's own connection to the ledger before the database is dropped."""
    yield
    ledger.close()


@pytest.fixture(autouse=True)
def _nothing_remembered(request):
    """Forget looked-up ids; empty the log, which Django does not know as its own."""
    marker = request.node.get_closest_marker("django_db")
    if "transactional_db" in request.fixturenames or (marker and marker.kwargs.get("transaction")):
        request.getfixturevalue("transactional_db")
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE execution_event")
    yield
    agents.forget()
    openings.forget()
    ledger.close()


@pytest.fixture
def hands(transactional_db):
    """Claim, perform and finish steps in this process."""
    found = Hands()
    yield found
    found.close()


@pytest.fixture
def stage(settings):
    """Return a stage on which skills are performed in this process, one step at a time."""
    from tests.execution.stage import Stage

    settings.CELERIAC = settings.CELERIAC | {"inline_count": 1}

    made = Stage()
    yield made
    made.close()
