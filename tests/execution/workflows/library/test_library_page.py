"""The page about the library: it names what is shipped, and its example is run."""

import re

import pytest

from tests.execution.workflows.library.test_definitions import NAMES
from tests.execution.workflows.library.walk import REPOSITORY, definition

PAGE = (REPOSITORY / "docs" / "library.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_page_names_every_workflow_and_its_steps(name):
    """A step that the page does not name is not documented."""
    section = PAGE[PAGE.index(f"\n## {name}\n") :].split("\n## ", 2)[1]
    assert [step for step in definition(name)["steps"] if f"`{step}`" not in section] == []


@pytest.mark.parametrize("name", NAMES)
def test_page_names_every_input(name):
    """Nor is an input that it does not name."""
    shown = set(re.findall(r"`([a-z_]+)`", PAGE))
    undocumented = definition(name)["inputs"].keys() - shown
    assert undocumented <= {"component", "exclude", "description", "first", "name", "timeout_seconds", "path"}


def test_page_example_is_right(monkeypatch):
    """What stands there runs as it stands there."""
    monkeypatch.chdir(REPOSITORY)
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/library.md", "exec"), {})  # noqa: S102 - our own page
