"""Skills: options, typed input and output, classes, async, direct calls in a unit test."""

import dataclasses
import datetime as dt
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, Optional

import pytest
from celery import current_app, shared_task
from pydantic import BaseModel, Field

from execution import Skill, runs, skill
from execution.exceptions import (
    InputInvalid,
    NotPossible,
    OptionInvalid,
    OutputInvalid,
    SkillUnknown,
    WaitTimeout,
)
from execution.models import Run, Step
from execution.plain import PlainContext
from execution.skills import SkillTask, named

if TYPE_CHECKING:
    from execution.context import Context

database = pytest.mark.django_db(transaction=True)


class Topic(BaseModel):
    """What to look for."""

    words: list[str] = Field(min_length=1)
    since: dt.date | None = None


@dataclasses.dataclass
class Limits:
    """How far to go."""

    pages: int
    price: Decimal = Decimal("0.10")


@skill("skills.typed")
def typed(
    ctx: "Context",
    topic: Topic,
    limits: Limits,
    *,
    depth: Literal["low", "high"] = "low",
    until: Optional[dt.datetime] = None,  # noqa: UP045 - it must be read too
    owner: uuid.UUID | None = None,
) -> dict[str, Decimal]:
    """Say what came in."""
    assert isinstance(topic, Topic)
    assert isinstance(limits, Limits)
    assert until is None or isinstance(until, dt.datetime)
    assert owner is None or isinstance(owner, uuid.UUID)
    return {"cost": limits.pages * limits.price, "depth": Decimal(len(depth))}


@skill("skills.moment")
def moment(text: str) -> dt.datetime:
    """Read a moment; a skill needs no context."""
    return dt.datetime.fromisoformat(text)


@skill("skills.wrong")
def wrong(ctx) -> list[int]:
    """Return what its type does not allow."""
    return [1, "two"]  # type: ignore[list-item]


@skill
def bare(ctx, left: int, right: int = 1) -> int:
    """Add, named by its module."""
    return left + right


@skill("skills.gather", queue="slow", priority=5, retries=2, timebox="6h", version="7")
async def gather(ctx, number: int) -> int:
    """Add asynchronously."""

    async def one():
        return 1

    return number + await ctx.aonce("one", one)


class Polite(Skill):
    """A base with options and no work."""

    retries = 5
    queue = "polite"


class Greeting(Polite):
    """A skill as a class."""

    name = "skills.greeting"
    priority = 3

    def perform(self, ctx, who: str, times: int = 1) -> str:
        """Greet."""
        return ctx.once("text", self.text, who) * times

    def text(self, who):
        """Return the text."""
        return f"hello {who} "


class Shouting(Greeting):
    """A subclass with another option is another skill."""

    retries = 1

    def text(self, who):
        """Return the text, louder."""
        return f"HELLO {who} "


@shared_task(base=SkillTask, bind=True, name="skills.bound")
def bound(self, left, right=0):
    """Use the context of a task."""
    return self.ctx.once("sum", lambda: left + right)


# Input and output


@database
def test_input_is_typed_when_the_skill_is_performed(stage):
    """Models, dataclasses, dates, literals and ids come in as the types that the hints name, however they were given."""
    run = typed.start(
        topic={"words": ["celery"], "since": "2026-01-01"},
        limits=Limits(pages=3),
        until=dt.datetime(2027, 1, 1, tzinfo=dt.UTC),
        owner=str(uuid.UUID(int=1)),
    )
    assert stage.finish(run) == {"cost": "0.30", "depth": "3"}
    again = typed.start(topic=Topic(words=["a"]), limits={"pages": "2"}, depth="high")
    assert stage.finish(again) == {"cost": "0.20", "depth": "4"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"topic": {"words": []}, "limits": {"pages": 1}}, "topic.words: List should have at least 1 item"),
        ({"topic": {"words": ["a"]}, "limits": {"pages": "many"}}, "limits.pages: Input should be a valid integer"),
        (
            {"topic": {"words": ["a"]}, "limits": {"pages": 1}, "depth": "deep"},
            "depth: Input should be 'low' or 'high'",
        ),
        ({"topic": {"words": ["a"]}}, "missing a required argument: 'limits'; it takes (topic"),
        ({"topic": {"words": ["a"]}, "limits": {"pages": 1}, "dept": "low"}, "did you mean 'depth'?"),
        ({"topic": {"words": ["a"]}, "limits": {"pages": 1}, "buget": 5}, "did you mean 'budget'?"),
        (
            {"topic": {"words": ["a"]}, "limits": {"pages": 1}, "until": "soon"},
            "until: Input should be a valid datetime",
        ),
        (
            {"topic": {"words": 7}, "limits": {}},
            "topic.words: Input should be a valid list (got 7); limits.pages: Field req",
        ),
    ],
)
@database
def test_input_that_does_not_fit_opens_nothing(given, said):
    """The error names every place, what was given there and what would do; no run is opened."""
    with pytest.raises(InputInvalid) as caught:
        typed.start(**given)
    assert said in str(caught.value)
    assert "the input of 'skills.typed' is not right" in str(caught.value)
    assert not Run.objects.exists()


