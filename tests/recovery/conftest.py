"""Every test begins with an empty log, and leaves behind no connection and no courier."""

import pytest
from django.db import connection

from execution import agents, ledger, openings
from tests.receivers import Receiver


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
def receiver(settings, transactional_db):
    """Have a receiver of webhooks on loopback, which may be sent to; whoever delivers is stopped before it goes."""
    from recovery import courier

    settings.CELERIAC = settings.CELERIAC | {"webhook_private_addresses": True}
    made = Receiver()
    yield made
    courier.stop()
    made.close()
