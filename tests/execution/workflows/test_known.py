"""Definitions beside what is known: skills with their inputs and results, and other workflows."""

from dataclasses import dataclass

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from execution import skill
from execution.workflows import known, reading
from execution.workflows.known import Known


class Block(BaseModel):
    path: str
    lines: list[int] = []


class Extracted(BaseModel):
    blocks: list[Block]
    note: Block | None = None
    rest: dict[str, int] = {}


class Counted(TypedDict):
    total: int


@dataclass
class Deployed:
    files: list[str]


@skill("known.extract")
def extract(ctx, source: str, most: int = 3) -> Extracted:
    """Return blocks."""


@skill("known.count")
def count(blocks: list[Block], **more) -> Counted:
    """Return a number."""


@skill("known.deploy")
def deploy(ctx, count: int) -> Deployed:
    """Return files."""


@skill("known.free")
def free(ctx, value):
    """Return anything."""


KNOWN = Known(skills={task.name: known.skill_of(task) for task in (extract, count, deploy, free)})


def told(steps, around=KNOWN):
    """Return what is said about steps."""
    return [f"{one.path}: {one.text}" for one in reading.look(f"name: w\nsteps:\n{steps}", known=around).findings]


@pytest.mark.parametrize(
    "value",
    [
        "steps.a.blocks[0].path",
        "steps.a.blocks[0].lines[-1]",
        "steps.a.note.path",
        "steps.a.rest.anything",
        "steps.a",
        "size(steps.a.blocks)",
    ],
)
def test_fields_that_a_skill_returns_are_known(value):
    """A field that the skill's return type has may be named."""
    assert (
        told(
            f"  a: {{skill: known.extract, with: {{source: x}}}}\n  b: {{skill: known.free, with: {{value: '${{{value}}}'}}}}\n"
        )
        == []
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("steps.a.block", "steps.a has no field 'block'; did you mean 'blocks'?"),
        ("steps.a.blocks.path", "steps.a.blocks is a list, and has no field 'path'; take one entry of it first: [0]"),
        ("steps.a.blocks[0].paths", "steps.a.blocks[0] has no field 'paths'; did you mean 'path'?"),
        ("steps.a.blocks[0].path.stem", "steps.a.blocks[0].path is text, and has no field 'stem'"),
        ("steps.a.note.size", "steps.a.note has no field 'size'; it has path, lines"),
        ("steps.a.rest.x.y", "steps.a.rest.x is a whole number, and has no field 'y'"),
    ],
)
def test_fields_that_a_skill_does_not_return_are_refused(value, expected):
    """A field that cannot be there is told when the definition is read."""
    found = told(
        f"  a: {{skill: known.extract, with: {{source: x}}}}\n  b: {{skill: known.free, with: {{value: '${{{value}}}'}}}}\n"
    )
    assert found == [f"steps.b.with.value: in ${{{value}}}: {expected}"]


def test_kinds_of_results_are_used():
    """Conditions, lists and entries of a foreach know what their skill returns."""
    assert told(
        "  a: {skill: known.extract, with: {source: x}}\n"
        "  b: {skill: known.free, foreach: '${steps.a.blocks}', with: {value: '${item.pth}'}}\n"
        "  c: {skill: known.free, foreach: '${steps.a.note}', when: '${steps.a.blocks}', with: {value: 1}}\n"
        "  d: {skill: known.count, with: {blocks: '${steps.a.blocks}'}}\n"
        "  e: {skill: known.deploy, with: {count: '${steps.d.totl}'}}\n"
        "  f: {skill: known.free, with: {value: '${steps.e.file}'}}\n"
    ) == [
        "steps.b.with.value: in ${item.pth}: item has no field 'pth'; did you mean 'path'?",
        "steps.c.when: ${steps.a.blocks} is a list, and has to be true or false",
        "steps.e.with.count: in ${steps.d.totl}: steps.d has no field 'totl'; did you mean 'total'?",
        "steps.f.with.value: in ${steps.e.file}: steps.e has no field 'file'; did you mean 'files'?",
    ]


def test_what_a_skill_takes_is_known():
    """Missing and unknown inputs of a known skill are told; one that takes any takes any."""
    assert told(
        "  a: {skill: known.extract, with: {sorce: x}}\n  b: {skill: known.count, with: {blocks: [], more: 1}}\n"
    ) == [
        "steps.a: skill 'known.extract' also wants 'source'",
        "steps.a.with.sorce: skill 'known.extract' takes no 'sorce'; did you mean 'source'?",
    ]


def test_unknown_skill_is_a_note():
    """A skill that is not known here may be known where the workflow runs."""
    found = reading.look(
        "name: w\nsteps: {a: {skill: known.extrct, with: {source: x}, on_failure: {fallback: known.fre}}}\n",
        known=KNOWN,
    )
    assert found.definition is not None
    assert [(one.path, one.text, one.is_error) for one in found.findings] == [
        ("steps.a.skill", "no skill is named 'known.extrct' here; did you mean 'known.extract'?", False),
        ("steps.a.on_failure.fallback", "no skill is named 'known.fre' here; did you mean 'known.free'?", False),
    ]


def test_result_of_a_fallback_may_be_anything():
    """Where another skill may stand in, no field is refused."""
    assert (
        told(
            "  a: {skill: known.extract, with: {source: x}, on_failure: {fallback: known.free}}\n"
            "  b: {skill: known.free, with: {value: '${steps.a.other}'}}\n"
        )
        == []
    )


def test_other_workflows_are_known():
    """A sub-workflow's inputs and outputs are checked where its definition is at hand."""
    inner = reading.read(
        "name: inner\ninputs: {a: {type: text}, b: {type: text, default: x}}\nsteps: {s: {skill: x}}\noutputs: {r: '${steps.s}'}\n"
    )
    around = Known(workflows={"inner": inner})
    assert told(
        "  x: {workflow: inner, with: {c: 1}}\n  y: {skill: z, with: {v: '${steps.x.q}', w: '${steps.x.r.s}'}}\n",
        around,
    ) == [
        "steps.x: workflow 'inner' also wants 'a'",
        "steps.x.with.c: workflow 'inner' takes no 'c'",
        "steps.y.with.v: in ${steps.x.q}: steps.x has no field 'q'; it has r",
    ]


def test_this_process_knows_its_skills():
    """Every skill that is imported is known, with what it takes and returns."""
    found = known.of_this_process()
    assert found.skills["known.extract"].parameters == ("source", "most")
    assert found.skills["known.extract"].wanted == ("source",)
    assert found.skills["known.free"].result.kind == ""
