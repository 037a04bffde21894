"""component-audit: four tools, one report; one that is missing, broken or too slow is said to be so."""

import pytest

from execution.plain import PlainContext
from execution.workflows.nodes import audit, commands, duplication
from execution.workflows.nodes.exceptions import FolderMissing
from tests.execution.workflows.library.walk import REPOSITORY, walk

REPEATED = "\n".join(f"value_{n} = compute({n})" for n in range(10)) + "\n"


@pytest.fixture
def component(home):
    """Return a small component with one problem of each kind."""
    (home / "pyproject.toml").write_text("[tool.ruff.lint]\nselect = ['F']\n[tool.pytest.ini_options]\n")
    (home / "code.py").write_text("import os\n\n\ndef add(a: int, b: int) -> int:\n    return str(a + b)\n")
    (home / "one.py").write_text("def compute(n: int) -> int:\n    return n\n\n\n" + REPEATED)
    (home / "two.py").write_text("from one import compute\n\n# a comment\n\n" + REPEATED.replace("\n", "\n\n"))
    (home / "test_code.py").write_text("def test_good():\n    pass\n\n\ndef test_bad():\n    assert 1 == 2\n")
    return home


def test_component_is_audited(component):
    """Counts by tool, each problem with its place."""
    done = walk("component-audit", root=str(component))
    assert done["outputs"]["counts"] == {"lint": 1, "types": 1, "tests": 1, "duplication": 1}, done["outputs"]["text"]
    assert done["lint"]["problems"][0] | {"message": ""} == {
        "path": "code.py",
        "line": 1,
        "code": "F401",
        "message": "",
    }
    assert done["types"]["by_code"] == {"return-value": 1}
    assert done["tests"]["counts"] == {"failed": 1, "passed": 1}
    assert done["tests"]["failed"][0].startswith("FAILED test_code.py::test_bad")
    assert done["duplicates"]["blocks"] == [{"lines": 10, "first": "one.py:5", "second": "two.py:5"}]
    assert not done["outputs"]["ok"]


def test_nothing_is_left_in_the_component(component):
    """No cache, no compiled file."""
    before = sorted(component.rglob("*"))
    walk("component-audit", root=str(component))
    assert sorted(component.rglob("*")) == before


def test_missing_tool_is_said(component, monkeypatch):
    """It is neither clean nor a problem."""
    monkeypatch.setattr(commands, "python_tool", lambda name: None)
    (component / "two.py").unlink()
    done = walk("component-audit", root=str(component))
    assert done["report"]["missing"] == ["lint", "types", "tests"]
    assert done["outputs"]["ok"]
    assert "ruff is not installed" in done["outputs"]["text"]


def test_slow_tool_is_ended(component):
    """Its time is up, and the report says so."""
    (component / "test_code.py").write_text("import time\n\ndef test_slow():\n    time.sleep(4711)\n")
    part = audit.suite(root=str(component), timeout_seconds=2)
    assert part["state"] == "timed out"
    report = audit.report(parts={"tests": part})
    assert not report["ok"]
    assert "was ended after 2" in report["text"]


def test_cancelled_run_ends_its_tool(component):
    """A person who cancels does not wait for a suite."""

    class Cancelled(PlainContext):
        cancelled = True

    (component / "test_code.py").write_text("import time\n\ndef test_slow():\n    time.sleep(4711)\n")
    assert audit.suite(Cancelled(), root=str(component))["seconds"] < 10


def test_broken_tool_is_said(component):
    """A configuration that ruff cannot read is not a clean folder."""
    (component / "pyproject.toml").write_text("[tool.ruff]\nno-such-setting = 1\n")
    part = audit.lint(root=str(component))
    assert (part["state"], part["tool"]) == ("broken", "ruff")
    assert "no-such-setting" in part["said"]


def test_file_that_is_no_python_is_a_problem(component):
    """Lint and types both say it."""
    (component / "code.py").write_text("def (\n")
    assert audit.lint(root=str(component))["count"] >= 1
    assert audit.types(root=str(component), path="code.py")["by_code"].keys() == {"syntax"}


def test_folder_without_tests_is_nothing_to_do(component):
    """No tests are not passed tests."""
    (component / "test_code.py").unlink()
    assert audit.suite(root=str(component))["state"] == "nothing"


@pytest.mark.parametrize("path", ["../", "/etc", "missing", "--help"])
def test_path_outside_of_the_root_is_refused(component, path):
    """Nor can a path be an option of a tool."""
    with pytest.raises(FolderMissing):
        audit.lint(root=str(component), path=path)


def test_duplicates_are_whole_blocks(home):
    """Two windows that follow each other are one block; short and overlapping ones are none."""
    (home / "a.py").write_text("x = 1\n" + REPEATED + "y = 1\n")
    (home / "b.py").write_text("".join(f"    {line}\n" for line in REPEATED.splitlines()) + "z = 2\n")
    (home / "c.py").write_text("same = 1\n" * 12)
    (home / "d.py").write_bytes(b"\x00" + REPEATED.encode())
    blocks, repeated, total = duplication.find(home, ["a.py", "b.py", "c.py", "d.py"])
    assert [(one.lines, one.first, one.second) for one in blocks] == [(10, ("a.py", 2), ("b.py", 1))]
    assert (repeated, total) == (20, 35)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_this_project_is_audited():
    """Lint and types of a part of this project are clean, a test file of its own passes, and repetition is rare."""
    done = walk(
        "component-audit",
        root=str(REPOSITORY),
        path="execution/words.py",
        tests=["--collect-only", "--noconftest", "-p", "no:django", "tests/execution/test_durations.py"],
    )
    assert done["lint"]["state"] == "clean"
    assert done["types"]["state"] == "clean", done["outputs"]["text"]
    whole = audit.lint(root=str(REPOSITORY), path="execution")
    assert whole["state"] == "clean", whole["problems"][:3]
    repeated = audit.duplicates(root=str(REPOSITORY), path="execution")
    assert repeated["line_count"] > 8000
    assert repeated["share"] < 0.05
