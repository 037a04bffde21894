"""The system checks refuse what makes the promises impossible."""

import pytest
from django.contrib import admin
from django.core import checks as system_checks

from config import celery_app
from execution import checks


def found(**options):
    """Run every check of the ledger and return the ids."""
    return {message.id: message for message in system_checks.run_checks(tags=[checks.TAG])}


def test_defaults_pass():
    """The project's own settings raise nothing."""
    assert found() == {}


@pytest.mark.parametrize(
    ("given", "expected", "word"),
    [
        ({"leese_seconds": 5}, "celeriac.E001", "did you mean 'lease_seconds'"),
        ({"lease_seconds": "long"}, "celeriac.E001", "must be int"),
        ([1], "celeriac.E001", ""),
        ({"lease_seconds": 5}, "celeriac.E003", "two heartbeats"),
        ({"window": 0}, "celeriac.E004", "'window'"),
        ({"tick_seconds": 0.0}, "celeriac.E004", "'tick_seconds'"),
        ({"session_locks": False}, "celeriac.W001", "lease runs out"),
    ],
)
def test_settings_that_cannot_work(settings, given, expected, word):
    """Each bad setting has its id, a sentence and a hint."""
    settings.CELERIAC = given
    message = found()[expected]
    assert word in message.msg
    assert message.hint


def test_short_lease_with_short_heartbeats_passes(settings):
    """A short lease is fine where heartbeats are shorter."""
    settings.CELERIAC = {"lease_seconds": 5, "heartbeat_seconds": 1.5}
    assert found() == {}


def test_admin_that_is_not_the_room(monkeypatch):
    """Django's own admin site in the room's place is refused, and the hint names what to write."""
    monkeypatch.setattr(admin, "site", admin.AdminSite())
    assert "execution.room.apps.RoomConfig" in found()["celeriac.E007"].hint


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("accept_content", ["json", "pickle"], "celeriac.E005"),
        ("accept_content", ["json", "application/x-python-serialize"], "celeriac.E005"),
        ("task_serializer", "pickle", "celeriac.E005"),
        ("accept_content", ["yaml"], "celeriac.E006"),
        ("task_acks_late", True, "celeriac.W002"),
    ],
)
def test_celery_options_that_cannot_work(monkeypatch, option, value, expected):
    """Pickle is refused, JSON is needed, and late acknowledgement is warned of."""
    monkeypatch.setitem(celery_app.conf, option, value)
    assert expected in found()


def test_database_that_is_no_postgresql(monkeypatch):
    """The ledger is refused another database."""
    from django.db import connections

    monkeypatch.setattr(connections["default"], "vendor", "sqlite")
    assert "PostgreSQL 15" in found()["celeriac.E002"].msg
