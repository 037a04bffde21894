"""Checks: settings with which nothing would be delivered are refused."""

import pytest

from recovery import checks


def test_defaults_pass():
    """Nothing is wrong with nothing configured."""
    assert checks.check_settings() == []


@pytest.mark.parametrize(
    "name", ["webhook_concurrency", "webhook_per_endpoint", "webhook_timeout_seconds", "webhook_lock_seconds"]
)
def test_too_low(settings, name):
    """A number too low is an error that says which, and what to give."""
    settings.CELERIAC = settings.CELERIAC | {name: 0}
    found = checks.check_settings()
    assert [one.id for one in found] == ["celeriac.E101"]
    assert name in found[0].msg
