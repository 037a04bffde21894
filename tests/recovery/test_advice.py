"""Advice: structured, in its time, within its budget, audited; and None for whatever goes wrong."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pydantic_ai.models.openai  # noqa: F401 - its import would count into the time-outs
import pytest
from django.db import transaction
from pydantic import BaseModel, Field

from config import settings as project
from execution import runs
from execution.models import Event, Run
from recovery import advice
from recovery.models import AdviceDay
from tests.advice_skills import asks
from tests.hands import side_by_side
from tests.patience import within
from tests.recovery.model_server import ModelServer

pytestmark = [pytest.mark.django_db(transaction=True)]

KEY = "k-hunter2"
COST = Decimal("0.000900")
"""Of 200 tokens at 2.00 and 50 at 10.00 a million."""


class Suggestion(BaseModel):
    """What is asked for."""

    action: str
    confidence: float = Field(ge=0, le=1)


@pytest.fixture
def model(settings, monkeypatch):
    """Have a model that answers in time, also on a busy machine."""
    made = ModelServer()
    settings.CELERIAC = settings.CELERIAC | {
        "model": "local:tests",
        "model_base_url": made.url,
        "model_timeout_seconds": 20.0,
        "model_input_price": 2.0,
        "model_output_price": 10.0,
    }
    monkeypatch.setenv("CELERIAC_MODEL_KEY", KEY)
    yield made
    made.close()


@pytest.fixture
def since():
    """Remember which events were there before."""
    return Event.objects.order_by("-id").values_list("id", flat=True).first()


def asked(question="What now?"):
    """Ask."""
    return advice.ask(question, Suggestion, purpose="tests", prompt_version="7")


def told(since):
    """Return the events of advice since then."""
    rows = Event.objects.filter(kind__startswith="advice.").order_by("id")
    return list(rows.filter(id__gt=since) if since else rows)


def test_answer(model, since):
    """An answer is of the type that was asked for, with its cost booked and an event that holds no secret."""
    got = asked("Which action?")
    assert got == advice.Advice(
        answer=Suggestion(action="retry", confidence=0.8), model="local:tests", cost=COST, prompt_version="7"
    )
    day = AdviceDay.objects.get()
    assert (day.spent, day.reserved, day.call_count, day.failure_count) == (COST, 0, 1, 0)
    (event,) = told(since)
    assert event.kind == "advice.given"
    assert event.data.items() >= {
        "purpose": "tests", "model": "local:tests", "prompt_version": "7", "cost": str(COST),
        "question_tokens": 200, "answer_tokens": 50,
    }.items()  # fmt: skip
    assert event.data["seconds"] > 0
    assert KEY not in str(event.data)
    (question,) = model.asked
    assert question["headers"]["authorization"] == f"Bearer {KEY}"
    assert question["question"]["messages"][-1]["content"] == "Which action?"


def test_nothing_configured(settings, since):
    """Without the setting the answer is None at once, and nothing is written."""
    settings.CELERIAC = {name: value for name, value in settings.CELERIAC.items() if name != "model"}
    assert asked() is None
    assert told(since) == []
    assert not AdviceDay.objects.exists()


def test_extra_not_installed(model, since, monkeypatch):
    """Without the optional extra it is None as well."""
    monkeypatch.setattr(advice, "_is_installed", lambda: False)
    assert asked() is None
    assert told(since) == []


@pytest.mark.parametrize(
    ("mood", "said"),
    [
        ("fails", "the server answered 500"),
        ("refuses", "the server answered 401"),
        ("babbles", "the answer is no Suggestion"),
        ("is_wrong", "the answer is no Suggestion"),
        ("is_nul", "the answer holds the character NUL"),
        ("is_long", "100,0"),
        ("floods", "the server sent more than"),
        ("packs", "the server sent more than"),
        ("redirects", "the server answered 307"),
        ("cuts", "cut the connection"),
    ],
)
def test_trouble_is_none(model, since, mood, said):
    """Whatever the server does is None and an event in words, without what the server said."""
    model.mood = mood
    assert asked() is None
    (event,) = told(since)
    assert event.kind == "advice.failed"
    assert said in event.data["error"]
    assert KEY not in str(event.data)
    assert AdviceDay.objects.get().reserved == 0
    assert len(model.asked) == 1, "nothing is asked twice"


@within(0.5, busy=10)
@pytest.mark.parametrize("mood", ["hangs", "trickles"])
def test_never_longer_than_the_time_out(model, since, settings, mood, bound):
    """A server that is silent, or sends a byte now and then, holds the caller no longer than the setting says."""
    model.mood = mood
    settings.CELERIAC = settings.CELERIAC | {"model_timeout_seconds": 2.0}
    started = time.monotonic()
    assert asked() is None
    assert time.monotonic() - started < 2.0 + bound
    (event,) = told(since)
    assert event.data["error"] == "no answer within 2 s"
    assert AdviceDay.objects.get().spent > 0, "it may have cost what was reserved"


def test_server_that_is_away(model, since):
    """A server that nobody reaches costs nothing."""
    model.close()
    assert asked() is None
    assert "cannot be reached" in told(since)[0].data["error"]
    assert AdviceDay.objects.get().spent == 0


def test_unknown_usage_costs_what_was_reserved(model):
    """A server that does not say what it used is charged by the reservation."""
    model.usage = None
    assert asked().cost > COST


def test_budget_is_reserved_before(model, settings, since):
    """Calls side by side spend no more than the day's budget, the refused ones ask nothing, and one event says so."""
    settings.CELERIAC = settings.CELERIAC | {"model_daily_budget": 0.06}
    answers = side_by_side(*[asked] * 6)
    day = AdviceDay.objects.get()
    assert 0 < len(model.asked) == sum(1 for one in answers if one) < 6
    assert (day.reserved, day.spent) == (0, COST * len(model.asked))
    settings.CELERIAC = settings.CELERIAC | {"model_daily_budget": 0.0001}
    AdviceDay.objects.update(refused_count=0)
    assert asked() is None
    assert asked() is None
    refusals = [one for one in told(since) if "the day's budget of 0.0001" in one.data.get("error", "")]
    assert len(refusals) == 1


