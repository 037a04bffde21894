"""The page about skills: its examples are run as they stand there."""

import re
from pathlib import Path

import pytest

from execution import runs
from execution.skills import SkillOptions, named

PAGE = (Path(__file__).parents[2] / "docs" / "skills.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def page():
    """Return what the page's examples define, without those that open runs."""
    names = {"__name__": "docs"}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        if ".start(" not in block.split("#")[0]:
            exec(compile(block, "docs/skills.md", "exec"), names)  # noqa: S102 - our own page
    return names


def test_page_examples_open_runs(stage, page):
    """The first skill is started in the ways that the page shows."""
    block = next(one for one in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "hello.start(" in one)
    found = dict(page)
    exec(compile(block, "docs/skills.md", "exec"), found)  # noqa: S102 - as above
    assert stage.finish(found["run"]) == "greeted ann"
    assert stage.finish(runs.get(found["result"].id)) == "greeted ann"


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("docs.once", {"topic": "tea"}, 3),
        ("docs.aonce", {"number": 4}, 8),
        ("docs.each", {"topic": "tea"}, {"notes": ["TEA: PAGE 0", "TEA: PAGE 1", "TEA: PAGE 2"]}),
        ("docs.save", {"pages": 4}, 4),
        ("docs.money", {"calls": 2}, 2),
        ("docs.typed", {"topic": {"words": ["a"]}}, {"words": 1}),
        ("docs.report", {"topic": "tea"}, "all about tea"),
        ("docs.task", {"left": 1, "right": 2}, 3),
    ],
)
def test_page_example_is_performed(stage, page, name, given, expected):
    """Each example does what the page says."""
    assert stage.finish(runs.start(name, given)) == expected


def test_page_example_of_an_effect(stage, page):
    """The effect is handed its key; nothing to publish is an ordinary failure."""
    assert stage.finish(runs.start("docs.effect", {"text": "x"})).startswith("published under ")
    run = runs.start("docs.effect", {"text": ""})
    assert stage.play(run).waiting == "retry"


def test_page_example_of_waiting(stage, page):
    """It sleeps, asks, and takes the answer."""
    run = runs.start("docs.wait")
    assert stage.play(run).waiting == "timer"
    assert (stage.step(run).wake_at - stage.step(run).changed_at).total_seconds() > 6 * 3600 - 60


def test_page_example_of_children(stage, page):
    """All begin, one is called, and the results come back in order."""
    run = runs.start("docs.children", {"topics": ["a", "b"]})
    for _ in range(6):
        stage.play(run)
        for child in runs.Run.objects.filter(parent_run_id=run.id):
            stage.play(child)
    assert runs.result(run) == [3, 3, 3]


def test_page_example_of_what_a_skill_knows(stage, page):
    """Agent, run and correlation are there."""
    run = runs.start("docs.knows")
    assert stage.finish(run) == {"agent": "default", "run": str(run.id), "correlation": str(run.id)}


def test_page_error_message_is_the_one_that_is_raised(page):
    """What the page quotes is what is said."""
    with pytest.raises(Exception, match="Input should be a valid list") as caught:
        page["typed_example"].start(topic={"words": "celery"})
    said = f"{type(caught.value).__name__}: {caught.value}"
    assert said in re.sub(r"\s+", " ", PAGE)


def test_page_names_every_option(page):
    """An option that the page does not know is not documented."""
    table = PAGE[PAGE.index("## Options") :]
    assert [name for name in SkillOptions.__dataclass_fields__ if f"`{name}`" not in table] == []
    assert named("docs.hello").name == "docs.hello"
