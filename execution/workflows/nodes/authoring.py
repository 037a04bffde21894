"""workflow-authoring: a new definition is scaffolded, validated, walked through without being run, and registered.

Reading and registering belong to the definition format: `execution.workflows` gives `look_at(path)`, whose findings say
what is wrong with a file, and `register(path)`, which returns the name and version that it stored.
"""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from execution import skill, skills
from execution.exceptions import SkillUnknown
from execution.workflows.nodes import folders
from execution.workflows.nodes.exceptions import FileTaken, LibraryError, ToolMissing

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_REFERENCE = re.compile(r"\bsteps\.(\w+)")
_DEFINITION = """\
name: {name}
description: {description}

inputs:
  source:
    type: text

steps:
  {first}:
    skill: {module}.{first}
    with:
      source: ${{inputs.source}}
"""
_NODES = '''\
"""The nodes of {name}."""

from __future__ import annotations

from typing import Any

from execution import skill


@skill("{module}.{first}")
def {first}(source: str) -> dict[str, Any]:
    """{description}"""
    return {{"source": source}}
'''


class DefinitionInvalid(LibraryError):
    """A definition cannot be walked through."""


@skill("library.authoring.scaffold")
def scaffold(
    name: str, folder: str, nodes_folder: str = "", description: str = "", first: str = "begin"
) -> dict[str, Any]:
    """Write a definition of one step, and a module with its node if a folder for it is named; overwrite nothing."""
    if not _NAME.fullmatch(name):
        raise LibraryError(f"{name!r} is no workflow's name: write it in kebab-case, such as 'nightly-report'")
    if not first.isidentifier():
        raise LibraryError(f"{first!r} is no step's name: write it in snake_case, such as 'collect'")
    module = name.replace("-", "_")
    said = " ".join(description.replace('"', "'").replace("\\", "/").split()) or f"Say what {name} is for."
    words = {"name": name, "module": module, "first": first, "description": said.replace(": ", ", ")}
    drafts = [(folder, f"{name}.yaml", _DEFINITION)]
    drafts += [(nodes_folder, f"{module}.py", _NODES)] if nodes_folder else []
    return {"name": name, "files": [_written(place, path, text.format(**words)) for place, path, text in drafts]}


def _written(folder: str, path: str, text: str) -> str:
    """Write a new file; the same file written before is taken as it is, so that a second attempt ends well."""
    root = Path(folder).expanduser()
    content = text.encode()
    try:
        folders.write(root, path, content, over=None)
    except FileTaken:
        if folders.digest_at(root, path) != folders.digest(content):
            raise
    return str(root / path)


@skill("library.authoring.validate")
def validate(path: str) -> dict[str, Any]:
    """Return what is wrong with a definition, each with its line and field."""
    found = _format("look_at")(path)
    problems = [
        {"line": one.line, "field": one.path, "text": one.text, "is_error": one.is_error} for one in found.findings
    ]
    return {"path": path, "ok": found.definition is not None, "problems": problems}


@skill("library.authoring.dry_run")
def dry_run(path: str) -> dict[str, Any]:
    """Say in which order a definition's steps would run, and which of its skills this process does not know."""
    steps = _steps(path)
    needs = {name: _needs(name, step, steps) for name, step in steps.items()}
    wanted = {name: str(step["skill"]) for name, step in steps.items() if step.get("skill")}
    unknown = [str(error) for skill_name in dict.fromkeys(wanted.values()) if (error := _unknown(skill_name))]
    levels = _levels(needs)
    return {
        "ok": not unknown,
        "levels": levels,
        "step_count": len(steps),
        "widest": max((len(level) for level in levels), default=0),
        "unknown": unknown,
        "gates": [name for name, step in steps.items() if step.get("gate")],
    }


@skill("library.authoring.register")
def register(path: str) -> dict[str, Any]:
    """Store a definition under its name as a version, and return both; the same content is the same version."""
    stored = _format("register")(path)
    return {"path": path, "name": stored.name, "version": stored.number}


def _format(verb: str) -> Any:
    """Return a verb of the definition format."""
    from execution import workflows

    found = getattr(workflows, verb, None)
    if found is None:
        raise ToolMissing(f"execution.workflows.{verb}", "authoring a workflow")
    return found


def _steps(path: str) -> dict[str, dict[str, Any]]:
    try:
        import yaml
    except ImportError:
        raise ToolMissing("PyYAML", "reading a definition") from None
    try:
        definition = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DefinitionInvalid(f"{path!r} cannot be read: {error}") from None
    steps = definition.get("steps") if isinstance(definition, dict) else None
    if not isinstance(steps, dict) or not all(isinstance(step, dict) for step in steps.values()):
        raise DefinitionInvalid(f"{path!r} has no steps: a definition holds 'steps' as a mapping of names")
    return steps


def _needs(name: str, step: dict[str, Any], steps: dict[str, dict[str, Any]]) -> set[str]:
    """Return the steps that a step waits for: those it names, and those whose outputs it takes."""
    given = step.get("needs") or []
    named = {given} if isinstance(given, str) else set(given)
    found = named | set(_REFERENCE.findall(str({key: value for key, value in step.items() if key != "needs"})))
    unknown = sorted(found - steps.keys())
    if unknown:
        raise DefinitionInvalid(f"the step {name!r} needs {unknown[0]!r}, and there is no such step")
    return found


def _levels(needs: dict[str, set[str]]) -> list[list[str]]:
    sorter = TopologicalSorter(needs)
    try:
        sorter.prepare()
    except CycleError as error:
        raise DefinitionInvalid(f"steps need each other: {' -> '.join(reversed(error.args[1]))}") from None
    levels = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        levels.append(ready)
        sorter.done(*ready)
    return levels


def _unknown(name: str) -> SkillUnknown | None:
    try:
        skills.named(name)
    except SkillUnknown as error:
        return error
    return None
