"""Renames: a function, a class or an attribute of a module gets another name, wherever the tree speaks of it.

Done by rope, which resolves names through imports and re-exports and therefore tells `length` of this module from
every other `length`; libcst reads more source forms but would know a name by its spelling and its imports only.
Rope computes, this writes nothing: the edits go to whoever asked. What rope leaves standing under the old name is
counted and named.
"""

from __future__ import annotations

import ast
import keyword
import warnings
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from execution.workflows.nodes.exceptions import ChangeRefused, ToolMissing


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """Where a dotted name is defined: its file, the line and column of its name, and the scope around it."""

    path: str
    line: int
    column: int
    siblings: frozenset[str]


def edits(root: Path, name: str, new_name: str, files: list[str]) -> dict[str, bytes]:
    """Return the new content of every file that a rename changes; only the files given may change."""
    defined = definition(root, name)
    _check_name(name, new_name, defined)
    if defined.path not in files:
        raise ChangeRefused(f"{name} is defined in {defined.path!r}, which is not in the scope")
    try:
        return _rope_edits(root, defined, new_name, files)
    except ChangeRefused:
        raise
    except Exception as error:
        raise ChangeRefused(f"rope cannot rename {name}: {type(error).__name__}: {error}") from error


def definition(root: Path, name: str) -> Definition:
    """Find where a dotted name such as `package.module.function` is defined, without importing anything."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        for path in ("/".join(parts[:length]) + ".py", "/".join(parts[:length]) + "/__init__.py"):
            if (root / path).is_file():
                return _defined(root, path, parts[length:], name)
    raise ChangeRefused(f"there is no module for {name!r} below {str(root)!r}")


def left(root: Path, name: str, files: list[str]) -> list[dict[str, Any]]:
    """Return the places that still spell a name's last part: other things of that name, or what rope cannot know."""
    old = name.rpartition(".")[2]
    found = []
    for path in files:
        for node in ast.walk(_parsed(root, path)):
            how = _spelt(node, old)
            if how:
                found.append({"path": path, "line": getattr(node, "lineno", 1), "as": how})
    return sorted(found, key=lambda one: (one["path"], one["line"]))


def _spelt(node: ast.AST, name: str) -> str:
    match node:
        case ast.Attribute(attr=attr) if attr == name:
            return "attribute"
        case ast.Name(id=id) if id == name:
            return "name"
        case ast.alias(name=imported) if imported.rpartition(".")[2] == name:
            return "import"
        case ast.Constant(value=str(text)) if text == name or text.endswith("." + name):
            return "text"
    return ""


def _defined(root: Path, path: str, parts: list[str], name: str) -> Definition:
    text = (root / path).read_text(encoding="utf-8-sig")
    body = _parsed(root, path).body
    for number, part in enumerate(parts):
        named = _named(body)
        if part not in named:
            raise ChangeRefused(f"{path!r} defines no {part!r} at the place that {name!r} names")
        node = named[part]
        if number == len(parts) - 1:
            line, column = _place(node, part, text)
            return Definition(path=path, line=line, column=column, siblings=frozenset(named))
        if not isinstance(node, ast.ClassDef):
            break
        body = node.body
    raise ChangeRefused(f"{name!r} lies inside a function: only what a module or a class defines can be renamed")


def _named(body: list[ast.stmt]) -> dict[str, ast.AST]:
    """Return what a body defines or imports, by name; a definition comes before an import of the same name."""
    found: dict[str, ast.AST] = {}
    for node in body:
        for name, place in _names(node):
            found.setdefault(name, place)
    return found


def _names(node: ast.stmt) -> list[tuple[str, ast.AST]]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [(name, node)]
        case ast.Assign(targets=targets):
            return [(one.id, one) for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name) as target):
            return [(name, target)]
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return [(one.asname or one.name.partition(".")[0], one) for one in aliases]
        case ast.If(body=body, orelse=other) | ast.Try(body=body, orelse=other):
            return [pair for one in [*body, *other] for pair in _names(one)]
    return []


def _place(node: ast.AST, name: str, text: str) -> tuple[int, int]:
    """Return the line, from 1, and the column in characters at which a definition writes its name."""
    lines = text.split("\n")
    line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        word = "class" if isinstance(node, ast.ClassDef) else "def"
        column = lines[line - 1].index(name, lines[line - 1].index(word) + len(word))
        return line, column
    if isinstance(node, ast.alias):
        raise ChangeRefused(f"{name!r} is imported there, not defined: name the module that defines it")
    return line, len(lines[line - 1].encode()[:column].decode())


def _check_name(name: str, new_name: str, defined: Definition) -> None:
    if not new_name.isidentifier() or keyword.iskeyword(new_name):
        raise ChangeRefused(f"{new_name!r} is no name that Python takes")
    if new_name == name.rpartition(".")[2]:
        raise ChangeRefused(f"{name} has that name already")
    if new_name in defined.siblings:
        raise ChangeRefused(f"{defined.path!r} has a {new_name!r} already: renaming {name} would make two of one")


def _rope_edits(root: Path, defined: Definition, new_name: str, files: list[str]) -> dict[str, bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from rope.base.fscommands import unicode_to_file_data
            from rope.base.project import Project
            from rope.refactor.rename import Rename
        except ImportError:
            raise ToolMissing("rope", "renaming") from None
        with closing(Project(str(root), ropefolder=None, save_objectdb=False, save_history=False)) as project:
            resource = project.get_resource(defined.path)
            lines = resource.read().split("\n")
            offset = sum(len(line) + 1 for line in lines[: defined.line - 1]) + defined.column
            resources = [project.get_resource(path) for path in files if path.endswith(".py")]
            changes = Rename(project, resource, offset).get_changes(new_name, docs=False, resources=resources)
            return {
                change.resource.path: unicode_to_file_data(change.new_contents, newlines=change.resource.newlines)
                for change in changes.changes
            }


def _parsed(root: Path, path: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse((root / path).read_bytes())
    except (SyntaxError, ValueError, OSError) as error:
        raise ChangeRefused(f"{path!r} cannot be read as Python: {error}") from None
