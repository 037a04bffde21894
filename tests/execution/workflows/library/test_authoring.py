"""workflow-authoring: a new definition that is whole from its first moment, and never written over another."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from execution import workflows
from execution.workflows.nodes import authoring, parsers
from execution.workflows.nodes.exceptions import FileTaken, LibraryError, ToolMissing
from tests.execution.workflows.library.test_definitions import NAMES
from tests.execution.workflows.library.walk import LIBRARY, walk


@pytest.fixture
def format_(monkeypatch):
    """Stand in for the definition format."""
    finding = SimpleNamespace(line=1, path="name", text="is short", is_error=False)
    found = SimpleNamespace(definition=object(), findings=[finding])
    monkeypatch.setattr(workflows, "look_at", lambda path: found, raising=False)
    monkeypatch.setattr(workflows, "register", lambda path: SimpleNamespace(name="x", number=1), raising=False)


def test_new_workflow_is_scaffolded_validated_and_registered(home, format_):
    """The node is not known before its module is imported: the dry run says so, and nothing is registered."""
    given = {"name": "nightly-report", "folder": str(home / "w"), "nodes_folder": str(home / "n")}
    done = walk("workflow-authoring", description='Say: "what" was.\n', **given)
    assert done["outputs"]["files"] == [f"{home}/w/nightly-report.yaml", f"{home}/n/nightly_report.py"]
    for path, language in zip(done["outputs"]["files"], ("yaml", "python"), strict=True):
        assert parsers.problems(language, Path(path).read_text()) == []
    assert done["register"] is None
    assert done["outputs"]["problems"] == [{"line": 1, "field": "name", "text": "is short", "is_error": False}]
    assert "nightly_report.begin" in done["outputs"]["unknown"][0]
    exec(compile(Path(done["outputs"]["files"][1]).read_text(), "nodes", "exec"), {"__name__": "nodes"})  # noqa: S102 - scaffolded
    again = walk("workflow-authoring", description='Say: "what" was.\n', **given)
    assert again["register"]["version"] == 1


def test_scaffold_writes_over_nothing(home):
    """The same twice is once; a definition that somebody has edited stays."""
    first = authoring.scaffold(name="a-b", folder=str(home))
    assert authoring.scaffold(name="a-b", folder=str(home)) == first
    (home / "a-b.yaml").write_text("mine")
    with pytest.raises(FileTaken):
        authoring.scaffold(name="a-b", folder=str(home))
    assert (home / "a-b.yaml").read_text() == "mine"


@pytest.mark.parametrize("name", ["A", "a_b", "../a", "a/b", "", "-a", "a-", "1a", "a b"])
def test_name_that_is_none_is_refused(home, name):
    """A name is kebab-case, and no path."""
    with pytest.raises(LibraryError, match="kebab-case"):
        authoring.scaffold(name=name, folder=str(home))
    assert list(home.iterdir()) == []


def test_step_name_is_one(home):
    """What is put into a module is a name there."""
    with pytest.raises(LibraryError, match="snake_case"):
        authoring.scaffold(name="a", folder=str(home), first="import os; x")


@pytest.mark.parametrize("name", NAMES)
def test_shipped_definition_is_walked_through(name):
    """Every level, every gate, and no unknown skill."""
    found = authoring.dry_run(path=str(LIBRARY / f"{name}.yaml"))
    assert found["unknown"] == []
    assert sum(len(level) for level in found["levels"]) == found["step_count"]


def test_levels_show_what_runs_side_by_side():
    """The audit's four tools need nothing of each other."""
    found = authoring.dry_run(path=str(LIBRARY / "component-audit.yaml"))
    assert found["levels"] == [["duplicates", "lint", "tests", "types"], ["report"]]
    assert authoring.dry_run(path=str(LIBRARY / "governed-change.yaml"))["gates"] == ["review"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps:\n  a: {skill: x, needs: [b]}\n  b: {skill: x, needs: [a]}\n", "need each other: [ab] -> [ab] -> [ab]"),
        ("steps:\n  a: {skill: x, with: {y: '${steps.c.d}'}}\n", "needs 'c', and there is no such step"),
        ("steps: [a]\n", "has no steps"),
        ("", "has no steps"),
        ("a: [", "cannot be read"),
        ("\x00", "cannot be read"),
    ],
)
def test_definition_that_cannot_be_walked_is_refused(home, text, said):
    """With the step, or the circle."""
    (home / "a.yaml").write_text(text)
    with pytest.raises(authoring.DefinitionInvalid, match=said):
        authoring.dry_run(path=str(home / "a.yaml"))


def test_missing_format_is_said(home, monkeypatch):
    """Without it there is nothing to validate with, and that is an error, not a yes."""
    monkeypatch.delattr(workflows, "look_at", raising=False)
    with pytest.raises(ToolMissing, match=r"execution\.workflows\.look_at"):
        authoring.validate(path=str(home / "a.yaml"))
