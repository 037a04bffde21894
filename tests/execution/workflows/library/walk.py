"""Walk through a shipped workflow step by step in this process, with the data flowing as its YAML says."""

import re
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from execution.skills import named

LIBRARY = Path(__file__).parents[4] / "execution" / "workflows" / "library"
REPOSITORY = Path(__file__).parents[4]
_EXPRESSION = re.compile(r"\$\{(.*)\}")
_REFERENCE = re.compile(r"\bsteps\.(\w+)")


class Dotted(dict):
    """A mapping whose keys are attributes, as expressions write them."""

    def __getattr__(self, name):
        """Return a value; a misspelt name is an error."""
        return dotted(self[name])


def dotted(value):
    """Let expressions reach into a value."""
    if isinstance(value, dict):
        return Dotted(value)
    return [dotted(one) for one in value] if isinstance(value, list) else value


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
        step, scope = steps[step_name], Scope(inputs, done, states)
        states[step_name] = "completed"
        if "when" in step and scope.value(step["when"]) is not True:
            states[step_name] = "skipped"
        elif "gate" in step:
            states[step_name] = "failed" if step_name in refused else "completed"
        else:
            done[step_name] = named(step["skill"])(**scope.value(step["with"]))
    return dict.fromkeys(steps) | done | {"outputs": Scope(inputs, done, states).value(found["outputs"])}


class Scope:
    """What expressions may name: what was skipped is missing, and only `default` asks for what is missing."""

    def __init__(self, inputs, done, states):
        self.names = {"inputs": dotted(inputs), "steps": Dotted(done), "run": Dotted(id="run-1")}
        self.states = states

    def value(self, part: Any) -> Any:
        """Return a part of a definition with its expressions evaluated."""
        if isinstance(part, dict):
            return {key: self.value(one) for key, one in part.items()}
        if isinstance(part, list):
            return [self.value(one) for one in part]
        match = _EXPRESSION.fullmatch(part) if isinstance(part, str) else None
        return self._evaluated(match[1]) if match else part

    def _evaluated(self, text: str) -> Any:
        if match := re.fullmatch(r"default\((.+), null\)", text):
            try:
                return self._evaluated(match[1])
            except KeyError:
                return None
        text = re.sub(r"state\(steps\.(\w+)\)", lambda match: repr(self.states[match[1]]), text)
        return plain(eval(text, {"__builtins__": {}}, self.names))  # noqa: S307 - our own expressions


def plain(value: Any) -> Any:
    """Return a value as a skill takes it."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value