@database
def test_output_is_checked_against_its_type(stage):
    """What the return type does not allow fails the step, with the place."""
    run = wrong.start()
    stage.play(run)
    assert "'skills.wrong' returned what its type does not allow: 1: Input should be a valid integer" in stage.error(
        run
    )
    assert stage.step(run).error["kind"] == "permanent"


@database
def test_output_that_json_carries_stays_what_it_is(stage):
    """A datetime comes back as one, from the run and through `runs.result`."""
    run = moment.start(text="2026-01-01T00:00:00+00:00")
    assert stage.finish(run) == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@database
def test_input_may_be_positional_as_celery_gives_it(stage):
    """`delay` and `start` store the same input."""
    first = bare.delay(1, 2)
    second = bare.start(left=1, right=2)
    inputs = set(Run.objects.filter(pk__in=[first.id, second.id]).values_list("input", flat=True))
    assert len({bytes(one) for one in inputs}) == 1
    assert stage.finish(runs.get(first.id)) == 3


# Options


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"retires": 3}, "@skill has no option 'retires'; did you mean 'retries'?"),
        ({"colour": "red"}, "it knows capability"),
        ({"retries": -1}, "retries is -1"),
        ({"on_failure": "halte"}, "did you mean 'halt'?"),
        ({"on_lost": "keep"}, "not one of release, charge"),
        ({"on_new_version": "parc"}, "did you mean 'park'?"),
        ({"autonomy": "autonomus"}, "did you mean 'autonomous'?"),
        ({"blast_radius": "huge"}, "blast_radius is 'huge'"),
        ({"reserve": {"cost": -1}}, "the cost of 'reserve' is -1; it cannot be less than nothing"),
        ({"reserve": {"money": 1}}, "reserve knows 'cost' and 'tokens', not 'money'"),
        ({"budget": {"tokens": 1.5}}, "the tokens of 'budget' are 1.5"),
        ({"timebox": "soon"}, "timebox is 'soon'"),
        ({"timebox": 0}, "timebox is 0; it lasts longer than nothing"),
        ({"lease": 5}, "lease=5 is shorter than two heartbeats"),
        ({"rate": "fast", "key": "k"}, "write it as '10/s'"),
        ({"rate": "10/s"}, "name it with key="),
        ({"key": "k", "key_limit": 0}, "key_limit is 0"),
        ({"priority": 99999}, "priority is 99999"),
        ({"error_kinds": {"ValueError": "sometimes"}}, "an error's kind is 'sometimes'"),
    ],
)
def test_option_that_makes_no_sense_is_refused_where_the_skill_is_defined(wishes, said):
    """A wrong option never waits for the first run to be found."""
    with pytest.raises(OptionInvalid) as caught:
        skill("skills.never", **wishes)(lambda: 1)
    assert said in str(caught.value)


@database
def test_options_reach_the_step(stage):
    """What the skill says is what its steps keep."""
    step = Step.objects.get(pk=gather.start(number=1).id)
    assert (step.queue, step.priority, step.version) == ("slow", 5, "7")
    assert step.options == {"retries": 2, "timebox": 21600.0}


def test_unknown_skill_is_answered_with_the_nearest_name():
    """A misspelt name is found out before anything is opened."""
    with pytest.raises(SkillUnknown, match=r"no skill named 'skills.typd'; did you mean 'skills.typed'?"):
        runs.start("skills.typd")
    with pytest.raises(OptionInvalid, match="is no skill"):
        runs.start(print)  # type: ignore[arg-type]


# Kinds of skills


def test_skills_of_an_installed_app_are_found(tmp_path, monkeypatch, settings):
    """What stands in `skills.py` of an installed app needs no import of its own, as with Celery's `tasks.py`."""
    (tmp_path / "found_app").mkdir()
    (tmp_path / "found_app" / "__init__.py").touch()
    (tmp_path / "found_app" / "skills.py").write_text('from execution import skill\nskill("found.here")(lambda: 1)\n')
    monkeypatch.syspath_prepend(tmp_path)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "found_app"]
    assert named("found.here").name == "found.here"


def test_bare_skill_is_named_by_its_module():
    """`@skill` without a name is enough."""
    assert named("tests.execution.test_skills.bare").name == bare.name


