"""confirm-wiring: is a component imported, registered, configured and tested; each answer with file and line.

The tree is read, not run: imports, decorators and dotted texts are found in its syntax. Where the component belongs
to the project that performs the step, Celery's registry, the installed apps and the URL patterns of this process
are asked as well.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from execution import skill, words
from execution.workflows.nodes import folders, renames
from execution.workflows.nodes.exceptions import ChangeRefused, LibraryError

_TASKS = frozenset({"skill", "shared_task", "task", "register", "receiver", "admin.register"})
_TESTS = re.compile(r"(^|/)(tests?|conftest)(/|\.py$)|(^|/)test_[^/]*\.py$|_test\.py$")
_SETTINGS = re.compile(
    r"(^|/)(settings[^/]*(/.*)?|conf|schedule|celery)\.py$|(^|/)settings/|\.(toml|ya?ml|cfg|ini|env)$"
)
_MOST_LISTED = 20
Evidence = list[str]


class ComponentUnknown(LibraryError):
    """The tree defines no component of this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A module, a class, a function or an attribute: its dotted name, its module, and where it is defined."""

    name: str
    module: str
    path: str
    line: int

    @property
    def attribute(self) -> str:
        """Its name in its module; empty for a module."""
        return self.name[len(self.module) + 1 :]

    def is_reached_by(self, imported: str) -> bool:
        """Tell whether an import of a name imports it: a module comes with whatever is imported from it."""
        if self.attribute:
            return imported in (self.name, f"{self.module}.*")
        return imported == self.name or imported.startswith(self.name + ".")

    def holds(self, path: str) -> bool:
        """Tell whether a file is its own, or lies in it."""
        return path == self.path or (
            not self.attribute
            and self.path.endswith("__init__.py")
            and path.startswith(self.path.removesuffix("__init__.py"))
        )

    @property
    def place(self) -> str:
        """Where it is defined."""
        return f"{self.path}:{self.line}"


@skill("library.wiring.locate")
def locate(root: str, component: str) -> dict[str, Any]:
    """Find where a dotted name is defined."""
    found = _located(folders.existing(root), component)
    return {"component": found.name, "module": found.module, "defined_at": found.place, "path": found.path}


@skill("library.wiring.imported")
def imported(root: str, component: str) -> dict[str, Any]:
    """Name the places outside its module and its tests that import a component."""
    place = folders.existing(root)
    wanted = _located(place, component)
    used = [
        spot
        for path in _python(place)
        if not wanted.holds(path) and not _TESTS.search(path)
        for spot in _imports(place, path, wanted)
    ]
    return _answer(used)


@skill("library.wiring.registered")
def registered(root: str, component: str) -> dict[str, Any]:
    """Name where a component is registered: a decorator, an installed app, a URL, Celery's registry of this process."""
    place = folders.existing(root)
    wanted = _located(place, component)
    read = [*_decorated(place, wanted), *_named_in_apps(place, wanted), *_routed(place, wanted)]
    return _answer([*read, *(f"{wanted.place} ({how})" for how in _living(place, wanted))])


@skill("library.wiring.configured")
def configured(root: str, component: str) -> dict[str, Any]:
    """Name the lines of settings and configuration files that spell a component, or the task it is."""
    place = folders.existing(root)
    wanted = _located(place, component)
    names = [re.escape(name) for name in (wanted.name, *_task_names(place, wanted))]
    spelt = re.compile(rf"(?<![\w.])({'|'.join(names)})(?![\w])")
    return _answer([
        f"{path}:{number}"
        for path in folders.walk(place).files
        if _SETTINGS.search(path) and path != wanted.path and not _TESTS.search(path)
        for number, line in enumerate(_text(place, path).splitlines(), 1)
        if spelt.search(line)
    ])  # fmt: skip


@skill("library.wiring.tested")
def tested(root: str, component: str) -> dict[str, Any]:
    """Name the tests that import a component, or spell its dotted name or that of the task it is."""
    place = folders.existing(root)
    wanted = _located(place, component)
    names = {wanted.name, *_task_names(place, wanted)}
    return _answer([
        spot
        for path in _python(place)
        if _TESTS.search(path)
        for spot in dict.fromkeys([*_imports(place, path, wanted), *_texts(place, path, names.__contains__)])
    ])  # fmt: skip


