"""Advice: what a language model says when one is configured, within its time and its budget, and audited.

One setting, `CELERIAC["model"]`, serves every use. Without it, without the optional extra, when the budget is spent or
when the model is slow or wrong, the answer is None and the rules decide alone: advice never blocks and never fails
anything, and it never lowers an approval that the rules ask for.

Money is reserved before a question is asked and settled after it, on a connection of its own: neither waits for the
caller's transaction nor goes back with it. A reservation whose process died counts until the day ends. What a model
says is data: it is read into the type that was asked for, bounded in size, and nothing else is done with it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_UP, Decimal
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Generic, TypeVar

import psycopg
import structlog
from psycopg.types.json import Jsonb
from pydantic import BaseModel

from execution import ledger
from recovery import conf

log = structlog.get_logger(__name__)

LONGEST_QUESTION = 100_000
LONGEST_ANSWER = 64 * 1024
ANSWER_TOKENS = 2000
FAILURES = 5
SILENCE = timedelta(minutes=1)
_BOOKING_SECONDS = 1.0
_CENT = Decimal("0.000001")

Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice(Generic[Answer]):
    """What the model answered, and what it cost."""

    answer: Answer
    model: str
    cost: Decimal
    prompt_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a million tokens cost."""

    question: Decimal
    answer: Decimal

    def of(self, question_tokens: int, answer_tokens: int) -> Decimal:
        """Return what so many tokens cost, rounded up."""
        cost = (self.question * max(question_tokens, 0) + self.answer * max(answer_tokens, 0)) / 1_000_000
        return cost.quantize(_CENT, rounding=ROUND_UP)


FREE = Price(question=Decimal(0), answer=Decimal(0))


def ask(question: str, answer: type[Answer], *, purpose: str, prompt_version: str) -> Advice[Answer] | None:
    """Ask the configured model for a structured answer; None where there is none in time. Nothing is ever raised."""
    if not conf.current().model or not _is_installed():
        return None
    try:
        return _asked(question, answer, {"purpose": purpose, "prompt_version": prompt_version})
    except Exception as problem:  # noqa: BLE001 - advice never fails anything
        log.warning("advice.unavailable", purpose=purpose, error=type(problem).__name__)
        return None


def dearest(question: str, answer: type[BaseModel]) -> Decimal:
    """Return the most that a question can cost, which is what is reserved for it."""
    price = _price(conf.current().model) or FREE
    return price.of(_most_tokens(question[:LONGEST_QUESTION], answer), ANSWER_TOKENS)


def _asked(question: str, answer: type[Answer], about: dict[str, Any]) -> Advice[Answer] | None:
    from recovery import model_wire

    settings, started = conf.current(), time.monotonic()
    about |= {"model": settings.model}
    booking = min(_BOOKING_SECONDS, settings.model_timeout_seconds / 10)
    price, unaskable = _price(settings.model) or FREE, _unaskable(settings)
    question = question[:LONGEST_QUESTION]
    reserved = dearest(question, answer)
    day = _reserve(reserved, about, seconds=booking)
    if day is None:
        return None
    left = settings.model_timeout_seconds - (time.monotonic() - started) - booking
    if unaskable:
        heard: model_wire.Heard[Answer] = model_wire.Heard(problem=unaskable)
    else:
        heard = model_wire.hear(question, answer, settings, seconds=max(left, 0), tokens=ANSWER_TOKENS)
    problem = heard.problem or _unfit(heard.answer)
    cost = reserved if heard.is_unknown else price.of(heard.question_tokens, heard.answer_tokens)
    about |= {"cost": str(cost), "seconds": round(time.monotonic() - started, 3)}
    about |= {"question_tokens": heard.question_tokens, "answer_tokens": heard.answer_tokens}
    _settle(day, reserved, cost, about, problem, seconds=booking)
    if problem or heard.answer is None:
        return None
    return Advice(answer=heard.answer, model=settings.model, cost=cost, prompt_version=about["prompt_version"])


@lru_cache(maxsize=1)
def _is_installed() -> bool:
    return find_spec("pydantic_ai") is not None and find_spec("openai") is not None


def _unaskable(settings: conf.Settings) -> str:
    """Say what is missing before the model could be asked."""
    provider = settings.model.partition(":")[0]
    if provider not in ("openai", settings.model) and not settings.model_base_url:
        return f"the provider {provider!r} is asked by the API of OpenAI: set CELERIAC['model_base_url']"
    if _price(settings.model) is None:
        return "nobody knows its price: set CELERIAC['model_input_price'] and CELERIAC['model_output_price']"
    return ""


def _unfit(answer: BaseModel | None) -> str:
    """Say why an answer of the right type may still not be used."""
    if answer is None:
        return "the model gave no answer"
    try:
        text = answer.model_dump_json()
    except ValueError as problem:
        return f"the answer cannot be written down: {type(problem).__name__}"
    if len(text) > LONGEST_ANSWER:
        return f"the answer has {len(text):,} characters; {LONGEST_ANSWER:,} are the most"
    return "the answer holds the character NUL" if "\\u0000" in text.replace("\\\\", "") else ""


# Money


def _price(model: str) -> Price | None:
    """Return what the settings or the price list say; None where neither knows the model."""
    settings = conf.current()
    if settings.model_input_price >= 0 and settings.model_output_price >= 0:
        return Price(
            question=Decimal(str(settings.model_input_price)), answer=Decimal(str(settings.model_output_price))
        )
    return _listed_price(model)


@lru_cache(maxsize=16)
def _listed_price(model: str) -> Price | None:
    from genai_prices import Usage, calc_price

    provider, _, name = model.partition(":")
    try:
        found = calc_price(Usage(input_tokens=1_000_000, output_tokens=1_000_000), model_ref=name, provider_id=provider)
    except LookupError:
        return None
    return Price(question=found.input_price, answer=found.output_price)


def _most_tokens(question: str, answer: type[BaseModel]) -> int:
    """Return more tokens than a question has: most have four bytes, and two are reckoned here."""
    return (len(question.encode(errors="replace")) + len(str(answer.model_json_schema()))) // 2 + 500


def _reserve(cost: Decimal, about: Mapping[str, Any], *, seconds: float) -> Any:
    """Reserve money of this day and return the day; None where the model is not to be asked."""
    budget = Decimal(str(conf.current().model_daily_budget))
    row = ledger.ask_in_time(
        "SELECT * FROM recovery_reserve_advice_v1(%s, %s, %s, %s)",
        [cost, budget, SILENCE, Jsonb(dict(about))],
        seconds=seconds,
    )[0]
    return row.day if row.verdict == "reserved" else None


def _settle(
    day: Any, reserved: Decimal, cost: Decimal, about: Mapping[str, Any], problem: str, *, seconds: float
) -> None:
    """Book what it has cost, and write the event; where that fails the reservation stands for the cost."""
    data = Jsonb({**about, **({"error": problem} if problem else {})})
    try:
        ledger.ask_in_time(
            "SELECT recovery_settle_advice_v1(%s, %s, %s, %s, %s, %s, %s)",
            [day, reserved, cost, not problem, FAILURES, SILENCE, data],
            seconds=seconds,
        )
    except psycopg.Error as error:
        log.warning("advice.not_booked", error=str(error).strip())