@database
def test_class_is_a_skill_and_inherits_options(stage):
    """Options come from the class and its bases; each class with work is a skill of its own."""
    run = Greeting.start(who="ann", times=2)
    assert stage.finish(run) == "hello ann hello ann "
    step = stage.step(run)
    assert (step.skill, step.queue, step.priority, step.options["retries"]) == ("skills.greeting", "polite", 3, 5)
    louder = stage.step(Shouting.start(who="bob"))
    assert (louder.skill, louder.options["retries"]) == ("tests.execution.test_skills.Shouting", 1)
    assert not hasattr(Polite, "task")
    with pytest.raises(InputInvalid, match=r"did you mean 'who'\?"):
        Greeting.start(whom="ann")
    assert runs.start(Greeting, {"who": "cyd"}).workflow == "skills.greeting"


@database
def test_async_skill_is_performed(stage):
    """An `async def` runs to its end in the worker."""
    assert stage.finish(gather.start(number=1)) == 2


@database
def test_task_with_the_base_uses_its_context(stage):
    """An existing task made durable has `self.ctx`."""
    run = bound.start(left=2, right=3) if bound.takes_input else runs.start(bound, {"left": 2, "right": 3})
    assert stage.finish(run) == 5
    assert stage.tokens(run) == ["sum"]


def test_lambda_may_be_a_skill():
    """A function without a proper name is one too."""
    assert skill("skills.lambda")(lambda x: x)(x=4) == 4


def test_skill_is_a_task_of_the_same_name():
    """Celery's registry, and so Flower, knows it."""
    assert isinstance(current_app.tasks["skills.typed"], SkillTask)


# Direct calls


@skill("skills.report")
def report(ctx, topic: str, pages: int = 2) -> dict:
    """Use most of the verbs."""
    sources = ctx.once("collect", lambda: [f"{topic}-{page}" for page in range(pages)])
    for page in ctx.each("page", sources):
        with ctx.reserving(cost="0.02"):
            ctx.append("notes", page.upper())
            ctx.spend("page", cost="0.01", tokens=5)
    ctx.save("place", {"pages": pages}, throttle=60)
    ctx.sleep("cool-down", hours=6)
    try:
        ctx.wait_for("veto", timeout="24h")
    except WaitTimeout:
        ctx.log.info("no veto")
    answer = ctx.wait_for("approval")
    receipt = ctx.effect("publish", lambda text, idempotency_key: f"{text} {bool(idempotency_key)}", answer)
    children = [ctx.begin(bare, token=f"n{n}", left=n) for n in range(2)]
    return {
        "notes": list(ctx.items("notes")),
        "receipt": receipt,
        "children": ctx.collect(*children),
        "call": ctx.call("skills.gather", number=1),
        "place": ctx.checkpoint.data,
        "cancelled": ctx.cancelled,
        "signed": "/" in ctx.callback("more"),
    }


def test_direct_call_needs_no_database():
    """In a unit test a skill is a function: sleeps are skipped, waits are answered, and what it did can be looked at."""
    context = PlainContext(signals={"approval": "yes"}, agent="scout")
    assert report(context, topic="tea") == {
        "notes": ["TEA-0", "TEA-1"],
        "receipt": "yes True",
        "children": [1, 2],
        "call": 2,
        "place": {"pages": 2},
        "cancelled": False,
        "signed": True,
    }
    assert context.recorded == {"collect": ["tea-0", "tea-1"]}
    assert context.spent == {"cost": Decimal("0.02"), "tokens": 10}
    assert context.effects == {"publish": "yes True"}
    assert context.agent == "scout"


def test_direct_call_without_an_answer_says_how_to_give_one():
    """A wait that nobody answers does not hang; an exception among the answers is raised."""
    with pytest.raises(NotPossible, match=r"call it with PlainContext\(signals=\{'approval': \.\.\.\}\)"):
        report(topic="tea")
    with pytest.raises(LookupError, match="nobody"):
        report(PlainContext(signals={"approval": LookupError("nobody")}), topic="tea")


def test_direct_call_checks_its_input_and_output():
    """What a run would refuse, a direct call refuses."""
    with pytest.raises(InputInvalid):
        report(topic="tea", pages="many")
    with pytest.raises(OutputInvalid):
        wrong()
    assert bare(1, right=2) == 3


async def _answer():
    return await gather(number=1)


def test_direct_call_of_an_async_skill_in_a_running_loop_is_awaited():
    """In an async test the call is awaited; elsewhere it runs to its end."""
    import asyncio

    assert asyncio.run(_answer()) == 2
    assert gather(number=2) == 3
