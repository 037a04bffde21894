"""inspect: languages, sizes, entries and dependencies of a tree, of whatever lies in it."""

import json
import os
import tempfile

import pytest

from execution.workflows.nodes import inspection
from execution.workflows.nodes.exceptions import FolderMissing
from tests.execution.workflows.library.walk import REPOSITORY, walk


@pytest.fixture
def project(home):
    """Return a tree of many kinds."""
    files = {
        "pyproject.toml": '[project]\nname = "x"\ndependencies = ["django>=5 ; python_version > \'3\'", "celery[redis]"]\n'
        '[project.scripts]\nx = "x.cli:main"\n[project.optional-dependencies]\ndev = ["ruff"]\n',
        "requirements-test.txt": "# tests\npytest==8.0 \\\n    --hash=sha256:0\n-r other.txt\nDjango>=5\n",
        "package.json": json.dumps({"scripts": {"build": "tsc"}, "dependencies": {"react": "^18"}}),
        "Makefile": "VAR := 1\nall: setup ## All\nsetup:\n\ttrue\n",
        "Procfile": "web: gunicorn\n",
        "Dockerfile": 'FROM scratch\nCMD ["run"]\n',
        "x/__main__.py": "print()\n",
        "x/tool.py": "a = 1\nif __name__ == '__main__':\n    print(a)",
        "web/app.ts": "const a = 1;\n" * 100,
        "empty.md": "",
    }
    for path, text in files.items():
        (home / path).parent.mkdir(exist_ok=True)
        (home / path).write_text(text)
    (home / "image.png").write_bytes(b"\x89PNG\x00" * 1000)
    (home / "node_modules").mkdir()
    (home / "node_modules/huge.js").write_text("x" * 100_000)
    return home


def test_tree_is_described(project):
    """One text says what is there."""
    done = walk("inspect", root=str(project))
    languages = done["tree"]["languages"]
    assert languages["TypeScript"] == {"file_count": 1, "line_count": 100, "size": 1300}
    assert languages["Python"] == {"file_count": 2, "line_count": 4, "size": 53}
    assert languages["binary"] == {"file_count": 1, "line_count": 0, "size": 5000}
    assert languages["Markdown"] == {"file_count": 1, "line_count": 0, "size": 0}
    assert done["tree"]["largest"][0] == {"path": "image.png", "size": 5000}
    assert {(one["kind"], one["name"]) for one in done["entry_points"]["entry_points"]} == {
        ("script", "x = x.cli:main"),
        ("npm script", "build"),
        ("make target", "all"),
        ("make target", "setup"),
        ("process", "web"),
        ("image", '["run"]'),
        ("module", "x.__main__"),
        ("module", "x.tool"),
    }
    assert {one["name"].lower() for each in done["dependencies"]["declared"].values() for one in each} == {
        "django", "celery", "ruff", "pytest", "react",
    }  # fmt: skip
    assert done["outputs"]["dependency_count"] == 5
    assert "depends on 5 distributions" in done["outputs"]["text"]


def test_broken_declaration_is_named(project):
    """A file that cannot be read hides no other."""
    (project / "package.json").write_text("{")
    (project / "pyproject.toml").write_bytes(b"\xff")
    done = walk("inspect", root=str(project))
    assert [one["path"] for one in done["dependencies"]["broken"]] == ["package.json", "pyproject.toml"]
    assert done["outputs"]["dependency_count"] == 2


def test_unreadable_folder_is_named():
    """What may not be looked at is said, and the rest is counted."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)  # noqa: S103 - another user looks into it
        os.makedirs(f"{name}/closed", mode=0o700)
        for path in ("closed/a.py", "b.py", "c.py"):
            with open(f"{name}/{path}", "w") as file:
                file.write("x = 1\n")
        os.chmod(f"{name}/closed", 0)
        os.chmod(f"{name}/c.py", 0)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)
            found = inspection.tree(root=name)
        finally:
            os.seteuid(user)
            os.chmod(f"{name}/closed", 0o700)
    assert (found["file_count"], sorted(found["unreadable"])) == (1, ["c.py", "closed"])


def test_missing_root_is_refused():
    """A mistyped root is no empty tree."""
    with pytest.raises(FolderMissing):
        inspection.tree(root="/no/such/folder")


def test_empty_folder_is_an_answer(home):
    """Nothing is counted as nothing."""
    assert walk("inspect", root=str(home))["outputs"]["file_count"] == 0


def test_this_project_is_inspected():
    """Its languages, entries and dependencies are found."""
    done = walk("inspect", root=str(REPOSITORY))
    assert done["tree"]["languages"]["Python"]["file_count"] > 150
    assert done["tree"]["languages"]["SQL"]["file_count"] > 10
    names = {one["name"] for one in done["entry_points"]["entry_points"]}
    assert {"manage", "demo", "up"} <= names
    declared = {one["name"] for one in done["dependencies"]["declared"]["pyproject.toml"]}
    assert {"celery", "django", "psycopg"} <= declared
