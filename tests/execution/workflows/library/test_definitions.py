"""The shipped definitions: what they name is there, and their data fits from step to step."""

import inspect
import re

import pytest

from execution.skills import all_skills, named
from tests.execution.workflows.library.walk import LIBRARY, definition, expressions, needs

NAMES = sorted(path.stem for path in LIBRARY.glob("*.yaml"))


def test_library_holds_the_six():
    """What the issue names is shipped."""
    assert NAMES == [
        "component-audit",
        "confirm-wiring",
        "governed-change",
        "harvest-deploy",
        "inspect",
        "workflow-authoring",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_definition_is_named_as_its_file(name):
    """A name is kebab-case, a step snake_case, and there is a sentence about it."""
    found = definition(name)
    assert found["name"] == name
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)
    assert found["description"].endswith(".")
    assert [step for step in found["steps"] if not re.fullmatch(r"[a-z]+(_[a-z]+)*", step)] == []


@pytest.mark.parametrize("name", NAMES)
def test_steps_give_their_skills_what_they_take(name):
    """Each parameter without a default is given, and none that is unknown."""
    for step in definition(name)["steps"].values():
        if "skill" in step:
            parameters = named(step["skill"]).takes_input.parameters
            wanted = {one.name for one in parameters.values() if one.default is inspect.Parameter.empty}
            assert wanted <= step["with"].keys() <= parameters.keys(), step["skill"]


@pytest.mark.parametrize("name", NAMES)
def test_expressions_name_what_is_there(name):
    """Inputs are declared and steps exist."""
    found = definition(name)
    for expression in expressions([found["steps"], found["outputs"]]):
        assert set(re.findall(r"\binputs\.(\w+)", expression)) <= found["inputs"].keys()
        assert set(re.findall(r"\bsteps\.(\w+)", expression)) <= found["steps"].keys()
    assert all(needs(step) <= found["steps"].keys() for step in found["steps"].values())


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_typed_and_used(name):
    """An input has a type, its default is of that type, and some step takes it."""
    found = definition(name)
    kinds = {"text": str, "list": list, "object": dict, "boolean": bool, "integer": int, "number": (int, float)}
    spoken = " ".join(expressions(found["steps"]))
    for key, said in found["inputs"].items():
        assert isinstance(said.get("default", kinds[said["type"]]), (kinds[said["type"]], type, tuple)), key
        assert f"inputs.{key}" in spoken, key


def test_every_node_is_used_by_a_workflow():
    """A node that no workflow uses is not shipped."""
    used = {step.get("skill") for name in NAMES for step in definition(name)["steps"].values()}
    spare = {name for name in all_skills() if name.startswith("library.")} - used
    assert spare == {"library.change.release"}, "for the operator of a tree whose change was given up"
