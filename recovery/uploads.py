"""Uploads: an export goes up, whole and verified, or waits and its row says why.

A row is uploaded under a lease with an epoch, so that a late uploader's word is refused. A try that fails is repeated
with growing pauses; when all fail, the bytes stay on this host and the next pass goes on. An object that is there and
whole is not sent again. No network call is made inside a transaction.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from difflib import get_close_matches
from typing import Any

import structlog
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from execution import events
from execution.cycles import Cycle
from recovery import conf, kept
from recovery.exceptions import ExportDamaged, ExportLost, ExportsMisconfigured, Late
from recovery.kept import Content
from recovery.models import ExportState, FailurePatternExport

log = structlog.get_logger(__name__)

TRIES = 5
SHORTEST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 10.0
LEASE = timedelta(minutes=5)
_BATCH = 100
_FORMAT = "celeriac.failure_patterns/1"
_NEVER_RETRIED = (ExportLost, ExportsMisconfigured)
_OURS = (ExportDamaged, ExportLost, ExportsMisconfigured)

Pause = Callable[[float], None]


def upload(
    export: FailurePatternExport, *, again: bool = False, tries: int = TRIES, pause: Pause = time.sleep
) -> FailurePatternExport:
    """Upload an export that waits for it, or `again` one that was uploaded; returns its row as it is then.

    A row that somebody else is uploading is left to them. Again needs the bytes: raises ExportLost where they are not.
    """
    export.refresh_from_db()
    is_first = not export.last_error
    if again:
        kept.look_at(export)
    if (export.state == ExportState.PENDING_UPLOAD or again) and _claim(export):
        with suppress(Late):
            _try(export, tries, pause, is_first=is_first)
    export.refresh_from_db()
    return export


def upload_pending(_: dict[str, Any] | None = None, *, pause: Pause = time.sleep) -> int:
    """Upload what waits and is kept on this host, until the storage refuses; returns how many went up."""
    done = 0
    for export in pending().filter(_free()).order_by("attempt_count", "id")[:_BATCH]:
        if kept.is_here(export):
            if upload(export, pause=pause).state != ExportState.UPLOADED:
                break
            done += 1
    kept.sweep()
    return done


def _free() -> Q:
    return Q(lease_until__isnull=True) | Q(lease_until__lt=Now())


def _claim(export: FailurePatternExport) -> bool:
    """Take a row for one lease; the epoch that was seen decides."""
    claimed = FailurePatternExport.objects.filter(_free(), pk=export.pk, epoch=export.epoch).update(
        epoch=export.epoch + 1, lease_until=Now() + LEASE, state=ExportState.PENDING_UPLOAD
    )
    export.epoch += 1
    return bool(claimed)


def _try(export: FailurePatternExport, tries: int, pause: Pause, *, is_first: bool) -> None:
    """Put the object up, again after each failure, and write down how it ended."""
    for number in range(tries):
        if number:
            pause(min(SHORTEST_PAUSE_SECONDS * 2 ** (number - 1), LONGEST_PAUSE_SECONDS))
        _write(export, attempt_count=F("attempt_count") + 1, lease_until=Now() + LEASE)
        problem = _put(export)
        if problem is None:
            _finish(export)
            return
        _write(export, failure_count=F("failure_count") + 1, last_error=explain(problem))
        if isinstance(problem, _NEVER_RETRIED):
            break
    _postpone(export, is_first=is_first)


def _put(export: FailurePatternExport) -> Exception | None:
    """Put an object and its manifest into the storage; what went wrong is the answer, whatever a storage may raise."""
    try:
        to = storage()
        try:
            content = kept.look_at(export)
        except ExportLost:
            if not has_arrived(export):
                raise
        else:
            with kept.path_of(export).open("rb") as file:
                _store(to, export.name, File(file), content)
        about = ContentFile(json.dumps(manifest(export), indent=2).encode() + b"\n")
        _store(to, manifest_name(export), about, kept.hashed(about))
    except Exception as problem:  # noqa: BLE001 - whatever a storage raises, the bytes are kept and tried again
        return problem
    return None


def has_arrived(export: FailurePatternExport) -> bool:
    """Tell whether an object is whole in the storage, by reading it; the remains of one that is not are removed."""
    to = storage()
    if not to.exists(export.name):
        return False
    with to.open(export.name, "rb") as file:
        found = kept.hashed(file)
    if (found.digest, found.size) == (export.digest, export.size):
        return True
    to.delete(export.name)
    return False


def _store(to: Storage, name: str, file: File[bytes], content: Content) -> None:
    """Put one object there, unless it is there, and look whether it arrived."""
    found = _look(to, name)
    if found == content:
        return
    if found is not None:
        to.delete(name)
    saved = to.save(name, file)
    if saved != name:
        raise ExportDamaged(f"the storage called {name} {saved}: it must not rename what it is given")
    if _look(to, name) != content:
        raise ExportDamaged(f"{name} is in the storage, but it is not what was sent")


def _look(to: Storage, name: str) -> Content | None:
    """Return what an object is: by what the storage says of it, or else by reading it; None where there is none."""
    receipt = getattr(to, "receipt", None)
    if receipt is not None and (found := receipt(name)) is not NotImplemented:
        return found  # type: ignore[no-any-return] # storages of our own alone have receipts
    if not to.exists(name):
        return None
    with to.open(name, "rb") as file:
        return kept.hashed(file)


def _write(export: FailurePatternExport, **changes: Any) -> None:
    """Change a row that is claimed; raises Late when somebody else has claimed it since."""
    if not FailurePatternExport.objects.filter(pk=export.pk, epoch=export.epoch).update(**changes):
        raise Late(f"somebody else uploads {export.name} now")


@transaction.atomic
def _finish(export: FailurePatternExport) -> None:
    _write(
        export,
        state=ExportState.UPLOADED,
        uploaded_at=Now(),
        verified_at=Now(),
        lease_until=None,
        last_error="",
    )
    tell("export.uploaded", export)


@transaction.atomic
def _postpone(export: FailurePatternExport, *, is_first: bool) -> None:
    """Leave it to the next pass; the log hears of it once."""
    _write(export, lease_until=None)
    export.refresh_from_db()
    log.warning("export.delayed", name=export.name, error=export.last_error)
    if is_first:
        tell("export.delayed", export, error=export.last_error)


def explain(problem: BaseException) -> str:
    """Say in words why an upload failed."""
    with suppress(ExportsMisconfigured):
        told = getattr(storage(), "explain", None)
        if told is not None and (text := told(problem)):
            return str(text)
    if isinstance(problem, OSError) and problem.strerror:
        return f"{problem.filename or 'the disk'} cannot be used: {problem.strerror}"
    return f"{type(problem).__name__}: {problem}" if not isinstance(problem, _OURS) else str(problem)


# Where


def storage() -> Storage:
    """Return where exports go: the storage that the settings name, or the folder on this host."""
    name = conf.current().exports
    if not name:
        return FileSystemStorage(location=kept.folder())
    if name not in storages.backends:
        near = get_close_matches(name, storages.backends, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"STORAGES has {', '.join(sorted(storages.backends))}"
        raise ExportsMisconfigured(f"CELERIAC['exports'] is {name!r}, which STORAGES does not have; {hint}")
    try:
        return storages[name]
    except (ImproperlyConfigured, ImportError) as error:
        raise ExportsMisconfigured(
            f"the storage {name!r} cannot be used: {error}; is the extra `exports` installed?"
        ) from error


def manifest_name(export: FailurePatternExport) -> str:
    """Return the name of the small object beside an export that says what it is."""
    return export.name.removesuffix(".jsonl.gz") + ".manifest.json"


def manifest(export: FailurePatternExport) -> dict[str, Any]:
    """Return what stands in an export's manifest."""
    return {
        "format": _FORMAT,
        "night": export.night.isoformat(),
        "object": export.name,
        "sha256": export.digest,
        "size": export.size,
        "line_count": export.line_count,
        "created_at": export.created_at.isoformat(),
    }


def pending() -> QuerySet[FailurePatternExport]:
    """Return the exports that wait for their upload."""
    return FailurePatternExport.objects.filter(state=ExportState.PENDING_UPLOAD)


def tell(kind: str, export: FailurePatternExport, **more: str) -> None:
    """Write an event, in the caller's transaction."""
    data = manifest(export) | more
    events.note(kind, data)


UPLOADS = Cycle(name="recovery.upload_exports", period=timedelta(minutes=3), step=upload_pending, is_atomic=False)
