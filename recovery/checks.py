"""System checks of recovery's settings: a number with which nothing would be delivered is refused at the start."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from execution.checks import TAG

_AT_LEAST = {
    "webhook_timeout_seconds": 0.1,
    "webhook_concurrency": 1,
    "webhook_per_endpoint": 1,
    "webhook_lock_seconds": 1,
    "webhook_days": 0,
    "dead_letter_days": 0,
}


@checks.register(TAG)
def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """E101: a number too low. What cannot be read at all is execution's E001."""
    from recovery import conf

    try:
        known = conf.current()
    except (AttributeError, ImproperlyConfigured, TypeError, ValueError):
        return []
    return [
        checks.Error(
            f"CELERIAC[{name!r}] is {getattr(known, name)}, below {least:g}.",
            hint=f"Give {least:g} or more, or leave it out for the default.",
            id="celeriac.E101",
        )
        for name, least in _AT_LEAST.items()
        if getattr(known, name) < least
    ]
