"""Definitions made in Python, their inputs, and the JSON Schema for editors."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from execution.exceptions import InputInvalid
from execution.workflows import Definition, Fallback, Input, Phase, Retry, Step, reading, spec

SHAPES = sorted((Path(__file__).parents[2] / "data" / "workflows").glob("*.yaml"))
SCHEMA = jsonschema.Draft202012Validator(spec.schema())


def made():
    """Make a definition in Python."""
    return Definition(
        name="harvest-deploy",
        inputs={"source": Input(type="text"), "dry_run": Input(type="boolean", default=False)},
        budget="5.00",
        timebox=timedelta(hours=6),
        phases={"harvest": Phase(budget={"cost": 2, "tokens": 1000})},
        steps={
            "extract": Step(skill="harvest.extract", with_={"source": "${inputs.source}"}, retry=3, phase="harvest"),
            "check_all": Step(
                skill="harvest.check",
                foreach="${steps.extract.blocks}",
                with_={"block": "${item}"},
                on_failure=Fallback(fallback="harvest.report"),
            ),
            "go": Step(gate="approval", who="group:leads", needs=["check_all"], timeout="1d"),
            "rest": Step(sleep="1h", needs="go"),
            "deploy": Step(workflow="deploy-blocks", needs="rest", when="${not inputs.dry_run}"),
        },
        outputs={"report": "${steps.check_all}"},
    )


class TestPython:
    def test_values_are_read_as_people_write_them(self):
        """Lengths, amounts, lists and retries have one form, however they were given."""
        definition = made()
        assert definition.budget.cost == Decimal("5.00")
        assert definition.phases["harvest"].budget.tokens == 1000
        assert definition.steps["extract"].retry == Retry(retries=3)
        assert definition.steps["go"].who == ("group:leads",)
        assert definition.steps["rest"].sleep == timedelta(hours=1)
        assert [step.kind for step in definition.steps.values()] == ["skill", "skill", "gate", "sleep", "workflow"]

    def test_needs_are_what_is_listed_and_what_is_named(self):
        """What an expression names is needed without being listed."""
        assert made().needs == {
            "extract": (), "check_all": ("extract",), "go": ("check_all",), "rest": ("go",), "deploy": ("rest",),
        }  # fmt: skip

    def test_yaml_of_it_is_the_same_definition(self):
        """Written as YAML and read again it has the same digest."""
        text = yaml.safe_dump(made().as_data(), sort_keys=False)
        assert reading.read(text).digest == made().digest

    def test_it_never_changes(self):
        """A definition and its parts are frozen."""
        definition = made()
        with pytest.raises(ValidationError, match="frozen"):
            definition.name = "other"
        with pytest.raises(ValidationError, match="frozen"):
            definition.steps["extract"].skill = "other"

    def test_everything_wrong_is_told_with_its_place(self):
        """A definition that is not whole is refused, with each problem at its place."""
        with pytest.raises(ValidationError) as caught:
            Definition(
                name="w",
                steps={"a": Step(skill="x", needs=["b"]), "c": Step(skill="x", with_={"v": ["${steps.d.e}"]})},
            )
        assert [(one["loc"], one["msg"]) for one in caught.value.errors()] == [
            (("steps", "a", "needs", 0), "there is no step 'b'"),
            (("steps", "c", "with", "v", 0), "in ${steps.d.e}: there is no step 'd'"),
        ]

    def test_step_is_one_thing(self):
        """A step is refused where it is made when it says nothing to do."""
        with pytest.raises(ValidationError, match="says nothing to do"):
            Step(needs=["a"])

    def test_empty_is_as_if_it_were_not_there(self):
        """None is no value for any field of a step."""
        nothing = dict.fromkeys(["gate", "sleep", "workflow", "when", "foreach", "retry", "check", "timeout"])
        assert Step(skill="x", **nothing) == Step(skill="x")


class TestInputs:
    DEFINITION = Definition(
        name="w",
        inputs={
            "source": Input(type="text"),
            "limit": Input(type="integer", default=3),
            "ratio": Input(type="number", required=False),
            "tags": Input(type="list", default=None),
        },
        steps={"a": Step(skill="x")},
    )

    def test_defaults_are_filled_in(self):
        """What is not given has its default, or null."""
        assert self.DEFINITION.bind({"source": "docs", "ratio": 2}) == {
            "source": "docs", "limit": 3, "ratio": 2, "tags": None,
        }  # fmt: skip

    def test_null_is_given_where_nothing_is_needed(self):
        """An input that is not required may be null."""
        assert self.DEFINITION.bind({"source": "docs", "ratio": None})["ratio"] is None

    def test_everything_wrong_is_told(self):
        """Unknown, missing and misfitting inputs are told at once."""
        with pytest.raises(InputInvalid) as caught:
            self.DEFINITION.bind({"sorce": "docs", "limit": True, "ratio": "much"})
        assert str(caught.value) == (
            "the input of 'w' is not right: there is no input 'sorce'; did you mean 'source'?; 'source' is missing (text); "
            "'limit' is true, which is not an integer; 'ratio' is 'much', which is not a number"
        )

    @pytest.mark.parametrize(
        ("kind", "good", "bad"),
        [
            ("text", "", 1),
            ("integer", 0, 1.5),
            ("number", 1.5, "1"),
            ("number", 1, True),
            ("boolean", False, 0),
            ("list", [], {}),
            ("object", {}, []),
        ],
    )
    def test_types_fit_or_not(self, kind, good, bad):
        """A value is taken for what it is in JSON."""
        assert Input(type=kind).accepts(good)
        assert not Input(type=kind).accepts(bad)


class TestSchema:
    @pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
    def test_real_shape_fits(self, path):
        """Whatever is right for us is right for an editor."""
        SCHEMA.validate(yaml.safe_load(path.read_text()))

    @pytest.mark.parametrize(
        "text",
        [
            "{name: w}",
            "{name: My_Name, steps: {a: {skill: x}}}",
            "{name: w, steps: {}}",
            "{name: w, steps: {a: {skil: x}}}",
            "{name: w, steps: {build-it: {skill: x}}}",
            "{name: w, steps: {a: {skill: x, sleep: 1h}}}",
            "{name: w, steps: {a: {needs: [b]}}}",
            "{name: w, steps: {a: {gate: aproval}}}",
            "{name: w, steps: {a: {skill: x, max_parallel: 0}}}",
            "{name: w, steps: {a: {skill: x, when: ready}}}",
            "{name: w, steps: {a: {skill: x, foreach: []}}}",
            "{name: w, steps: {a: {skill: x, retry: {times: 3}}}}",
            "{name: w, steps: {a: {skill: x, on_failure: stop}}}",
            "{name: w, inputs: {a: {type: string}}, steps: {a: {skill: x}}}",
            "{name: w, budget: {euros: 3}, steps: {a: {skill: x}}}",
        ],
    )
    def test_misspelt_definition_does_not_fit(self, text):
        """What an editor can see it underlines."""
        assert not SCHEMA.is_valid(yaml.safe_load(text))

    def test_every_field_is_described(self):
        """An editor has a sentence for every field."""
        found = spec.schema()
        for model in (found, *(one for one in found["$defs"].values() if "properties" in one)):
            assert all(field.get("description") for field in model["properties"].values()), model["title"]
