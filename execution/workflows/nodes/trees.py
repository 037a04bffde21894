"""Trees: a scope of files under a root, locked for one change, copied, and put back.

The lock is a file in the root that names its owner; a lock above or below is one on the same files. It outlives its
worker on purpose: the tree stays closed until the change that holds it has ended or was released. The copy lies in
a store, so that it needs no git and no second folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from execution.workflows.nodes import folders, stores
from execution.workflows.nodes.exceptions import FileTaken, TreeChanged, TreeLocked

LOCK = ".celeriac-change"
Files = dict[str, str]


def lock(root: Path, owner: str) -> None:
    """Lock a tree for an owner; the same owner may lock it again."""
    try:
        folders.write(root, LOCK, owner.encode(), over=None)
    except FileTaken:
        if (held_by := holder(root)) != owner:
            raise TreeLocked(str(root), held_by) from None
        return
    other = next((place for place in _around(root) if place != root), None)
    if other is not None:
        release(root, owner)
        raise TreeLocked(str(other), holder(other))


def holder(root: Path) -> str:
    """Return who holds the lock of a tree, or an empty text."""
    return (folders.read(root, LOCK) or b"").decode(errors="replace")


def release(root: Path, owner: str) -> bool:
    """Release a lock that the owner holds; tell whether there was one."""
    held_by = holder(root)
    if not held_by:
        return False
    if held_by != owner:
        raise TreeLocked(str(root), held_by)
    folders.remove(root, LOCK, over=folders.digest(owner.encode()))
    return True


def _around(root: Path) -> list[Path]:
    """Return the locked folders above and below a root."""
    above = [place for place in root.parents if (place / LOCK).exists()]
    below = [(root / path).parent for path in folders.walk(root).files if path.endswith("/" + LOCK)]
    return above + below


def scope(root: Path, include: list[str], exclude: list[str]) -> Files:
    """Return the files of a scope with their digests."""
    found = folders.walk(root, include=include, exclude=[*exclude, LOCK, f"**/{LOCK}"]).files
    return {path: folders.digest(content) for path in found if (content := folders.read(root, path)) is not None}


def check(root: Path, files: Files) -> None:
    """Refuse to go on when a file of the scope is not what it was."""
    changed = [path for path, digest in files.items() if folders.digest_at(root, path) != digest]
    if changed:
        raise TreeChanged(changed)


def copy(root: Path, files: Files, store: str) -> int:
    """Keep a copy of every file in a store, and return how many bytes they have."""
    size = 0
    for path, digest in files.items():
        content = folders.read(root, path)
        if content is None or stores.keep(store, content) != digest:
            raise TreeChanged([path])
        size += len(content)
    return size


def apply(root: Path, edits: list[dict[str, Any]], store: str, *, backwards: bool = False) -> list[str]:
    """Bring each edited file from its digest before to the one after, or back; what is there already is left alone.

    A file that has neither digest was changed by somebody else: it is named, and nothing at all is written.
    """
    source, wanted = ("after", "before") if backwards else ("before", "after")
    found = {edit["path"]: folders.digest_at(root, edit["path"]) for edit in edits}
    changed = [edit["path"] for edit in edits if found[edit["path"]] not in (edit["before"], edit["after"])]
    if changed:
        raise TreeChanged(changed)
    due = [edit for edit in edits if found[edit["path"]] == edit[source] != edit[wanted]]
    for edit in due:
        try:
            folders.write(root, edit["path"], stores.kept(store, edit[wanted]), over=edit[source])
        except FileTaken:
            raise TreeChanged([edit["path"]]) from None
    return [edit["path"] for edit in due]
