"""What changed between two definitions, in words: steps added, removed and renamed, and each field that differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from execution.workflows.fields import shown
from execution.workflows.reading import written
from execution.workflows.spec import Definition

_NOUNS = {"steps": "step", "inputs": "input", "outputs": "output", "phases": "phase"}
_NOTHING = object()
_ALIKE, _LEAD = 40, 10

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is other than it was."""

    kind: str
    """What happened: added, removed, renamed or changed."""
    path: str
    text: str


def between(old: Definition, new: Definition) -> list[Difference]:
    """Return what changed from one definition to another; nothing where their digests are the same."""
    return list(_differences(old, new))


def _differences(old: Definition, new: Definition) -> Iterator[Difference]:
    before, after = old.as_data(), new.as_data()
    for field in Definition.model_fields:
        noun = _NOUNS.get(field)
        if noun is None:
            yield from _values(before.get(field, _NOTHING), after.get(field, _NOTHING), (field,))
        else:
            yield from _parts(noun, field, before.get(field, {}), after.get(field, {}))


def _parts(noun: str, field: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    renamed = _renamed(before, after)
    taken = set(renamed.values())
    for name, part in before.items():
        path = written((field, name))
        if name in renamed:
            text = f"{noun} {name!r} is called {renamed[name]!r} now"
            yield Difference(kind="renamed", path=path, text=text)
        elif name not in after:
            yield Difference(kind="removed", path=path, text=f"{noun} {name!r} is removed{_what(part)}")
        else:
            yield from _values(part, after[name], (field, name))
    for name, part in after.items():
        if name not in before and name not in taken:
            path = written((field, name))
            yield Difference(kind="added", path=path, text=f"{noun} {name!r} is added{_what(part)}")


def _renamed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Return the new names of parts that are the same otherwise, each used once."""
    free: dict[str, list[str]] = {}
    for name, part in after.items():
        if name not in before:
            free.setdefault(_content(part), []).append(name)
    found = {}
    for name, part in before.items():
        if name not in after and free.get(_content(part)):
            found[name] = free[_content(part)].pop(0)
    return found


def _content(part: Any) -> str:
    return json.dumps(part, sort_keys=True, default=repr)


def _what(part: Any) -> str:
    kind = next((kind for kind in ("skill", "gate", "workflow") if isinstance(part, dict) and kind in part), None)
    return f" ({kind} {part[kind]})" if kind else ""


def _values(before: Any, after: Any, path: Path) -> Iterator[Difference]:
    """Yield the fields that differ, as deep as both are objects."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            yield from _values(before.get(key, _NOTHING), after.get(key, _NOTHING), (*path, key))
        return
    place = written(path)
    if _content(before) == _content(after):
        return
    if before is _NOTHING:
        yield Difference(kind="added", path=place, text=f"{place} is {shown(after)} now; it was not set")
    elif after is _NOTHING:
        yield Difference(kind="removed", path=place, text=f"{place} is not set any more; it was {shown(before)}")
    else:
        was, now = _apart(before, after)
        yield Difference(kind="changed", path=place, text=f"{place} was {was} and is {now}")


def _apart(before: Any, after: Any) -> tuple[str, str]:
    """Show two values; of texts that begin alike for long, only what comes shortly before they part."""
    if isinstance(before, str) and isinstance(after, str):
        alike = next(
            (at for at, (a, b) in enumerate(zip(before, after, strict=False)) if a != b),
            len(min(before, after, key=len)),
        )
        if alike > _ALIKE:
            before, after = ("…" + one[alike - _LEAD :].lstrip() for one in (before, after))
    return shown(before), shown(after)