@skill("library.wiring.report")
def report(component: str, defined_at: str, answers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Say which of the questions are answered by yes, and where that is seen."""
    missing = [question for question, answer in answers.items() if not answer["ok"]]
    lines = [f"{component}, defined at {defined_at}"]
    lines += [
        f"{question}: {words.listed(answer['evidence'], 3) if answer['ok'] else 'no'}"
        for question, answer in answers.items()
    ]
    return {"component": component, "is_wired": not missing, "missing": missing, "text": "\n".join(lines)}


def _answer(evidence: Evidence) -> dict[str, Any]:
    return {"ok": bool(evidence), "count": len(evidence), "evidence": evidence[:_MOST_LISTED]}


def _located(root: Path, component: str) -> Component:
    if not all(part.isidentifier() for part in component.split(".")):
        raise ComponentUnknown(f"{component!r} is no dotted name")
    for path in (component.replace(".", "/") + ".py", component.replace(".", "/") + "/__init__.py"):
        if (root / path).is_file():
            return Component(name=component, module=component, path=path, line=1)
    try:
        found = renames.definition(root, component)
    except ChangeRefused as error:
        raise ComponentUnknown(str(error)) from None
    module = found.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return Component(name=component, module=module, path=found.path, line=found.line)


def _python(root: Path) -> list[str]:
    return folders.walk(root, include=["**/*.py"]).files


def _text(root: Path, path: str) -> str:
    try:
        return (folders.read(root, path) or b"").decode("utf-8-sig", errors="replace")
    except OSError:
        return ""


def _nodes(root: Path, path: str) -> Iterator[ast.AST]:
    """Walk a file's syntax; a file that is none has nothing to say."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from ast.walk(ast.parse(_text(root, path)))
    except (SyntaxError, ValueError):
        return


def _imports(root: Path, path: str, wanted: Component) -> Evidence:
    """Return the lines of a file that import a component, or import its module and use it from there."""
    found: list[int] = []
    handles: set[str] = set()
    used: list[tuple[str, int]] = []
    for node in _nodes(root, path):
        match node:
            case ast.Import(names=names):
                found += [node.lineno for one in names if wanted.is_reached_by(one.name)]
                handles |= {one.asname or one.name for one in names if one.name == wanted.module}
            case ast.ImportFrom(names=names):
                full = {one.asname or one.name: f"{_absolute(path, node)}.{one.name}" for one in names}
                found += [node.lineno for name in full.values() if wanted.is_reached_by(name)]
                handles |= {handle for handle, name in full.items() if name == wanted.module}
            case ast.Attribute():
                used.append((ast.unparse(node), node.lineno))
    if wanted.attribute:
        spellings = {f"{handle}.{wanted.attribute}" for handle in handles}
        found += [line for text, line in used if text in spellings]
    return [f"{path}:{line}" for line in sorted(set(found))]


def _absolute(path: str, node: ast.ImportFrom) -> str:
    """Return the module of `from ... import`, with leading dots resolved against the file that says it."""
    if not node.level:
        return node.module or ""
    package = Path(path).parent.parts
    kept = package[: len(package) - node.level + 1]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _texts(root: Path, path: str, is_meant: Callable[[str], bool]) -> Evidence:
    return [
        f"{path}:{node.lineno}"
        for node in _nodes(root, path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and is_meant(node.value)
    ]


def _definition(root: Path, wanted: Component) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | None:
    last = wanted.attribute.rpartition(".")[2]
    return next(
        (
            node
            for node in _nodes(root, wanted.path)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and node.name == last
            and node.lineno == wanted.line
        ),
        None,
    )


def _decorated(root: Path, wanted: Component) -> Evidence:
    """Return the decorators that register a component where it is defined."""
    node = _definition(root, wanted)
    return [
        f"{wanted.path}:{one.lineno} (@{name})"
        for one in (node.decorator_list if node else [])
        if (name := ast.unparse(one.func if isinstance(one, ast.Call) else one)).rpartition(".")[2] in _TASKS
        or name in _TASKS
    ]


def _task_names(root: Path, wanted: Component) -> list[str]:
    """Return the names under which a component's decorators register it as a task."""
    node = _definition(root, wanted)
    calls = [one for one in (node.decorator_list if node else []) if isinstance(one, ast.Call)]
    given = [
        value for call in calls for value in [*call.args[:1], *(k.value for k in call.keywords if k.arg == "name")]
    ]
    return [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]


def _named_in_apps(root: Path, wanted: Component) -> Evidence:
    """Return the entries of INSTALLED_APPS that are the component."""
    found = []
    for path in _python(root):
        if _SETTINGS.search(path) and "INSTALLED_APPS" in _text(root, path):
            found += [f"{spot} (INSTALLED_APPS)" for spot in _apps(root, path, wanted)]
    return found


def _apps(root: Path, path: str, wanted: Component) -> Evidence:
    return [
        f"{path}:{one.lineno}"
        for node in _nodes(root, path)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value and _sets_apps(node)
        for one in ast.walk(node.value)
        if isinstance(one, ast.Constant) and re.fullmatch(rf"{re.escape(wanted.name)}(\.apps\.\w+)?", str(one.value))
    ]


def _sets_apps(node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(one, ast.Name) and one.id == "INSTALLED_APPS" for one in targets)


def _routed(root: Path, wanted: Component) -> Evidence:
    """Return the URL patterns that lead to a component."""
    found = []
    for path in _python(root):
        if not _TESTS.search(path) and "urlpatterns" in _text(root, path):
            routes = {
                node.lineno
                for node in _nodes(root, path)
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ("path", "re_path", "url", "urls.path")
            }
            spots = [*_imports(root, path, wanted), *_texts(root, path, wanted.name.__eq__)]
            found += [f"{spot} (urlpatterns)" for spot in spots if int(spot.rpartition(":")[2]) in routes]
    return found


def _living(root: Path, wanted: Component) -> list[str]:
    """Return how this process knows a component: as a task of Celery, as an installed app."""
    import inspect

    from celery import current_app
    from django.apps import apps

    from execution import skills

    def is_it(value: Any) -> bool:
        code = getattr(inspect.unwrap(value), "__code__", None)
        return code is not None and Path(code.co_filename).resolve() == (root / wanted.path).resolve()

    app = current_app._get_current_object()  # noqa: SLF001 - a proxy's only way to its app
    skills.import_all(app)
    tasks = [
        f"the task {name}"
        for name, task in sorted(app.tasks.items())
        if getattr(task, "__name__", "") == wanted.attribute and is_it(getattr(task, "function", None) or task.run)
    ]
    configs = apps.get_app_configs() if apps.ready else []
    homes = [one.name for one in configs if one.name == wanted.name and Path(one.path).resolve().is_relative_to(root)]
    return [*tasks, *(f"the app {name}" for name in homes)]
