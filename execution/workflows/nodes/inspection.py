"""inspect: what is in a tree: languages, sizes, where it is entered, what it depends on. Nothing of it is run."""

from __future__ import annotations

import json
import re
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

from execution import skill, words
from execution.workflows.nodes import folders

_LANGUAGES = {
    ".py": "Python", ".pyi": "Python", ".js": "JavaScript", ".mjs": "JavaScript", ".cjs": "JavaScript",
    ".jsx": "JavaScript", ".ts": "TypeScript", ".tsx": "TypeScript", ".sql": "SQL", ".sh": "shell", ".bash": "shell",
    ".md": "Markdown", ".rst": "reStructuredText", ".html": "HTML", ".css": "CSS", ".scss": "CSS", ".json": "JSON",
    ".yaml": "YAML", ".yml": "YAML", ".toml": "TOML", ".ini": "INI", ".cfg": "INI", ".go": "Go", ".rs": "Rust",
    ".java": "Java", ".kt": "Kotlin", ".c": "C", ".h": "C", ".cpp": "C++", ".cc": "C++", ".hpp": "C++", ".cs": "C#",
    ".rb": "Ruby", ".php": "PHP", ".swift": "Swift", ".lock": "lock file", ".txt": "text", ".svg": "SVG",
}  # fmt: skip
_NAMED = {"Makefile": "Make", "Dockerfile": "Docker", "Procfile": "Procfile"}
_MAIN = re.compile(rb"^if __name__ == [\"']__main__[\"']", re.MULTILINE)
_REQUIREMENT = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?\s*([^;#\\]*)")
_MOST_LISTED = 20
_MOST_ENTRIES = 200
_MOST_BYTES = 32 * 1024 * 1024


@skill("library.inspect.tree")
def tree(root: str, exclude: list[str] | None = None) -> dict[str, Any]:
    """Count files, lines and bytes by language, and name the largest files."""
    place = folders.existing(root)
    found = folders.walk(place, exclude=exclude or [])
    sizes: dict[str, int] = {}
    languages: dict[str, dict[str, int]] = defaultdict(lambda: {"file_count": 0, "line_count": 0, "size": 0})
    binary_count = 0
    for path in found.files:
        content = _content(place, path, found)
        if content is None:
            continue
        sizes[path] = len(content)
        is_binary = b"\0" in content[:8192]
        binary_count += is_binary
        counts = languages["binary" if is_binary else _language(path)]
        counts["file_count"] += 1
        counts["line_count"] += 0 if is_binary else content.count(b"\n") + (content[-1:] not in (b"", b"\n"))
        counts["size"] += len(content)
    largest = sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0]))[:_MOST_LISTED]
    return {
        "root": str(place),
        "file_count": len(sizes),
        "size": sum(sizes.values()),
        "binary_count": binary_count,
        "languages": dict(sorted(languages.items(), key=lambda pair: -pair[1]["line_count"])),
        "largest": [{"path": path, "size": size} for path, size in largest],
        "link_count": len(found.links),
        "unreadable": found.unreadable,
    }


@skill("library.inspect.entry_points")
def entry_points(root: str) -> dict[str, Any]:
    """Name where a tree is entered: declared scripts, main modules, targets of a Makefile, processes, images."""
    place = folders.existing(root)
    found: list[dict[str, str]] = []
    for path in folders.walk(place).files:
        name = Path(path).name
        reader = _READERS.get(name)
        content = _content(place, path) if reader or name.endswith(".py") else None
        if content is None:
            continue
        if reader:
            found += [{"kind": kind, "name": one, "path": path} for kind, one in reader(content)]
        elif name in ("__main__.py", "manage.py") or _MAIN.search(content):
            found.append({"kind": "module", "name": path.removesuffix(".py").replace("/", "."), "path": path})
    return {"entry_points": found[:_MOST_ENTRIES], "count": len(found)}


@skill("library.inspect.dependencies")
def dependencies(root: str) -> dict[str, Any]:
    """Name what a tree declares to depend on, by the file that declares it."""
    place = folders.existing(root)
    found: dict[str, list[dict[str, str]]] = {}
    broken: list[dict[str, str]] = []
    for path in folders.walk(place).files:
        name = Path(path).name
        reader = _DECLARATIONS.get(name) or (_requirements if re.fullmatch(r"requirements.*\.txt", name) else None)
        content = _content(place, path) if reader else None
        if reader is None or content is None:
            continue
        try:
            found[path] = reader(content.decode())
        except (ValueError, TypeError, AttributeError) as error:
            broken.append({"path": path, "reason": words.one_line(error)})
    names = {one["name"].lower() for declared in found.values() for one in declared}
    return {"declared": found, "count": len(names), "broken": broken}


