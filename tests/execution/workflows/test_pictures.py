"""Pictures of a graph: Mermaid text, and an SVG that stands by itself."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from execution.models import StepState
from execution.workflows import Definition, Phase, Step, mermaid, reading, svg

SHAPES = sorted((Path(__file__).parents[2] / "data" / "workflows").glob("*.yaml"))
SMALL = Definition(
    name="small",
    phases={"late": Phase()},
    steps={
        "fetch": Step(skill="web.fetch"),
        "each": Step(skill="web.parse", foreach="${steps.fetch}"),
        "go": Step(gate="approval", needs="each"),
        "rest": Step(sleep="1h", needs="go", phase="late"),
        "inner": Step(workflow="other", needs=["rest", "fetch"], phase="late"),
    },
)
SPACE = "{http://www.w3.org/2000/svg}"


def test_mermaid_text():
    """Steps have the outline of their kind, phases are frames, needs are arrows."""
    assert mermaid.text(SMALL) == (
        "flowchart LR\n"
        '  s0["fetch<br/>web.fetch"]\n'
        '  s1["each<br/>web.parse (each)"]\n'
        '  s2{{"go<br/>approval"}}\n'
        '  subgraph p1["late"]\n'
        '    s3(["rest<br/>sleep"])\n'
        '    s4[["inner<br/>other"]]\n'
        "  end\n"
        "  s0 --> s1\n"
        "  s1 --> s2\n"
        "  s2 --> s3\n"
        "  s3 --> s4\n"
        "  s0 --> s4\n"
    )


def test_mermaid_states():
    """A state is told in words and by a class with its colour."""
    lines = mermaid.text(SMALL, {"fetch": "completed", "each": "skipped"}).splitlines()
    assert '  s0["fetch<br/>web.fetch<br/>completed"]:::completed' in lines
    assert "  classDef skipped fill:#ffffff,stroke:#9ca3af,color:#111827,stroke-dasharray:4 3" in lines
    assert not any("running" in line for line in lines)


def test_mermaid_text_cannot_be_broken_out_of():
    """Whatever stands in a name is text in the picture."""
    found = mermaid.text(Definition(name="w", steps={"a": Step(skill='x"] --> evil["<script>')}))
    assert found.splitlines() == ["flowchart LR", '  s0["a<br/>x#34;#93; --#62; evil#91;#34;#60;script#62;"]']


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_svg_shows_every_step_and_need(path):
    """The picture is whole XML with a box for each step and an arrow for each need."""
    definition = reading.load(path)
    root = ET.fromstring(svg.text(definition))  # noqa: S314 - our own picture
    titles = [one.text.partition(":")[0] for one in root.iter(f"{SPACE}title")]
    assert sorted(titles[1:]) == sorted(definition.steps)
    arrows = [one for one in root.iter(f"{SPACE}path") if one.get("class") == "a"]
    assert len(arrows) == sum(map(len, definition.needs.values()))


def test_svg_stands_by_itself():
    """Nothing is fetched and nothing is executed by looking at it."""
    found = svg.text(Definition(name="w", steps={"a": Step(skill="<script>alert(1)</script>&")}))
    assert "<script" not in found
    assert "href" not in found
    assert found.count("http") == 1
    ET.fromstring(found)  # noqa: S314 - our own picture


def test_every_state_has_a_colour_and_a_sign_of_its_own():
    """Two states differ by more than their colour, for whoever sees no colours."""
    assert set(mermaid.STATE_COLOURS) == set(svg.SIGNS) == set(StepState.values)
    assert len(set(svg.SIGNS.values())) == len(StepState.values)
    pictures = {svg.text(SMALL, {"fetch": state}) for state in StepState.values}
    assert len(pictures) == len(StepState.values)


def test_a_thousand_steps_are_drawn():
    """A graph of a thousand steps has both pictures."""
    steps = {"first": Step(skill="x")}
    for number in range(998):
        steps[f"s{number}"] = Step(skill="x", needs=["first", *([f"s{number - 7}"] if number >= 7 else [])])
    steps["last"] = Step(skill="x", needs=list(steps))
    definition = Definition(name="w", steps=steps)
    assert mermaid.text(definition).count("-->") == 998 + 991 + 999
    assert svg.text(definition).count('class="a"') == 998 + 991 + 999
