"""The doctor's look at recovery: exports that wait, and webhooks that are disabled, fail or are late."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import timedelta

from django.db.models.functions import Now

from execution import words
from execution.doctor.database import rows
from execution.doctor.findings import Finding, error, first_line, ok, warning
from recovery import kept, uploads
from recovery.exceptions import ExportsMisconfigured

LATE = timedelta(hours=1)
LATE_SECONDS = 60.0


def export_folder() -> Iterator[Finding]:
    """Look whether exports can be kept on this host."""
    place = kept.folder()
    existing = next(one for one in (place, *place.parents) if one.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"exports")
            file.flush()
    except OSError as problem:
        text = f"exports cannot be kept in {place}: {first_line(problem)}"
        yield error(
            "exports.folder", text, "Free or mend the disk, or set CELERIAC['exports_folder'] to another folder."
        )
    else:
        yield ok("exports.folder", f"exports are kept in {place}")


def export_storage() -> Iterator[Finding]:
    """Look whether the settings name a storage for exports, and whether it answers."""
    try:
        reach = getattr(uploads.storage(), "reach", None)
        if reach is not None:
            yield ok("exports.storage", f"exports go to {reach()}, which answers")
    except ExportsMisconfigured as problem:
        yield error("exports.storage", str(problem), "Correct CELERIAC['exports'] or STORAGES; exports wait meanwhile.")
    except Exception as problem:  # noqa: BLE001 - whatever the storage raises, it cannot be used
        yield error(
            "exports.storage", uploads.explain(problem), "Mend what it says; exports are kept and wait meanwhile."
        )


def waiting_exports() -> Iterator[Finding]:
    """Look whether exports wait for their storage."""
    count = uploads.pending().count()
    if not count:
        yield ok("exports.uploaded", "no export waits for its upload")
        return
    oldest = uploads.pending().order_by("created_at")[0]
    why = oldest.last_error or f"it is kept on {oldest.kept_on or 'an unknown host'}"
    is_late = uploads.pending().filter(created_at__lt=Now() - LATE).exists()
    if is_late or oldest.last_error:
        text = f"{words.counted(count, 'export')} cannot be uploaded, the oldest of {oldest.night}: {why}"
        yield warning(
            "exports.uploaded", text, "Mend what it says; then `manage.py exports upload` or the next pass does it."
        )
    else:
        yield ok("exports.uploaded", f"{words.counted(count, 'export')} on the way")


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


LOOKS = (export_folder, export_storage, waiting_exports, webhooks, outbox)