@skill("library.inspect.report")
def report(tree: dict[str, Any], entry_points: dict[str, Any], dependencies: dict[str, Any]) -> dict[str, Any]:
    """Say in one text what is in a tree."""
    lines = [f"{tree['root']}: {words.counted(tree['file_count'], 'file')}, {words.size(tree['size'])}"]
    lines += [
        f"{name}: {words.counted(counts['file_count'], 'file')}, {words.counted(counts['line_count'], 'line')}"
        for name, counts in tree["languages"].items()
    ]
    largest = words.listed([f"{one['path']} ({words.size(one['size'])})" for one in tree["largest"]])
    entered = words.listed([one["name"] for one in entry_points["entry_points"]])
    lines += [f"largest: {largest}"] * bool(largest)
    lines += [f"entered by: {entered}"] * bool(entered)
    lines.append(f"depends on {words.counted(dependencies['count'], 'distribution')}")
    lines += [f"unreadable: {path}" for path in tree["unreadable"]]
    return {"text": "\n".join(lines), "file_count": tree["file_count"], "dependency_count": dependencies["count"]}


def _content(root: Path, path: str, found: folders.Tree | None = None) -> bytes | None:
    try:
        if (root / path).stat().st_size <= _MOST_BYTES:
            return folders.read(root, path)
    except OSError:
        pass
    if found is not None:
        found.unreadable.append(path)
    return None


def _language(path: str) -> str:
    name = Path(path).name
    return _NAMED.get(name) or _LANGUAGES.get(Path(name).suffix.lower(), "other")


def _scripts(content: bytes) -> list[tuple[str, str]]:
    try:
        project = tomllib.loads(content.decode()).get("project", {})
    except ValueError:
        return []
    groups = {"script": project.get("scripts", {}), "gui script": project.get("gui-scripts", {})}
    plugins = {f"plugin of {name}": group for name, group in project.get("entry-points", {}).items()}
    return [
        (kind, f"{name} = {target}") for kind, group in (groups | plugins).items() for name, target in group.items()
    ]


def _package_scripts(content: bytes) -> list[tuple[str, str]]:
    try:
        scripts = json.loads(content).get("scripts", {})
    except (ValueError, AttributeError):
        return []
    return [("npm script", name) for name in scripts]


def _targets(content: bytes) -> list[tuple[str, str]]:
    found = re.findall(r"^([A-Za-z][\w-]*)\s*:(?!=)", content.decode(errors="replace"), re.MULTILINE)
    return [("make target", name) for name in dict.fromkeys(found)]


def _processes(content: bytes) -> list[tuple[str, str]]:
    return [("process", name) for name in re.findall(r"^([\w-]+):", content.decode(errors="replace"), re.MULTILINE)]


def _image(content: bytes) -> list[tuple[str, str]]:
    found = re.findall(r"^(?:CMD|ENTRYPOINT)\s+(.+)$", content.decode(errors="replace"), re.MULTILINE | re.IGNORECASE)
    return [("image", words.one_line(one)) for one in found]


def _project(text: str) -> list[dict[str, str]]:
    project = tomllib.loads(text).get("project", {})
    groups = {"": project.get("dependencies", []), **project.get("optional-dependencies", {})}
    return [one for group, lines in groups.items() for one in _parsed(lines, group)]


def _package(text: str) -> list[dict[str, str]]:
    package = json.loads(text)
    return [
        {"name": name, "wanted": str(wanted), "group": group}
        for key, group in (("dependencies", ""), ("devDependencies", "dev"), ("peerDependencies", "peer"))
        for name, wanted in package.get(key, {}).items()
    ]


def _requirements(text: str) -> list[dict[str, str]]:
    return _parsed(text.splitlines(), "")


def _parsed(lines: list[str], group: str) -> list[dict[str, str]]:
    return [
        {"name": place[1], "wanted": place[3].strip(), "group": group}
        for line in lines
        if (place := _REQUIREMENT.match(line.strip()))
    ]


_READERS = {
    "pyproject.toml": _scripts,
    "package.json": _package_scripts,
    "Makefile": _targets,
    "Procfile": _processes,
    "Dockerfile": _image,
}
_DECLARATIONS = {"pyproject.toml": _project, "package.json": _package}
