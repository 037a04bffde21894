"""What the shipped workflows refuse, one class per situation that a caller might handle.

All are `ValueError`s: trying again would refuse again, so a step that raises one fails at once.
"""

from __future__ import annotations

from execution.exceptions import CeleriacError


class LibraryError(CeleriacError, ValueError):
    """The base of what the shipped workflows refuse."""


class FolderMissing(LibraryError):
    """A folder that is to be read is not there."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path!r} is no folder that can be read"


class PathRefused(LibraryError):
    """A path leaves its folder, or leads through a link."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path!r} {self.reason}"


class FileTaken(LibraryError):
    """A file is not what the writer believes it replaces."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path!r} {self.reason}"


class ContentMissing(LibraryError):
    """The store does not hold what an earlier step kept in it, or holds something else under that digest."""

    def __init__(self, digest: str, folder: str) -> None:
        super().__init__(digest, folder)
        self.digest, self.folder = digest, folder

    def __str__(self) -> str:
        return (
            f"the store {self.folder!r} does not hold {self.digest[:12]}: every worker of the workflow needs "
            "the same folder, and nothing may be removed from it while a run goes on"
        )


class TreeLocked(LibraryError):
    """Another change holds the tree."""

    def __init__(self, root: str, owner: str) -> None:
        super().__init__(root, owner)
        self.root, self.owner = root, owner

    def __str__(self) -> str:
        return (
            f"{self.root!r} is locked by the change {self.owner!r}: wait for its end, or release it with "
            f"library.change.release(root={self.root!r}, owner={self.owner!r})"
        )


class TreeChanged(LibraryError):
    """Somebody else changed files of a locked tree."""

    def __init__(self, paths: list[str]) -> None:
        super().__init__(paths)
        self.paths = paths

    def __str__(self) -> str:
        more = len(self.paths) - 5
        return f"changed by somebody else: {', '.join(self.paths[:5])}" + (f" and {more:,} more" if more > 0 else "")


class ChangeRefused(LibraryError):
    """A rename cannot be done as it was asked for; nothing was changed."""


class ToolMissing(LibraryError):
    """A library or a program that a node needs is not installed."""

    def __init__(self, name: str, purpose: str) -> None:
        super().__init__(name, purpose)
        self.name, self.purpose = name, purpose

    def __str__(self) -> str:
        return f"{self.name} is not installed, and {self.purpose} needs it: pip install 'celeriac[library]'"
