"""Exports: what a night's aggregation found, as one object in a storage, verified by its hash.

The bytes are on this host's disk before the row is written, and the row before anything goes up: whatever dies, the
next call or the cycle goes on from there, and a night has one row and one object.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from django.db import connection, transaction
from django.db.models import F, Q, Sum
from django.db.models.functions import Now
from django.utils import timezone

from recovery import kept, uploads
from recovery.exceptions import ExportDamaged, ExportLost, ExportsMisconfigured, NotFound
from recovery.kept import Content
from recovery.models import ExportState, FailurePatternExport

_LOST_AFTER = timedelta(hours=1)
_NIGHTS_MOST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What all exports together have come to."""

    bytes: int
    attempts: int
    failures: int


def export_night(night: date, lines: Iterable[dict[str, Any]]) -> FailurePatternExport:
    """Export what a night found; called again it goes on, and changes nothing that is there.

    Inside a transaction nothing is uploaded: the cycle does that after the commit.
    """
    export = FailurePatternExport.objects.filter(night=night).first()
    if export is None:
        export = _enter(night, kept.write(night, lines))
    elif not connection.in_atomic_block and _is_lost(export):
        export = _renew(export, kept.write(night, lines))
    return export if connection.in_atomic_block else uploads.upload(export)


def _enter(night: date, found: kept.Kept) -> FailurePatternExport:
    """Write the row of a night; another's row wins."""
    with transaction.atomic():
        export, is_new = FailurePatternExport.objects.get_or_create(night=night, defaults=_about(night, found))
        if is_new:
            export.refresh_from_db()
            uploads.tell("export.kept", export)
    return export


def _is_lost(export: FailurePatternExport) -> bool:
    """Tell whether nobody can upload a row any more: its bytes are not here, not elsewhere since, and did not arrive.

    A storage that does not answer leaves it open whether they arrived, so that no second object is made.
    """
    is_ours = export.kept_on == kept.host() or export.created_at < timezone.now() - _LOST_AFTER
    if export.state == ExportState.UPLOADED or not is_ours:
        return False
    try:
        kept.look_at(export)
    except ExportLost:
        with suppress(Exception):
            return not uploads.has_arrived(export)
    return False


def lost_nights() -> list[date]:
    """Return the nights that wait for their upload for over an hour, and whose bytes nobody has any more."""
    late = uploads.pending().filter(created_at__lt=timezone.now() - _LOST_AFTER).order_by("night")
    return [export.night for export in late[:_NIGHTS_MOST] if _is_lost(export)]


def _renew(lost: FailurePatternExport, found: kept.Kept) -> FailurePatternExport:
    """Let a row whose bytes were lost tell of others; whoever still uploads the old ones is late."""
    about = _about(lost.night, found)
    if found.content.digest == lost.digest:
        about["name"] = lost.name
    waiting = uploads.pending().filter(pk=lost.pk, epoch=lost.epoch)
    waiting.update(**about, epoch=F("epoch") + 1, lease_until=None, last_error="")
    lost.refresh_from_db()
    return lost


def _about(night: date, found: kept.Kept) -> dict[str, Any]:
    return {
        "name": _name(night, found.content.digest),
        "digest": found.content.digest,
        "size": found.content.size,
        "line_count": found.line_count,
        "kept_on": kept.host(),
    }


def _name(night: date, digest: str) -> str:
    return f"failure_patterns/{night:%Y/%m/%d}/candidates_{timezone.now():%Y%m%dT%H%M%SZ}_{digest[:12]}.jsonl.gz"


def get(name: str) -> FailurePatternExport:
    """Return the export of this night, or of this name or a part of it."""
    rows = FailurePatternExport.objects.filter(Q(name__contains=name) | Q(digest__startswith=name))
    with suppress(ValueError):
        rows = FailurePatternExport.objects.filter(night=date.fromisoformat(name))
    found = list(rows.order_by("-night")[:2])
    if len(found) == 1:
        return found[0]
    hint = "more than one export is called so: give its night" if found else "`manage.py exports list` shows them"
    raise NotFound("export", repr(name), hint)


def totals() -> Totals:
    """Return what all exports have come to; it only grows."""
    found = FailurePatternExport.objects.aggregate(
        bytes=Sum("size", filter=Q(uploaded_at__isnull=False)),
        attempts=Sum("attempt_count"),
        failures=Sum("failure_count"),
    )
    return Totals(**{name: int(value or 0) for name, value in found.items()})


def verify(export: FailurePatternExport) -> FailurePatternExport:
    """Read the object and compare its hash with the row's; raises ExportDamaged where they differ."""
    if export.uploaded_at is None:
        raise ExportDamaged(f"{export.name} has not been uploaded yet: {export.last_error or 'it waits for its turn'}")
    found = _read(export)
    rows = FailurePatternExport.objects.filter(pk=export.pk)
    if found is not None and (found.digest, found.size) == (export.digest, export.size):
        rows.update(verified_at=Now(), last_error="")
        export.refresh_from_db()
        return export
    problem = _said_of(export, found)
    with transaction.atomic():
        rows.update(last_error=problem)
        uploads.tell("export.damaged", export, error=problem)
    raise ExportDamaged(problem)


def _said_of(export: FailurePatternExport, found: Content | None) -> str:
    mend = f"`manage.py exports upload {export.night} --again` on {export.kept_on} puts the kept bytes there"
    if found is None:
        return f"{export.name} is not in the storage; {mend}"
    return (
        f"{export.name} is damaged: its hash is {found.digest[:12]}... ({found.size} bytes), "
        f"and {export.digest[:12]}... ({export.size} bytes) in the row; {mend}"
    )


def _read(export: FailurePatternExport, into: BinaryIO | None = None) -> Content | None:
    """Read an object, and copy it to a file on the way; None when it is not there."""
    try:
        with uploads.storage().open(export.name, "rb") as file:
            return kept.hashed(file, into)
    except FileNotFoundError:
        return None
    except (ExportsMisconfigured, ExportDamaged):
        raise
    except Exception as problem:
        raise ExportDamaged(f"{export.name} cannot be read: {uploads.explain(problem)}") from problem


def download(export: FailurePatternExport, path: Path) -> Path:
    """Write an export's bytes to a file, whole and verified or not at all; one that waits comes from this host."""
    handle, name = tempfile.mkstemp(suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "w+b") as file:
            _fetch(export, file)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    return path


def _fetch(export: FailurePatternExport, file: BinaryIO) -> None:
    if export.uploaded_at is None:
        kept.look_at(export)
        file.write(kept.path_of(export).read_bytes())
        return
    found = _read(export, into=file)
    if found is None or found.digest != export.digest:
        raise ExportDamaged(_said_of(export, found))
