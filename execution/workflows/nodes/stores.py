"""Stores: a folder in which the steps of a workflow hand contents to each other by their digest.

A step's output stays small: it names what it kept. What comes out of a store is what went in, or a refusal. Workers
on several hosts need one that they share.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from execution.workflows.nodes import folders
from execution.workflows.nodes.exceptions import ContentMissing, FileTaken

DEFAULT = ".celeriac/library"
_DIGEST = re.compile(r"[0-9a-f]{64}")


def keep(store: str, content: bytes) -> str:
    """Keep a content, and return the digest under which it is found; keeping it twice is keeping it once."""
    root, digest = Path(store).expanduser(), folders.digest(content)
    path = _path(digest)
    if root.is_dir() and folders.digest_at(root, path) == digest:
        return digest
    try:
        folders.write(root, path, content, over=None)
    except FileTaken:
        # Another worker kept the same at the same moment, or a disk has spoilt it: the content decides.
        found = folders.digest_at(root, path)
        if found is not None and found != digest:
            folders.write(root, path, content, over=found)
    return digest


def kept(store: str, digest: str) -> bytes:
    """Return what was kept under a digest."""
    root = Path(store).expanduser()
    if not _DIGEST.fullmatch(digest) or not root.is_dir():
        raise ContentMissing(digest, store)
    content = folders.read(root, _path(digest))
    if content is None or folders.digest(content) != digest:
        raise ContentMissing(digest, store)
    return content


def keep_json(store: str, value: Any) -> str:
    """Keep a JSON value, written the same way each time."""
    return keep(store, json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1).encode())


def kept_json(store: str, digest: str) -> Any:
    """Return a JSON value that was kept."""
    return json.loads(kept(store, digest))


def _path(digest: str) -> str:
    return f"{digest[:2]}/{digest}"
