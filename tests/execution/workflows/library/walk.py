"""Walk through a shipped workflow step by step in this process, with the data flowing as its YAML says."""

import re
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from execution.skills import named
from execution.workflows import Scope, render

LIBRARY = Path(__file__).parents[4] / "execution" / "workflows" / "library"
REPOSITORY = Path(__file__).parents[4]
_EXPRESSION = re.compile(r"\$\{(.*)\}")
_REFERENCE = re.compile(r"\bsteps\.(\w+)")


def definition(name: str) -> dict[str, Any]:
    """Return a shipped definition."""
    return yaml.safe_load((LIBRARY / f"{name}.yaml").read_text())


def expressions(value: Any) -> list[str]:
    """Return every expression in a part of a definition."""
    if isinstance(value, str):
        return [match[1]] if (match := _EXPRESSION.fullmatch(value)) else []
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [one for part in parts for one in expressions(part)]


def needs(step: dict[str, Any]) -> set[str]:
    """Return the steps that a step waits for."""
    return {*step.get("needs", []), *(name for one in expressions(step) for name in _REFERENCE.findall(one))}


def walk(name: str, /, *, refused: tuple[str, ...] = (), **given: Any) -> dict[str, Any]:
    """Perform a workflow's steps in order; return what each returned, None for a skipped one, and its `outputs`.

    Every gate is passed but those that are refused.
    """
    found = definition(name)
    inputs = {key: given.get(key, said.get("default")) for key, said in found["inputs"].items()}
    assert given.keys() <= inputs.keys(), "a test gives what the workflow takes"
    done: dict[str, Any] = {}
    states: dict[str, str] = {}
    steps = found["steps"]
    for step_name in TopologicalSorter({key: needs(step) for key, step in steps.items()}).static_order():
        step = steps[step_name]
        scope = Scope(inputs=inputs, steps=done, states=states, run={"id": "run-1"})
        states[step_name] = "completed"
        if "when" in step and render(step["when"], scope) is not True:
            states[step_name] = "skipped"
        elif "gate" in step:
            states[step_name] = "failed" if step_name in refused else "completed"
        else:
            done[step_name] = named(step["skill"])(**render(step["with"], scope))
    scope = Scope(inputs=inputs, steps=done, states=states)
    return dict.fromkeys(steps) | done | {"outputs": render(found["outputs"], scope)}
