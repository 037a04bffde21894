"""Bad input: each mistake is answered at the earliest place, with what it was, where, and what to do."""

import copy
import datetime as dt
import inspect
import pickle
import time
import uuid

import pytest
from celery import current_app
from django.db import DataError, connections

from execution import exceptions, ledger, openings, runs, skills
from execution.exceptions import (
    AgentUnknown,
    BudgetTooSmall,
    InputInvalid,
    LedgerAway,
    NotJson,
    OptionInvalid,
    SkillUnknown,
    ValueTooLarge,
)
from execution.models import Agent, Blob, Event, Run, Step
from execution.skills import skill

pytestmark = pytest.mark.django_db(transaction=True)


@skill("bad.costly", reserve={"cost": "2.00", "tokens": 100})
def costly(ctx, value: object = None) -> object:
    """Return what came in."""
    return value


@skill("bad.plain")
def plain(ctx, value=None):
    """Return what came in."""
    return value


NAIVE = dt.datetime(2030, 1, 1)  # noqa: DTZ001 - the mistake


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"agent": "scuot"}, AgentUnknown, "there is no agent named 'scuot'; did you mean 'scout'?"),
        ({"agent": "nobody like it"}, AgentUnknown, "create it in the admin"),
        ({"budget": "1.00"}, BudgetTooSmall, "is below the 2.000000 that 'bad.costly' reserves for one attempt"),
        ({"budget": {"tokens": 5}}, BudgetTooSmall, "the budget of 5 tokens is below the 100"),
        ({"budget": -1}, OptionInvalid, "the cost of 'a budget' is -1; it cannot be less than nothing"),
        ({"budget": {"tokens": -1}}, OptionInvalid, "the tokens of 'a budget' are -1"),
        ({"budget": "lots"}, OptionInvalid, "write a number, or text such as '0.02'"),
        ({"budget": {"euros": 5}}, OptionInvalid, "a budget knows 'cost' and 'tokens', not 'euros'"),
        ({"budget": "1e20"}, OptionInvalid, "the ledger counts to"),
        ({"start_at": NAIVE}, OptionInvalid, "start_at is .*, which has no time zone; use django.utils.timezone"),
        ({"start_at": "tomorrow"}, OptionInvalid, "start_at is 'tomorrow'; it is a datetime with a time zone"),
        ({"deadline": NAIVE}, OptionInvalid, "deadline is .*, which has no time zone"),
        ({"deadline": "soon"}, OptionInvalid, "deadline is 'soon'; write seconds"),
        ({"priority": 40000}, OptionInvalid, "priority is 40000; it lies between"),
        ({"priority": "high"}, OptionInvalid, "priority is 'high'"),
        ({"queue": "q" * 201}, OptionInvalid, "queue has 201 characters, 200 at most"),
        ({"tags": "one"}, OptionInvalid, r"tags is 'one'; write a list, such as \['one'\]"),
        ({"tags": None}, OptionInvalid, r"tags is None; write a list, such as \['weekly'\]"),
        ({"run_id": "abc"}, OptionInvalid, "run_id is 'abc'; it is a UUID"),
        ({"deadline": 0}, OptionInvalid, "deadline is 0; it lasts longer than nothing"),
        ({"deadline": 10**15}, OptionInvalid, "fifty years are the longest"),
        ({"agent": Agent(name="ann")}, AgentUnknown, "there is no agent named 'ann'"),
        ({"tags": ["t" * 101]}, OptionInvalid, "a tag has 101 characters"),
        ({"correlation_id": "c" * 256}, OptionInvalid, "correlation_id has 256 characters"),
        ({"correlation_id": 7}, OptionInvalid, "correlation_id is 7; it is text"),
        ({"key": "k" * 256}, OptionInvalid, r"runs.key_of\(...\) makes a short one"),
        ({"key": 7}, OptionInvalid, "an idempotency key is text"),
        ({"key": ""}, OptionInvalid, "an idempotency key is text"),
        ({"buget": 5}, OptionInvalid, "runs.start has no option 'buget'; did you mean 'budget'?"),
        ({"colour": 5}, OptionInvalid, "it knows agent, budget"),
    ],
)
def test_start_with_a_wrong_option_opens_nothing(options, error, said):
    """Each option is checked before anything is written."""
    Agent.objects.create(name="scout")
    with pytest.raises(error, match=said):
        runs.start(costly, **options)
    assert not Run.objects.exists()
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (
            {"a": [object()]},
            NotJson,
            r"the input of 'bad.plain'\['kwargs'\]\['value'\]\['a'\]\[0\] cannot be stored as JSON",
        ),
        (float("nan"), NotJson, r"\['value'\] cannot be stored as JSON: float"),
        ("x" * 3000, ValueTooLarge, "the input of 'bad.plain' has 3,033 bytes, more than the 2,000"),
    ],
)
def test_start_with_input_that_cannot_be_stored_opens_nothing(settings, value, error, said):
    """The path of what is not JSON, the size of what is too large."""
    settings.CELERIAC = settings.CELERIAC | {"max_value_bytes": 2000}
    with pytest.raises(error, match=said):
        plain.start(value=value)
    assert not Run.objects.exists()
    assert not Blob.objects.exists()


