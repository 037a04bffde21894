"""Deployments: files put under a target folder, and the record there of what was put.

The record (`.harvest/deployed.json` in the target) is written before the files, with the digest that each is to
have and the one it had: whatever moment a worker dies at, the next one knows its own files from those of others. A
file that the record does not know, or that has another digest than the record says, is never overwritten.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from execution.workflows.nodes import folders, stores
from execution.workflows.nodes.exceptions import FileTaken, LibraryError, PathRefused

RECORD = ".harvest/deployed.json"
WRITE, REPLACE, KEEP, REFUSE = "write", "replace", "keep", "refuse"
Entry = dict[str, Any]


class RecordBroken(LibraryError):
    """A target's record cannot be read."""


def plan(target: Path, blocks: list[Entry], record: dict[str, Entry]) -> list[Entry]:
    """Say for each block what deploying it does: write, replace, keep, or refuse and why."""
    claims: dict[str, list[Entry]] = {}
    for block in blocks:
        claims.setdefault(os.path.normpath(block["path"]), []).append(block)
    return [_planned(target, path, claiming, record.get(path)) for path, claiming in claims.items()]


def _planned(target: Path, path: str, claiming: list[Entry], known: Entry | None) -> Entry:
    first = claiming[0]
    planned = {"path": path, **{name: first[name] for name in ("content", "document", "line")}}
    if len({block["content"] for block in claiming}) > 1:
        places = ", ".join(f"{block['document']}:{block['line']}" for block in claiming)
        return planned | _refused(f"is claimed by different blocks: {places}")
    try:
        folders.checked(first["path"])
    except PathRefused as error:
        return planned | _refused(error.reason)
    return decided(target, planned, known)


def decided(target: Path, planned: Entry, known: Entry | None) -> Entry:
    """Say what becomes of a planned file as the target is now; what was refused stays so."""
    if planned.get("action") == REFUSE:
        return planned
    try:
        found = folders.digest_at(target, planned["path"]) if target.is_dir() else None
    except PathRefused as error:
        return planned | _refused(error.reason)
    except OSError as error:
        return planned | _refused(f"cannot be looked at: {error.strerror}")
    action, reason = decide(found, planned["content"], known)
    return planned | {"before": found, "action": action, "reason": reason}


def _refused(reason: str) -> Entry:
    return {"before": None, "action": REFUSE, "reason": reason}


def decide(found: str | None, wanted: str, known: Entry | None) -> tuple[str, str]:
    """Say what may be done to a file with a digest, wanted with another, of which the record says something."""
    if found == wanted:
        return KEEP, ""
    if found is None:
        return WRITE, ""
    if known is None:
        return REFUSE, "is there already, and was not deployed by a harvest"
    if found not in (known["digest"], known.get("previous")):
        return REFUSE, "was changed since it was deployed"
    return REPLACE, ""


def put(target: Path, file: Entry, store: str) -> Entry:
    """Write a file over what was decided on, and over nothing else; return what became of it."""
    if file["action"] not in (WRITE, REPLACE):
        return file
    try:
        folders.write(target, file["path"], stores.kept(store, file["content"]), over=file["before"])
    except (PathRefused, FileTaken) as error:
        return file | _refused(error.reason)
    except OSError as error:
        return file | _refused(f"cannot be written: {error.strerror}")
    return file


def is_ours(file: Entry, known: dict[str, Entry]) -> bool:
    """Tell whether a file is a harvest's once it is written: one that was there with the same content is not."""
    return file["action"] in (WRITE, REPLACE) or (file["action"] == KEEP and file["path"] in known)


def entry(file: Entry) -> Entry:
    """Return what the record says of a file from the moment before it is written."""
    return {"digest": file["content"], "previous": file["before"], "document": file["document"], "line": file["line"]}


def record_of(target: Path) -> dict[str, Entry]:
    """Return what was deployed to a target before, by path."""
    content = folders.read(target, RECORD) if target.is_dir() else None
    if content is None:
        return {}
    try:
        files = json.loads(content)["files"]
        return {str(path): {**known, "digest": str(known["digest"])} for path, known in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RecordBroken(
            f"{RECORD} in {str(target)!r} cannot be read: put it back from a copy; without it no file there "
            "is known to be a harvest's"
        ) from None


def write_record(target: Path, files: dict[str, Entry]) -> None:
    """Store the record whole."""
    content = json.dumps({"files": dict(sorted(files.items()))}, indent=1, ensure_ascii=False).encode()
    folders.write(target, RECORD, content, over=folders.digest_at(target, RECORD))


@contextmanager
def held(target: Path) -> Iterator[None]:
    """Hold a target while its files and its record are written; the lock ends with the process that holds it."""
    place = target / ".harvest"
    if place.is_symlink():
        raise PathRefused(str(place), "is a link: the record of a target lies in the target")
    place.mkdir(parents=True, exist_ok=True)
    handle = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
