"""Folders: what is in one, what stays inside it, and files that are written whole or not at all.

A path from outside is walked component by component with open directories and without following links: what was a
folder when it was looked at cannot be a link when it is written. A write names the digest that it replaces, and is
refused over anything else.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from execution.workflows.nodes.exceptions import FileTaken, FolderMissing, PathRefused

PASSED_OVER = frozenset({
    ".celeriac", ".git", ".harvest", ".hg", ".hypothesis", ".mypy_cache", ".nox", ".pytest_cache", ".ruff_cache",
    ".svn", ".tox", ".venv", "__pycache__", "node_modules", "venv",
})  # fmt: skip
"""Folders that hold what tools made: nobody means them by 'the tree'."""
OUT_OF_BOUNDS = frozenset({".celeriac", ".git", ".harvest", ".hg", ".svn"})
"""Folders in which a file changes what a program does, or what is known about the others."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(slots=True, kw_only=True)
class Tree:
    """The files below a folder by their paths in it, and what could not be looked at."""

    root: Path
    files: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def existing(path: str) -> Path:
    """Return a folder by its real path, or refuse what is none."""
    found = Path(path).expanduser()
    if not found.is_dir():
        raise FolderMissing(path)
    return found.resolve()


def walk(root: Path, *, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> Tree:
    """List the files below a folder in order, without following links and without what tools made."""
    tree = Tree(root=root)
    wanted, unwanted = list(include), list(exclude)
    for folder, names, files in os.walk(root, onerror=lambda error: tree.unreadable.append(_inside(root, error))):
        names[:] = sorted(name for name in names if name not in PASSED_OVER)
        here = Path(folder)
        tree.links += [(here / name).relative_to(root).as_posix() for name in names if (here / name).is_symlink()]
        for name in sorted(files):
            path = (here / name).relative_to(root).as_posix()
            if (here / name).is_symlink():
                tree.links.append(path)
            elif (here / name).is_file() and is_meant(path, wanted, unwanted):
                tree.files.append(path)
    return tree


def is_meant(path: str, include: list[str], exclude: list[str]) -> bool:
    """Tell whether a path fits one of the wanted patterns, if any are given, and none of the unwanted ones."""
    return (not include or _fits(path, include)) and not _fits(path, exclude)


def checked(path: str) -> PurePosixPath:
    """Return a path that stays inside whatever folder it is put into, or say why it does not."""
    found = PurePosixPath(path)
    if not path or "\0" in path or "\\" in path or any(ord(sign) < 32 for sign in path):
        raise PathRefused(path, "is no plain path with forward slashes")
    if not found.parts or ".." in found.parts:
        raise PathRefused(path, "leaves the folder")
    if found.is_absolute() or path.startswith("~") or ":" in found.parts[0]:
        raise PathRefused(path, "is absolute: paths are relative to the folder")
    if OUT_OF_BOUNDS.intersection(part.lower() for part in found.parts):
        raise PathRefused(path, f"lies in {', '.join(sorted(OUT_OF_BOUNDS))}, where nothing is written")
    if any(len(part.encode()) > 200 for part in found.parts):
        raise PathRefused(path[:60] + "…", "has a name of more than 200 bytes")
    return found


def read(root: Path, path: str) -> bytes | None:
    """Return a file's content; nothing where there is no file, and a refusal for a link or a device."""
    try:
        with _opened(root, path) as (folder, name):
            return _content(folder, name, path)
    except FileNotFoundError:
        return None


def digest_at(root: Path, path: str) -> str | None:
    """Return the digest of a file, or nothing where there is none."""
    content = read(root, path)
    return None if content is None else digest(content)


def digest(content: bytes) -> str:
    """Return the SHA-256 of a content, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def write(root: Path, path: str, content: bytes, *, over: str | None) -> None:
    """Write a file by renaming a whole one over it; `over` is the digest of what it replaces, None for nothing."""
    with _opened(root, path, create=True) as (folder, name):
        draft = f".{uuid.uuid4().hex}.draft"
        mode = _mode(folder, name)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            _put(folder, draft, name, path, over)
            os.fsync(folder)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=folder)


def remove(root: Path, path: str, *, over: str) -> None:
    """Remove a file whose digest is the one given."""
    with suppress(FileNotFoundError), _opened(root, path) as (folder, name):
        _check_over(folder, name, path, over)
        os.unlink(name, dir_fd=folder)


def _put(folder: int, draft: str, name: str, path: str, over: str | None) -> None:
    """Give the draft its name: a link fails where a file has come in between, a rename would not."""
    if over is not None:
        _check_over(folder, name, path, over)
        os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
        return
    try:
        os.link(draft, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        raise FileTaken(path, "is there already, and was not written by this") from None


def _check_over(folder: int, name: str, path: str, over: str) -> None:
    try:
        found = digest(_content(folder, name, path))
    except FileNotFoundError:
        raise FileTaken(path, "was removed by somebody else") from None
    if found != over:
        raise FileTaken(path, "was changed by somebody else")


def _mode(folder: int, name: str) -> int:
    """Return the permissions of the file that is replaced, or those of a new one."""
    try:
        return stat.S_IMODE(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return 0o644


def _content(folder: int, name: str, path: str) -> bytes:
    try:
        handle = os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise PathRefused(path, "is a link or a device") from None
        raise
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise PathRefused(path, "is no regular file")
        return file.read()


@contextmanager
def _opened(root: Path, path: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
    """Open the folder that holds a path, and give the file's name in it."""
    *folders, name = _parts(path)
    if create:
        root.mkdir(parents=True, exist_ok=True)
    current = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in folders:
            following = _entered(current, part, path, create=create)
            os.close(current)
            current = following
        yield current, name
    finally:
        os.close(current)


def _entered(folder: int, name: str, path: str, *, create: bool) -> int:
    if create:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise PathRefused(path, f"leads through {name!r}, which is a link or no folder") from None
        raise


def _parts(path: str) -> tuple[str, ...]:
    found = PurePosixPath(path)
    if not found.parts or found.is_absolute() or ".." in found.parts:
        raise PathRefused(path, "leaves the folder")
    return found.parts


def _fits(path: str, patterns: list[str]) -> bool:
    return any(
        fnmatch(path, pattern) or (pattern.startswith("**/") and fnmatch(path, pattern[3:])) for pattern in patterns
    )


def _inside(root: Path, error: OSError) -> str:
    path = Path(os.fsdecode(error.filename))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