@pytest.mark.parametrize("given", [["value"], "value", 7])
def test_start_with_input_that_is_no_mapping_opens_nothing(given):
    """What is given by place and not by name is refused with what it was."""
    with pytest.raises(InputInvalid, match="it is a mapping of parameters to values, not "):
        runs.start(plain, given)
    with pytest.raises(InputInvalid, match="it is a mapping of parameters to values, not "):
        runs.start_many(plain, [{}, given])
    with pytest.raises(InputInvalid, match="keywords must be strings; it takes"):
        runs.start(plain, {1: "one"})
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retries": "3"}, "retries is '3'; it counts the tries after the first, so 0 or more"),
        ({"breaker_threshold": 0}, "breaker_threshold is 0; it counts failures in a row, so 1 or more"),
        ({"key": "k", "key_limit": 2**31}, "it counts steps at once, so 1 or more, below"),
        ({"key": "k", "rate": "0/s"}, "rate is '0/s'; write it as '10/s'"),
        ({"key": "k" * 201}, "key has 201 characters, 200 at most"),
        ({"breaker": 5}, "breaker is 5; it is text"),
        ({"version": 5}, "version is 5; it is text"),
        ({"version": "v" * 101}, "version has 101 characters, 100 at most"),
        ({"capability": "nul \0"}, "it is text"),
        ({"lease": 10**12}, "lease is 1000000000000; fifty years are the longest"),
        ({"priority": "high"}, "priority is 'high'; it lies between"),
        ({"on_failure": 5}, "on_failure is 5, not one of halt, continue"),
    ],
)
def test_skill_with_a_wrong_option_is_never_defined(options, said):
    """An option that no run could be opened with is refused where it is written."""
    with pytest.raises(OptionInvalid, match=said):
        skill("bad.never", **options)(lambda ctx: 1)
    assert "bad.never" not in current_app.tasks


@pytest.mark.parametrize(
    ("name", "said"),
    [("", "0 characters, 1 at least"), ("s" * 201, "200 at most"), ("a\0b", "it is text"), (5, "is 5; it is text")],
)
def test_skill_with_a_wrong_name_is_never_defined(name, said):
    """A name that the ledger cannot hold is refused where it is written."""
    with pytest.raises(OptionInvalid, match=said):
        skill(name)(lambda ctx: 1)


def test_generator_is_no_skill():
    """A function that yields would end at once with nothing done: it is refused where it is written."""

    def pages(ctx):
        yield 1

    with pytest.raises(OptionInvalid, match="'bad.pages' is a generator, .* record each part with ctx.append"):
        skill("bad.pages")(pages)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda: object(), "NotJson: what 'stage."),  # noqa: PLW0108 - made when it is called
        (lambda: {"a": float("inf")}, "['a'] cannot be stored as JSON"),
        (lambda: "x" * 3000, "more than the 2,000 that the ledger takes"),
    ],
)
def test_output_that_cannot_be_stored_fails_the_step_for_good(stage, settings, returned, said):
    """The step fails with what it was, and is not tried again."""
    settings.CELERIAC = settings.CELERIAC | {"max_value_bytes": 2000}
    run = stage.open(lambda ctx: ctx.once("before", lambda: 1) and returned(), options={"retries": 3})
    assert stage.play(run).state == "failed"
    assert said in stage.error(run)
    assert stage.step(run).error["kind"] == "permanent"
    assert stage.tokens(run) == ["before"]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("nul \0 and half \ud800 a character", "\0", {"a": uuid.UUID(int=1)}),
        KeyError(("a", object())),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
        exceptions.ChildFailed(uuid.UUID(int=1), "failed", {"message": "x"}),
    ],
)
def test_error_with_odd_arguments_still_ends_the_step(stage, error):
    """Whatever an exception holds, the step ends as failed; it never stays running."""

    def work(ctx):
        raise error

    run = stage.open(work)
    assert stage.play(run).state == "failed"
    assert stage.step(run).error["type"] == type(error).__name__


def test_error_that_cannot_say_its_message_still_ends_the_step(stage):
    """Neither does one whose own `__str__` raises."""

    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    def work(ctx):
        raise Mute

    run = stage.open(work)
    assert stage.play(run).state == "failed"


def test_message_from_elsewhere_with_wrong_arguments_is_a_failed_run(stage):
    """What another producer sends is adopted even where its arguments do not fit: it fails in sight."""
    from celery.app.trace import build_tracer

    from execution import performing

    task = skills.named("bad.costly")
    if task._tracer is None:
        task.__trace__ = build_tracer(task.name, task, app=current_app._get_current_object())
    task_id = str(uuid.uuid4())
    performing.answer(task, task_id, [1, 2, 3], {"what": 4}, {"id": task_id, "task": task.name})
    run = Run.objects.get(pk=task_id)
    assert run.state == "failed"
    assert Step.objects.get(pk=task_id).error["type"] == "InputInvalid"