def test_yesterdays_budget_is_over(model, settings):
    """What an earlier day spent, or reserved in a process that died, does not count today."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    AdviceDay.objects.create(day=yesterday, spent=100, reserved=100)
    assert asked() is not None


def test_breaker(model, since):
    """After five failures in a row it is not asked for a minute; then one asks, and its success ends the silence."""
    model.mood = "fails"
    assert [asked() for _ in range(7)] == [None] * 7
    assert len(model.asked) == 5
    assert told(since)[-1].data["silent_until"]
    model.mood = ""
    assert asked() is None
    AdviceDay.objects.update(silent_until=datetime.now(UTC) - timedelta(seconds=1))
    assert asked() is not None
    assert asked() is not None
    assert AdviceDay.objects.get().failures_in_row == 0


def test_one_asks_after_a_silence(model, settings):
    """While the one that asks after a silence waits for its answer, the others are told nothing."""
    model.mood = "hangs"
    settings.CELERIAC = settings.CELERIAC | {"model_timeout_seconds": 2.0}
    AdviceDay.objects.create(day=datetime.now(UTC).date(), failures_in_row=5, silent_until=datetime.now(UTC))
    assert side_by_side(*[asked] * 4) == [None] * 4
    assert len(model.asked) == 1


def test_unknown_price(model, settings, since):
    """A model whose price nobody knows is not asked: its budget could not be kept."""
    settings.CELERIAC = settings.CELERIAC | {"model_input_price": -1.0}
    assert asked() is None
    assert "nobody knows its price" in told(since)[0].data["error"]
    assert model.asked == []


def test_listed_price():
    """The price list of the extra knows the usual models."""
    assert advice._listed_price("openai:gpt-4o").of(1000, 1000) > 0
    assert advice._listed_price("openai:nobody-knows-it") is None


def test_provider_without_address(model, settings, since):
    """The key of another provider is never sent to OpenAI."""
    settings.CELERIAC = settings.CELERIAC | {"model_base_url": ""}
    assert asked() is None
    assert "set CELERIAC['model_base_url']" in told(since)[0].data["error"]


def test_inside_a_transaction_and_a_loop(model):
    """A caller's transaction does not take the booking back, and a running event loop is no obstacle."""

    async def within():
        return asked()

    with transaction.atomic():
        assert asked() is not None
        transaction.set_rollback(True)
    assert AdviceDay.objects.get().spent == COST
    assert asyncio.run(within()).answer == Suggestion(action="retry", confidence=0.8)


@pytest.mark.slow
def test_in_pool_processes(model, workers, eventually):
    """Forked pool processes ask side by side, each more than once, after their parent has imported everything."""
    environment = {
        "CELERIAC_MODEL": "local:tests", "CELERIAC_MODEL_BASE_URL": model.url, "CELERIAC_MODEL_TIMEOUT_SECONDS": "20",
        "CELERIAC_MODEL_INPUT_PRICE": "2.0", "CELERIAC_MODEL_OUTPUT_PRICE": "10.0",
    }  # fmt: skip
    started = [asks.start(count=2) for _ in range(4)]
    workers(skills="tests.advice_skills", concurrency=2, environment=environment)
    eventually(lambda: Run.objects.ended().count() == 4, timeout=60)
    assert [runs.result(run) for run in started] == [["retry", "retry"]] * 4
    assert AdviceDay.objects.get().spent == COST * 8


def test_question_is_bounded(model):
    """A question that is too long is cut, so that its cost has a bound."""
    assert asked("x" * 200_000) is not None
    assert len(model.asked[0]["question"]["messages"][-1]["content"]) == advice.LONGEST_QUESTION


def test_database_that_refuses(model, monkeypatch):
    """Trouble with the books is None as well: nothing is spent that is not reserved."""
    monkeypatch.setattr(advice, "_reserve", lambda *_, **__: 1 / 0)
    assert asked() is None
    assert model.asked == []


def test_key_is_no_option(monkeypatch):
    """The variable that holds the model's key does not become a setting."""
    monkeypatch.setenv("CELERIAC_MODEL_KEY", KEY)
    assert KEY not in str(project.celeriac_options())
