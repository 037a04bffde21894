"""The doctor's look at webhooks: which are disabled or fail, and whether somebody delivers."""

from __future__ import annotations

from collections.abc import Iterator

from execution import words
from execution.doctor.database import rows
from execution.doctor.findings import Finding, ok, warning

LATE_SECONDS = 60


def _is_migrated() -> bool:
    return bool(rows("SELECT 1 FROM pg_class WHERE oid = to_regclass('recovery_webhookendpoint')"))


def webhooks() -> Iterator[Finding]:
    """Look which webhooks are disabled, and which fail."""
    if not _is_migrated():
        return
    found = rows(
        "SELECT name, state, disabled_reason, changed_by, last_error, "
        "extract(epoch FROM clock_timestamp() - failing_since)::float8 FROM recovery_webhookendpoint ORDER BY name"
    )
    well = 0
    for name, state, reason, by, told, failing in found:
        if state == "disabled":
            yield warning(
                "webhooks.disabled",
                f"the webhook {name} is disabled by {by or 'somebody'}: {reason}",
                f"Mend the receiver, then manage.py webhooks test {name}, enable {name}, and replay {name} --since ...",
            )
        elif failing is not None:
            text = f"the webhook {name} has failed for {words.length(failing)}: {told}"
            yield warning("webhooks.failing", text, f"manage.py webhooks show {name}")
        else:
            well += 1
    if well:
        yield ok("webhooks.well", f"{words.counted(well, 'webhook')} {'is' if well == 1 else 'are'} well")


def outbox() -> Iterator[Finding]:
    """Look whether somebody delivers what is due."""
    if not _is_migrated():
        return
    late = rows(
        "SELECT extract(epoch FROM clock_timestamp() - min(w.due_at))::float8 FROM recovery_webhookendpoint e "
        "CROSS JOIN LATERAL (SELECT o.due_at FROM recovery_outboxevent o WHERE o.endpoint_id = e.id "
        "AND o.state = 'pending' ORDER BY o.due_at LIMIT 1) w WHERE e.state = 'active' AND e.failing_since IS NULL"
    )[0][0]
    if late is not None and late > LATE_SECONDS:
        yield warning(
            "webhooks.late",
            f"a message to a healthy webhook has been due for {words.length(late)}",
            "Is there a worker for the queue celeriac, and beat? Look at manage.py doctor's lines about both.",
        )


LOOKS = (webhooks, outbox)