def test_skill_that_is_not_in_this_worker_fails_with_its_name(stage):
    """A step whose skill was removed or renamed says which name is missing, and a retry goes on when it is back."""
    run = stage.open(lambda: 1)
    Step.objects.filter(pk=run.id).update(skill="bad.gone")
    task = skills.named("bad.plain")
    from celery.app.trace import build_tracer

    from execution import performing

    if task._tracer is None:
        task.__trace__ = build_tracer(task.name, task, app=current_app._get_current_object())
    performing.answer(task, str(run.id), [], {}, {performing.HEADER: 1})
    assert stage.error(run).startswith("SkillUnknown: there is no skill named 'bad.gone'")


def test_fallback_that_does_not_exist_fails_with_its_name(stage):
    """The fallback's name is looked up when it is needed; the error names it."""

    def work(ctx):
        raise ValueError("no")

    run = stage.open(work, options={"fallback": "bad.plian"})
    stage.play(run)
    assert "there is no skill named 'bad.plian'; did you mean 'bad.plain'?" in stage.error(run)


def test_errors_survive_pickle_and_copy():
    """Errors cross processes: each comes back with its sentence and its attributes."""
    made = {
        SkillUnknown: ("a", "b"),
        InputInvalid: ("a", "b"),
        NotJson: ("a", "b"),
        ValueTooLarge: ("a", 1, 2),
        AgentUnknown: ("a", "b"),
        exceptions.KeyReused: ("a", uuid.UUID(int=1)),
        exceptions.RunEnded: (uuid.UUID(int=1), "failed", "be paused"),
        exceptions.SessionUnknown: ("a", "b"),
        exceptions.SessionEnded: (uuid.UUID(int=1), "closed", "take a run"),
        exceptions.SessionChanged: (uuid.UUID(int=1), 1, 2),
        exceptions.RunFailed: (uuid.UUID(int=1), {"type": "X", "message": "y"}),
        exceptions.WaitTimeout: ("a", "2026-01-01"),
        exceptions.ChildFailed: (uuid.UUID(int=1), "failed", {"message": "m"}),
        exceptions.EffectUnknown: ("a",),
        exceptions.Stale: (uuid.UUID(int=1), 3),
        exceptions.ExpressionInvalid: ("a", "b"),
        exceptions.ExpressionFailed: ("a", "b"),
        exceptions.PoisonItem: (7, 3),
        exceptions.WorkflowUnplayable: ("a", "b", "c"),
        exceptions.GateRefused: ("a", "b", "c"),
        exceptions.GateClosed: ("a", "b"),
        exceptions.GateTimedOut: ("a", ["b"], "2 h"),
        exceptions.DefinitionInvalid: (("w.yaml:1:1: a sentence",),),
    }
    for cls in vars(exceptions).values():
        if inspect.isclass(cls) and issubclass(cls, exceptions.CeleriacError):
            error = cls(*made.get(cls, ("a sentence",)))
            for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - our own
                assert type(again) is cls
                assert str(again) == str(error)
                assert vars(again) == vars(error)


# What is away


def test_database_away_at_start_is_one_clear_error(monkeypatch):
    """The error says that nothing was written, and comes in bounded time."""
    plain.start()
    django = connections["default"]
    django.close()
    monkeypatch.setitem(django.settings_dict, "HOST", "/nowhere")
    began = time.monotonic()
    try:
        with pytest.raises(
            LedgerAway, match=r"the database is away, so the ledger cannot open a run of 'bad.plain'; nothing"
        ):
            plain.start()
        with pytest.raises(LedgerAway):
            runs.start_many(plain, [{}])
    finally:
        monkeypatch.undo()
        django.close()
    assert time.monotonic() - began < 10
    assert Run.objects.count() == 1


def test_database_away_in_mid_run_is_waited_for(stage):
    """A connection that the server has ended is replaced; the verb asks again, and nothing is recorded twice."""

    def work(ctx):
        ctx.once("first", lambda: 1)
        pid = ledger.connection().info.backend_pid
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
        ctx.once("second", lambda: 2)
        ctx.append("log", "a", token="a")
        return len(ctx.items("log"))

    run = stage.open(work)
    assert stage.finish(run) == 1
    assert stage.tokens(run) == ["first", "second", "append:log/a"]


def test_database_that_stays_away_gives_up_in_time(settings):
    """A worker's write waits as long as the settings say, and then says so."""
    settings.CELERIAC = settings.CELERIAC | {"database_patience_seconds": 0.2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(connections["default"].settings_dict, "HOST", "/nowhere")
        ledger.close()
        began = time.monotonic()
        with pytest.raises(LedgerAway, match="has been away for 0"):
            ledger.ask("SELECT 1")
        assert time.monotonic() - began < 8


def test_error_of_a_statement_is_not_taken_for_an_absence():
    """Only an absence is called one: other errors of the database come through as they are."""
    with pytest.raises(DataError), openings.reaching("test"):
        ledger.ask_in_transaction("SELECT 1 / 0")
