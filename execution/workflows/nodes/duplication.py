"""Duplication: lines that stand more than once in a tree, in blocks of at least so many.

Blank lines and lines that only comment are passed over, indentation is not compared. Two windows that follow each
other in both places are one block.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from execution.workflows.nodes import folders

LEAST_LINES = 8
SUFFIXES = frozenset({
    ".c", ".cpp", ".cs", ".go", ".h", ".java", ".js", ".jsx", ".php", ".py", ".rb", ".rs", ".sh", ".sql", ".ts", ".tsx",
})  # fmt: skip
_MOST_BYTES = 2 * 1024 * 1024
_MOST_PLACES = 50
Lines = list[tuple[int, str]]
Place = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """So many lines that stand in two places; each place is a path and its first line."""

    lines: int
    first: Place
    second: Place


def find(root: Path, files: list[str], *, least_lines: int = LEAST_LINES) -> tuple[list[Block], int, int]:
    """Return the repeated blocks, longest first, how many lines stand in one, and how many were read."""
    read = {path: _lines(root, path) for path in files if Path(path).suffix in SUFFIXES}
    windows: dict[bytes, list[tuple[str, int]]] = defaultdict(list)
    for path, lines in read.items():
        for index in range(len(lines) - least_lines + 1):
            text = "\n".join(line for _, line in lines[index : index + least_lines])
            windows[hashlib.blake2b(text.encode(), digest_size=16).digest()].append((path, index))
    pairs = {
        (places[0], place)
        for places in windows.values()
        for place in places[1:_MOST_PLACES]
        if places[0][0] != place[0] or place[1] - places[0][1] >= least_lines
    }
    covered = {(path, at + step) for pair in pairs for path, at in pair for step in range(least_lines)}
    blocks = [_block(pair, pairs, read, least_lines) for pair in pairs if _moved(pair, -1) not in pairs]
    total = sum(len(lines) for lines in read.values())
    return sorted(blocks, key=lambda block: (-block.lines, block.first, block.second)), len(covered), total


def _block(
    pair: tuple[Place, Place], pairs: set[tuple[Place, Place]], read: dict[str, Lines], least_lines: int
) -> Block:
    length = 0
    while _moved(pair, length + 1) in pairs:
        length += 1
    (one, at), (other, there) = pair
    return Block(lines=length + least_lines, first=(one, read[one][at][0]), second=(other, read[other][there][0]))


def _moved(pair: tuple[Place, Place], by: int) -> tuple[Place, Place]:
    (one, at), (other, there) = pair
    return (one, at + by), (other, there + by)


def _lines(root: Path, path: str) -> Lines:
    """Return the lines of a file that say something, with their numbers; nothing of a file that is no text."""
    try:
        content = folders.read(root, path) or b""
    except OSError:
        return []
    if len(content) > _MOST_BYTES or b"\0" in content:
        return []
    stripped = ((number, line.strip()) for number, line in enumerate(content.decode(errors="replace").splitlines(), 1))
    return [(number, line) for number, line in stripped if line and not line.startswith(("#", "//", "--", "*"))]
