"""`manage.py workflow`: no test here is let near a database."""

import io
import json
from xml.etree import ElementTree as ET

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

import manage
import tests.command_skills  # noqa: F401 - its skills are known then
from execution.workflows import reading, starters

GOOD = "name: good\nsteps: {a: {skill: commands.report, with: {topic: x}}, b: {skill: other.skill, needs: a}}\n"


def typed(*line):
    """Type a command and return what it printed."""
    out = io.StringIO()
    call_command("workflow", *[str(word) for word in line], stdout=out, stderr=io.StringIO())
    return out.getvalue()


def refused(*line):
    """Type a command that must fail, and return what it printed and why."""
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("workflow", *[str(word) for word in line], stdout=out, stderr=io.StringIO())
    assert caught.value.returncode == 1
    return out.getvalue(), str(caught.value)


@pytest.fixture
def good(tmp_path):
    """Write a definition that is right."""
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def bad(tmp_path):
    """Write a definition that is not."""
    path = tmp_path / "bad.yaml"
    path.write_text("name: bad\nsteps: {a: {skill: x.y, needs: [b]}}\n")
    return path


class TestValidate:
    def test_right_file_is_named_with_its_digest(self, good):
        """A file that is right is told so, with what is worth a note."""
        assert typed("validate", good, "--without-skills") == (
            f"{good}: good is right: 2 steps, digest {reading.load(good).digest[:12]}\n"
        )

    def test_unknown_skill_is_a_note(self, good):
        """A skill that this process does not know is told, and fails only where it is asked to."""
        column = GOOD.splitlines()[1].index("other") + 1
        note = f"{good}:2:{column}: %ssteps.b.skill: no skill is named 'other.skill' here\n"
        assert typed("validate", good).startswith(note % "note: ")
        assert refused("validate", good, "--strict") == (note % "", "1 file of 1 cannot be used")

    def test_every_error_is_a_line(self, good, bad):
        """Errors go to standard output as FILE:LINE:COLUMN, and the status is 1."""
        found, why = refused("validate", bad, good, "--without-skills")
        assert found.startswith(f"{bad}:2:33: steps.a.needs[0]: there is no step 'b'\n{good}: good is right")
        assert why == "1 file of 2 cannot be used"

    def test_document(self, good, bad):
        """With --json there is one document, also when something is wrong."""
        found = json.loads(refused("validate", good, bad, "--json", "--without-skills")[0])
        assert found["is_valid"] is False
        assert [(one["name"], one["is_valid"], one["step_count"]) for one in found["files"]] == [
            ("good", True, 2),
            (None, False, None),
        ]
        assert found["files"][1]["findings"] == [
            {
                "file": str(bad), "line": 2, "column": 33, "path": "steps.a.needs[0]",
                "text": "there is no step 'b'", "is_error": True,
            }
        ]  # fmt: skip

    def test_folder_is_all_its_files(self, good, bad, tmp_path):
        """A folder stands for the YAML files in it; one without any is told."""
        assert refused("validate", tmp_path, "--without-skills")[1] == "1 file of 2 cannot be used"
        (tmp_path / "empty").mkdir()
        assert refused("validate", tmp_path / "empty")[1] == f"there is no .yaml file in {tmp_path / 'empty'}"

    def test_file_that_is_not_there_is_told(self, good, tmp_path, monkeypatch):
        """Whatever reads files says which is not there, seen from where, and which one may be meant."""
        monkeypatch.chdir(tmp_path)
        for verb in ("validate", "load"):
            told = f"there is no file or folder 'nofolder' in {tmp_path}; name a .yaml file, or a folder of them"
            assert refused(verb, "nofolder")[1] == told
            assert "did you mean 'good.yaml'?" in refused(verb, "god.yaml")[1]

    def test_unknown_workflow_is_a_note(self, tmp_path):
        """A sub-workflow that is not known here is told, also beside other mistakes; the shipped ones are known."""
        caller = tmp_path / "caller.yaml"
        caller.write_text("name: caller\nsteps:\n  a: {workflow: inspct}\n  b: {skill: x.y, needs: [c]}\n")
        found, _ = refused("validate", caller)
        assert ":3:17: note: steps.a.workflow: no workflow is named 'inspct' here; did you mean 'inspect'?\n" in found
        assert "steps.b.needs[0]: there is no step 'c'" in found
        caller.write_text("name: caller\nsteps: {a: {workflow: inspect}}\n")
        assert "no workflow is named" not in typed("validate", caller)

    def test_files_know_each_other(self, good, tmp_path):
        """A sub-workflow that is validated beside its caller is checked with it; two of one name are refused."""
        caller, twin = tmp_path / "caller.yaml", tmp_path / "twin.yaml"
        caller.write_text("name: caller\nsteps: {a: {workflow: good, with: {x: 1}}}\n")
        twin.write_text(GOOD)
        found, _ = refused("validate", good, caller, twin, "--without-skills")
        assert f"{caller}:2:36: steps.a.with.x: workflow 'good' takes no 'x'\n" in found
        assert f"{twin}:1:1: name: workflow 'good' is defined in {good} too\n" in found


