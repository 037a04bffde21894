"""Every test leaves behind no connection, and remembers nothing of tables that are empty again."""

import pytest

from execution import agents, ledger, openings


@pytest.fixture(autouse=True)
def _nothing_remembered():
    """Forget looked-up ids, and close this thread's own connection to the ledger."""
    yield
    agents.forget()
    openings.forget()
    ledger.close()
