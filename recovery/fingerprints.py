"""Fingerprints: what two failures have in common that have the same cause. Version 1.

Where an error has a stack, that is its type, the in-app frames as module and function, and the skill: line numbers,
source lines, carets, notes and addresses never count, nor how deep a recursion went. In-app is what is neither of the
standard library, nor installed, nor ours. An error that is only a message, or whose stack lies outside the app, is
known by its type and the template of its message. The version is kept with it: a new one never regroups what is old.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

VERSION = 1

_FRAME = re.compile(r'^[ \t|]*File "(?P<path>[^"\n]+)", line (?:\d+|\?), in (?P<name>.+)$', re.MULTILINE)
_START = re.compile(r"^(?:  \+ Exception Group )?Traceback \(most recent call last\):$", re.MULTILINE)
_SUBGROUPS = re.compile(r"^[ |]*\+-\+-+ 1 -+$", re.MULTILINE)
_LEAF = re.compile(r"^ {3}[ |]*\| (?P<type>(?:\w+\.)*[A-Z]\w*)(?::|$)", re.MULTILINE)
_OUTSIDE = re.compile(r"/(?:site|dist)-packages/|/lib(?:64)?/python\d(?:\.\d+)?/|/Lib/|/python\d+\.zip/|^<frozen ")
# Python 3.12 has no frames of their own for these.
_INLINED = frozenset({"<listcomp>", "<dictcomp>", "<setcomp>"})
_OURS = ("execution", "recovery", "graduation")
_LONGEST_CIRCLE = 4
_FRAMES_MOST = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What counts of a traceback: in-app frames, the outermost first, and the types that a group holds."""

    frames: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()


def type_of(error: dict[str, Any]) -> str:
    """Return an error's type with its module, as `ValueError` or `httpx.ConnectError`."""
    name, module = str(error.get("type") or ""), str(error.get("module") or "")
    return name if not name or module in ("", "builtins", "__main__") else f"{module}.{name}"


def of_stack(error_type: str, stack: Stack, skill: str) -> str:
    """Return the fingerprint of an error that has in-app frames."""
    return _digest("stack", error_type, *stack.leaves, "/", *stack.frames, "/", skill)


def of_message(error_type: str, template: str) -> str:
    """Return the fingerprint of an error that is only a message, given its template's digest."""
    return _digest("message", error_type, template)


def of_parking(waiting: str, skill: str) -> str:
    """Return the fingerprint of a step that was parked: what it waits for, and where."""
    return _digest("parked", waiting, skill)


def _digest(*parts: str) -> str:
    return hashlib.sha1("\n".join((str(VERSION), *parts)).encode(), usedforsecurity=False).hexdigest()


def stack_of(error: dict[str, Any]) -> Stack:
    """Return what counts of the traceback that the ledger keeps of an error; empty where nothing of it is in-app."""
    return _stack_in(_without_message(str(error.get("traceback") or ""), error))


@lru_cache(maxsize=500)
def _stack_in(text: str) -> Stack:
    """Return what counts of a traceback; failures come by the thousand, and their stacks are the same ones."""
    for block in reversed(_blocks(text)):
        head, leaves = _parted(block)
        if frames := _in_app(head):
            return Stack(frames=frames, leaves=leaves)
    return Stack()


def _without_message(text: str, error: dict[str, Any]) -> str:
    """Cut off what the error says, which may hold anything, and its notes; what a group holds stays."""
    first = str(error.get("message") or "").partition("\n")[0]
    if not first or "Exception Group Traceback" in text:
        return text
    return text[:place] if (place := text.rfind(f"{error.get('type')}: {first}")) > 0 else text


def _blocks(text: str) -> list[str]:
    """Return the tracebacks of a chain, the raised error's last; the first may have lost its beginning."""
    starts = [found.start() for found in _START.finditer(text)]
    if not starts or starts[0] > 0:
        starts.insert(0, 0)
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def _parted(block: str) -> tuple[str, tuple[str, ...]]:
    """Part a group's own traceback from what it holds: the types of that, each once, however many there are."""
    found = _SUBGROUPS.search(block)
    if found is None:
        return block, ()
    types = {leaf["type"].rpartition(".")[2] for leaf in _LEAF.finditer(block, found.end())}
    return block[: found.start()], tuple(sorted(types - {"ExceptionGroup", "BaseExceptionGroup"}))


def _in_app(block: str) -> tuple[str, ...]:
    frames: list[str] = []
    for found in _FRAME.finditer(block):
        path, name = found["path"].replace("\\", "/"), found["name"]
        if name in _INLINED or _is_outside(path):
            continue
        frames.append(f"{module_of(path)}:{name}")
        _close_circles(frames)
    return tuple(frames[-_FRAMES_MOST:])


def _close_circles(frames: list[str]) -> None:
    """Remove the end of the frames where it repeats what stands before it: however deep a recursion went, it is one."""
    for size in range(1, _LONGEST_CIRCLE + 1):
        if frames[-size:] == frames[-2 * size : -size]:
            del frames[-size:]
            return


@lru_cache(maxsize=10_000)
def _is_outside(path: str) -> bool:
    if _OUTSIDE.search(path):
        return True
    return any(path.endswith(f"/{ours}") or path == ours for ours in _our_files())


@lru_cache(maxsize=1)
def _our_files() -> frozenset[str]:
    """Return our own modules' paths from the name of the app on: where they are installed differs from host to host."""
    root = Path(__file__).resolve().parent.parent
    return frozenset(str(path.relative_to(root).as_posix()) for app in _OURS for path in (root / app).rglob("*.py"))


@lru_cache(maxsize=10_000)
def module_of(path: str) -> str:
    """Return a file's module with the package around it; where that is installed does not count."""
    parts = [part for part in path.replace("\\", "/").split("/") if part]
    name = parts[-1].removesuffix(".py").removesuffix(".pyc") if parts else path
    package = parts[-2] if len(parts) > 1 else ""
    if name == "__init__":
        return package or name
    if not name.isidentifier():
        return re.sub(r"[0-9a-f]*\d[0-9a-f]*", "*", name)
    return f"{package}.{name}" if package.isidentifier() else name
