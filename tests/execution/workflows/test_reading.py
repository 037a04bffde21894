"""Reading definitions: every error with its line, column and field, several at once, and nothing ever raised but ours."""

import pickle
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from execution import workflows
from execution.exceptions import DefinitionInvalid
from execution.workflows import checking, reading, sources
from tests.execution.workflows.broken import BROKEN

SHAPES = sorted((Path(__file__).parents[2] / "data" / "workflows").glob("*.yaml"))
GOOD = """\
# a comment
name: harvest-deploy
inputs:
  source: {type: text}
steps:
  extract:
    skill: harvest.extract
    with: {source: "${inputs.source}"}
  deploy:
    skill: harvest.deploy
    with: {blocks: "${steps.extract.blocks}"}
"""


@pytest.mark.parametrize("name", BROKEN)
def test_broken_definition_tells_all_that_is_wrong(name):
    """What is wrong is told in exactly these words, with the file, the line, the column and the field."""
    text, expected = BROKEN[name]
    found = reading.look(text, file="w.yaml")
    assert found.definition is None
    assert [str(one) for one in found.findings] == expected


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_real_shape_is_right(path):
    """Workflows of the shapes that public systems run are read without a finding, and named like their file."""
    found = reading.look_at(path)
    assert found.findings == ()
    assert found.definition.name == path.stem


def test_there_are_enough_shapes():
    """There are at least twenty of them."""
    assert len(SHAPES) >= 20


class TestValues:
    def test_plain_words_stay_text(self):
        """What YAML 1.1 would turn into a truth, a date or a number in base 60 is text."""
        source = sources.read("a: yes\nb: on\nc: 2030-01-31\nd: 12:30:00\ne: 0o7\nf: no\n1: x\ntrue: y\n")
        assert source.data == {
            "a": "yes", "b": "on", "c": "2030-01-31", "d": "12:30:00", "e": "0o7", "f": "no", "1": "x", "true": "y",
        }  # fmt: skip

    def test_plain_values_are_read(self):
        """Numbers, truths and null are what JSON would say."""
        source = sources.read("[1, -2, 1.5, 1e3, true, False, null, ~, '1', \"true\"]")
        assert source.data == [1, -2, 1.5, 1000.0, True, False, None, None, "1", "true"]

    def test_an_anchor_is_used_again(self):
        """An anchor gives a whole value a second place."""
        text = GOOD + "  again: &same {skill: x.y}\n  and_again: *same\n"
        assert reading.read(text).steps["and_again"].skill == "x.y"

    def test_a_bomb_of_anchors_is_refused(self):
        """Anchors that multiply are counted with every use, and end at the limit."""
        bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
        assert any("more than 200,000 values" in one.text for one in sources.read(bomb).flaws)

    def test_deep_nesting_is_refused(self):
        """A text of brackets only is told to be too deep, by us or by the parser, and does no harm."""
        for depth in (100, 900, 100_000):
            assert reading.look("name: " + "[" * depth + "]" * depth).errors

    def test_large_file_is_refused(self):
        """A file over the limit is not parsed at all."""
        found = reading.look("#" * (sources.LARGEST + 1))
        assert str(found.findings[0]) == "<text>:1:1: the file has 1,000,001 characters, more than 1,000,000"


