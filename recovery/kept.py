"""Kept bytes: each export on this host's own disk, whole and on the platter before its row is written.

What is kept stays until it was uploaded and `exports_kept_days` have passed, so that it goes up later however long the
storage is away, and again if the object is damaged. The same lines give the same bytes: keys are sorted and the gzip
header bears no time.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

from django.core.serializers.json import DjangoJSONEncoder

from execution.exceptions import NotJson
from recovery import conf
from recovery.exceptions import ExportLost
from recovery.models import ExportState, FailurePatternExport

_CHUNK = 1024 * 1024
_DAY_SECONDS = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What can be said of bytes without having them."""

    digest: str
    """The SHA-256, in hex."""
    md5: str
    """What storages of the S3 kind compare on their own, in hex; it guards against accidents only."""
    size: int


class Readable(Protocol):
    """A file, or what Django makes of one."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes."""

    def seek(self, position: int, /) -> Any:
        """Go to a place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Bytes that were written to this host's disk."""

    path: Path
    content: Content
    line_count: int


def host() -> str:
    """Return the name of this host."""
    return socket.gethostname()


def folder() -> Path:
    """Return the folder of exports on this host."""
    return Path(conf.current().exports_folder or Path.cwd() / ".celeriac" / "exports")


def write(night: date, lines: Iterable[dict[str, Any]]) -> Kept:
    """Write lines to the disk, under a name that follows from the night and the bytes."""
    _place().mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(suffix=".partial", dir=_place())
    try:
        with os.fdopen(handle, "w+b") as file:
            line_count = _zip(lines, file)
            file.flush()
            os.fsync(file.fileno())
            content = hashed(file)
        path = _path(night, content.digest)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    _sync(_place())
    return Kept(path=path, content=content, line_count=line_count)


def path_of(export: FailurePatternExport) -> Path:
    """Return where an export's bytes are on the host that keeps them."""
    return _path(export.night, export.digest)


def is_here(export: FailurePatternExport) -> bool:
    """Tell whether an export's bytes are on this host."""
    return path_of(export).exists()


def look_at(export: FailurePatternExport) -> Content:
    """Read the kept bytes of an export, and return what they are; raises ExportLost when they are not the export's."""
    try:
        with path_of(export).open("rb") as file:
            found = hashed(file)
    except FileNotFoundError as error:
        raise ExportLost(
            f"the bytes of {export.name} are not on this host ({host()}); {export.kept_on or 'no host'} kept them"
        ) from error
    if found.digest != export.digest:
        raise ExportLost(
            f"the bytes that were kept of {export.name} are damaged: their hash is {found.digest[:12]}..., "
            f"and {export.digest[:12]}... in the row; run the night's aggregation again"
        )
    return found


def hashed(file: Readable, into: BinaryIO | None = None) -> Content:
    """Read a file from its beginning and return what it holds, copied to another on the way."""
    file.seek(0)
    digest, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        md5.update(chunk)
        size += len(chunk)
        if into is not None:
            into.write(chunk)
    file.seek(0)
    return Content(digest=digest.hexdigest(), md5=md5.hexdigest(), size=size)


def sweep() -> int:
    """Remove what was uploaded long ago, and what no row tells of for a day; returns how many files."""
    removed = 0
    for path in _place().glob("*"):
        with suppress(OSError):
            if _is_old(path, _DAY_SECONDS) and _is_done_with(path):
                path.unlink()
                removed += 1
    return removed


def _is_done_with(path: Path) -> bool:
    night = _night(path)
    export = FailurePatternExport.objects.filter(digest=path.name[11:75], night=night).first() if night else None
    if export is None:
        return True
    kept_seconds = conf.current().exports_kept_days * _DAY_SECONDS
    return export.state == ExportState.UPLOADED and _is_old(path, kept_seconds)


def _night(path: Path) -> date | None:
    with suppress(ValueError):
        return date.fromisoformat(path.name[:10])
    return None


def _is_old(path: Path, seconds: float) -> bool:
    return path.stat().st_mtime < time.time() - seconds


def _zip(lines: Iterable[dict[str, Any]], file: IO[bytes]) -> int:
    count = 0
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as zipped:
        for count, line in enumerate(lines, start=1):
            zipped.write(_json(line, count))
    return count


def _json(line: dict[str, Any], number: int) -> bytes:
    try:
        return json.dumps(line, cls=DjangoJSONEncoder, sort_keys=True, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise NotJson(f"line {number} of an export", str(error)) from error


def _place() -> Path:
    return folder() / "kept"


def _path(night: date, digest: str) -> Path:
    return _place() / f"{night.isoformat()}-{digest}.jsonl.gz"


def _sync(place: Path) -> None:
    """Let a rename outlive a power cut."""
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
