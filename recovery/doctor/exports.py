"""The doctor's look at exports: whether they can be kept and uploaded, and which wait."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import timedelta

from django.db.models.functions import Now

from execution import words
from execution.doctor.findings import Finding, error, first_line, ok, warning
from recovery import kept, uploads
from recovery.exceptions import ExportsMisconfigured

LATE = timedelta(hours=1)


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


LOOKS = (export_folder, export_storage, waiting_exports)
