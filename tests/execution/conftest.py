"""No test remembers anything of tables that are empty again."""

import pytest

from execution import agents, ledger, openings
from tests.hands import Hands


@pytest.fixture(scope="session", autouse=True)
def _nothing_connected(django_db_setup):
    """Close this thread's own connection to the ledger before the database is dropped."""
    yield
    ledger.close()


@pytest.fixture(autouse=True)
def _nothing_remembered():
    """Forget looked-up ids, and the connection."""
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
