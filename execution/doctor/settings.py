"""The doctor's look at the settings: the system checks of the ledger, as findings."""

from __future__ import annotations

from collections.abc import Iterator

from django.core import checks

from execution.checks import TAG
from execution.doctor.findings import Finding, error, ok, warning


def system_checks() -> Iterator[Finding]:
    """Run the system checks of the ledger."""
    found = [message for message in checks.run_checks(tags=[TAG]) if not message.is_silenced()]
    for message in found:
        say = error if message.is_serious() else warning
        yield say(message.id or "settings", str(message.msg), message.hint or "")
    if not found:
        yield ok("settings", f"settings: {_shown()}")


def _shown() -> str:
    from execution import conf

    current = conf.current()
    return (
        f"lease {current.lease_seconds} s, heartbeat {current.heartbeat_seconds:g} s, tick {current.tick_seconds:g} s, "
        f"window {current.window} messages per queue"
    )


LOOKS = (system_checks,)