class TestFiles:
    def test_definition_is_loaded(self, tmp_path):
        """A file with a byte order mark is read like any other."""
        path = tmp_path / "w.yaml"
        path.write_text(GOOD, encoding="utf-8-sig")
        assert workflows.load(path).name == "harvest-deploy"

    def test_missing_file_is_a_finding(self, tmp_path):
        """A file that is not there is told like any other error."""
        found = reading.look_at(tmp_path / "none.yaml")
        assert [one.text for one in found.findings] == ["the file cannot be read: No such file or directory"]

    def test_other_encoding_is_a_finding(self, tmp_path):
        """A file in another encoding is told so."""
        path = tmp_path / "w.yaml"
        path.write_bytes("name: größe".encode("latin-1"))
        assert [one.text for one in reading.look_at(path).findings] == ["the file is not UTF-8 text"]

    def test_error_carries_its_findings(self):
        """What is raised has all findings in its text and as data, also after a pickle."""
        with pytest.raises(DefinitionInvalid) as caught:
            reading.read("name: w\nsteps: {a: {skil: x}}\n", file="w.yaml")
        again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own error
        assert again.findings == caught.value.findings
        assert str(again) == (
            "the definition is not right:\nw.yaml:2:13: steps.a.skil: there is no field 'skil'; did you mean 'skill'?"
        )

    def test_findings_are_bounded(self):
        """A file with thousands of errors tells the first hundred."""
        steps = "".join(f"  step_{n}: {{skil: x}}\n" for n in range(1000))
        assert len(reading.look(f"name: w\nsteps:\n{steps}").findings) == checking.MOST_PROBLEMS

    def test_many_misspelt_names_are_told_soon(self):
        """Looking for the nearest of thousands of names takes no minutes."""
        steps = "".join(f"  step_{n}: {{skill: x, needs: [stp_{n}]}}\n" for n in range(3000))
        begun = time.monotonic()
        found = reading.look(f"name: w\nsteps:\n{steps}").findings
        assert time.monotonic() - begun < 20
        assert found[7].text == "there is no step 'stp_7'; did you mean 'step_7'?"

    def test_long_circle_is_shortened(self):
        """Of a circle through a hundred steps both ends are told, and how many lie between."""
        steps = "".join(f"  s{n}: {{skill: x, needs: s{(n + 1) % 100}}}\n" for n in range(100))
        (found,) = reading.look(f"name: w\nsteps:\n{steps}").findings
        assert found.text.startswith("steps need each other in a circle: s0 needs s1 needs")
        assert "s11 needs (77 more) needs s89" in found.text
        assert found.text.endswith("needs s99 needs s0")

    def test_notes_do_not_refuse(self):
        """A phase that nothing belongs to is worth a note, and no more."""
        found = reading.look("name: w\nphases: {p: {}}\nsteps: {a: {skill: x}}\n", file="w.yaml")
        assert found.definition is not None
        assert [str(one) for one in found.findings] == ["w.yaml:2:10: note: phases.p: no step belongs to this phase"]


class TestDigest:
    def test_layout_and_comments_make_no_difference(self):
        """The same content has one digest, however it is laid out."""
        data = yaml.safe_load(GOOD)
        flow = yaml.safe_dump(data, default_flow_style=True, sort_keys=True)
        assert reading.read(flow).digest == reading.read(GOOD).digest

    def test_shorthands_make_no_difference(self):
        """A length, an amount or a list in another form is the same content."""
        short = "name: w\nbudget: 5\ntimebox: 1h\nsteps: {a: {skill: x, retry: 3}, b: {skill: x, needs: a}}\n"
        long = (
            "name: w\nbudget: {cost: '5.00'}\ntimebox: 60m\n"
            "steps: {b: {needs: [a], skill: x, on_failure: halt}, a: {skill: x, retry: {retries: 3}}}\n"
        )
        assert reading.read(short).digest == reading.read(long).digest

    def test_content_makes_the_difference(self):
        """Any other value is another digest."""
        assert reading.read(GOOD).digest != reading.read(GOOD.replace("blocks}", "block}")).digest

    @pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
    def test_stored_definition_is_the_same(self, path):
        """A definition that was kept as JSON is read again as the same content."""
        definition = reading.load(path)
        again = workflows.Definition.model_validate(definition.as_data())
        assert (again.digest, again.needs) == (definition.digest, definition.needs)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_answered(text):
    """No text makes the reader raise anything: it tells what is wrong."""
    found = reading.look(text)
    assert found.definition is not None or found.errors


LINES = [line for path in SHAPES for line in path.read_text().splitlines(keepends=True)]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SHAPES),
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["drop", "twice", "other", "cut"]), st.sampled_from(LINES))),
)
def test_any_mistake_is_answered(path, mistakes):
    """A file with lines dropped, doubled, cut or taken from another file is right, or has findings inside the file."""
    lines = path.read_text().splitlines(keepends=True)
    for place, kind, other in mistakes[:5]:
        at = place % max(1, len(lines))
        change = {
            "drop": [],
            "twice": lines[at : at + 1] * 2,
            "other": [other],
            "cut": [lines[at][:-3] if lines else ""],
        }
        lines[at : at + 1] = change[kind]
    found = reading.look("".join(lines))
    assert found.definition is not None or found.errors
    for finding in found.findings:
        assert 1 <= finding.line <= len(lines) + 2
        assert finding.column >= 1
