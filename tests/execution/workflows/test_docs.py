"""The page on workflows: its examples are right, and its tables name every field and function."""

import re
from pathlib import Path

import pytest

from execution.workflows import expressions, reading, spec

PAGE = (Path(__file__).parents[3] / "docs" / "workflows.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "yaml" and text.startswith("name:")])
def test_definition_on_the_page_is_right(text):
    """Each definition is read without a finding."""
    assert reading.look(text).findings == ()


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "python"])
def test_python_on_the_page_runs(text):
    """The Python runs as it stands."""
    exec(compile(text, "docs/workflows.md", "exec"), {})  # noqa: S102 - our own page


def test_every_word_is_explained():
    """Each field of a definition and of a step, and each function, stands on the page."""
    fields = [one.alias or name for model in (spec.Definition, spec.Step) for name, one in model.model_fields.items()]
    assert [name for name in fields if not re.search(rf"`{name}[`:]", PAGE)] == []
    assert [name for name in expressions.FUNCTIONS if f"`{name}(" not in PAGE] == []
    assert [name for name in expressions.RUN_FIELDS if f"`{name}`" not in PAGE] == []