class TestGraph:
    def test_mermaid_is_printed(self, good):
        """Mermaid is what is printed unless something else is asked for."""
        assert typed("graph", good).startswith("flowchart LR\n")

    def test_svg_is_written(self, good, tmp_path):
        """A picture goes to a file."""
        target = tmp_path / "good.svg"
        assert typed("graph", good, "--format", "svg", "--output", target) == f"{target} is written\n"
        root = ET.parse(target).getroot()  # noqa: S314 - our own picture
        assert root.tag.endswith("svg")

    def test_document(self, good):
        """With --json the needs come beside the text."""
        found = json.loads(typed("graph", good, "--json"))
        assert found["needs"] == {"a": [], "b": ["a"]}
        assert found["text"].startswith("flowchart LR\n")

    def test_wrong_file_is_told(self, bad):
        """What is wrong with the file is the error."""
        assert "there is no step 'b'" in refused("graph", bad)[1]


class TestSchema:
    def test_schema_is_printed(self):
        """The schema is one JSON document."""
        assert json.loads(typed("schema"))["title"] == "Celeriac workflow"

    def test_schema_is_written(self, tmp_path):
        """The schema goes to a file; a folder that is not there is told."""
        assert json.loads(typed("schema", "--output", tmp_path / "s.json", "--json")) == {
            "file": str(tmp_path / "s.json")
        }
        assert "cannot be written" in refused("schema", "--output", tmp_path / "none" / "s.json")[1]


class TestNew:
    @pytest.mark.parametrize("template", starters.names())
    def test_every_example_is_right(self, template, tmp_path):
        """Each example validates as it stands, under the name that it was given."""
        path = tmp_path / "mine.yaml"
        assert typed("new", "my-flow", "--template", template, "--output", path).startswith(f"{path} is written")
        found = reading.look_at(path)
        assert (found.definition.name, found.findings) == ("my-flow", ())

    def test_nothing_is_written_over(self, good):
        """A file that is there stays as it is."""
        assert "is not written over" in refused("new", "my-flow", "--output", good)[1]
        assert good.read_text() == GOOD

    def test_bad_name_writes_nothing(self, tmp_path):
        """A name in the wrong case is refused before anything is written."""
        found = refused("new", "My_Flow", "--output", tmp_path / "mine.yaml")[1]
        assert "write it in kebab-case: 'my-flow'" in found
        assert not (tmp_path / "mine.yaml").exists()

    def test_file_is_named_like_the_workflow(self, tmp_path, monkeypatch):
        """Without a name for the file it is the workflow's, where one stands."""
        monkeypatch.chdir(tmp_path)
        assert json.loads(typed("new", "my-flow", "--json")) == {"file": "my-flow.yaml", "template": "chain"}


class TestDiff:
    def test_changes_are_told(self, good, tmp_path):
        """Each change is a line."""
        other = tmp_path / "other.yaml"
        other.write_text(GOOD.replace("needs: a", "needs: a, timebox: 1h"))
        assert typed("diff", good, other) == "steps.b.timebox is 3600 now; it was not set\n"
        found = json.loads(typed("diff", good, other, "--json"))
        assert found["is_same"] is False
        assert found["differences"] == [
            {"kind": "added", "path": "steps.b.timebox", "text": "steps.b.timebox is 3600 now; it was not set"}
        ]

    def test_same_is_told(self, good):
        """Where nothing changed, that is said."""
        assert typed("diff", good, good).startswith("nothing changed: both have the digest ")


def test_no_server_is_started_for_it():
    """A definition is a file: manage.py starts nothing for these verbs."""
    for verb in ("validate", "graph", "schema", "new", "diff"):
        assert not manage.needs_servers(["workflow", verb, "x.yaml"])
    assert manage.needs_servers(["workflow", "diff", "x", "1", "2"])
    assert manage.needs_servers(["workflow", "run", "x"])
    assert manage.needs_servers(["runs"])
