"""Every test begins with an empty log, and leaves no connection of its own behind."""

import pytest
from django.db import connection

from execution import ledger
from tests.hands import Hands


@pytest.fixture(autouse=True)
def _empty_log(request):
    """Empty the log, which Django does not know as its own."""
    marker = request.node.get_closest_marker("django_db")
    if "transactional_db" in request.fixturenames or (marker and marker.kwargs.get("transaction")):
        request.getfixturevalue("transactional_db")
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE execution_event")
    yield
    ledger.close()


@pytest.fixture
def hands(transactional_db):
    """Claim, perform and finish steps in this process."""
    found = Hands()
    yield found
    found.close()
