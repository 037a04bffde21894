"""What the newspaper's agents can do: what is quick, slow, dear, dangerous, and what they may not do unasked."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from execution import records, sessions, skill
from execution.context import Context
from execution.models import Agent

SUPPLIER = "example/supplier"
"""The session that began when the paper supplier went away."""
AWAY = timedelta(minutes=6)
PAGE_COST = Decimal("0.02")


class SupplierAway(ConnectionError):
    """The paper supplier does not answer."""


@skill("example.gather", calls=["example-archive"], reserve={"cost": "0.05"}, capability="read")  # type: ignore[untyped-decorator]
def gather(ctx: Context, topic: str, pages: int = 8) -> list[str]:
    """Read some pages about a topic; each is paid for once."""
    for page in ctx.each("page", range(1, pages + 1)):
        with ctx.reserving(cost=PAGE_COST):
            time.sleep(0.25)
            ctx.append("notes", f"{topic}, page {page}: {_sentence(topic, page)}")
        ctx.spend("reading", cost=PAGE_COST, tokens=420)
    return [str(note) for note in ctx.items("notes")]


@skill("example.write", reserve={"cost": "0.20"}, capability="write")  # type: ignore[untyped-decorator]
def write(ctx: Context, notes: list[Any]) -> dict[str, Any]:
    """Write an article of what was gathered."""
    text = ctx.once("draft", _draft, notes)
    ctx.spend("draft", cost="0.12", tokens=2600)
    return {"title": text[:60], "words": len(text.split()), "text": text}


@skill("example.print", calls=["example-press"], capability="print")  # type: ignore[untyped-decorator]
def print_edition(ctx: Context, articles: list[Any], copies: int) -> str:
    """Print an edition: that must not happen twice."""
    return str(ctx.effect("print", lambda: f"{copies} copies of {len(articles)} articles"))


@skill("example.ask_supplier", calls=["example-supplier"], retries=1, breaker="", capability="buy")  # type: ignore[untyped-decorator]
def ask_supplier(ctx: Context, reams: int) -> str:
    """Ask the supplier for paper, who is away for the example's first minutes."""
    if timezone.now() < sessions.get(SUPPLIER).opened_at + AWAY:
        raise SupplierAway("the paper supplier does not answer")
    return ctx.once("order", lambda: f"{reams} reams are on their way")


@skill("example.pay_supplier", calls=["example-supplier"], capability="buy")  # type: ignore[untyped-decorator]
def pay_supplier(ctx: Context, amount: str) -> str:
    """Pay the supplier; the line breaks while the bank answers, so that only a person can say whether it was paid."""
    return str(ctx.effect("pay", _pay, amount, on_unknown="ask"))


@skill("example.translate", reserve={"cost": "0.10"}, capability="write")  # type: ignore[untyped-decorator]
def translate(ctx: Context, chapters: int) -> int:
    """Translate a book of so many chapters, each of which costs a tenth: the budget ends before the book."""
    for chapter in ctx.each("chapter", range(1, chapters + 1)):
        with ctx.reserving(cost="0.10"):
            time.sleep(0.2)
            ctx.append("chapters", f"chapter {chapter}")
        ctx.spend("translation", cost="0.10", tokens=3100)
    return chapters


@skill("example.sort_letter", retries=0, capability="read")  # type: ignore[untyped-decorator]
def sort_letter(number: int) -> str:
    """Sort one of the readers' letters; one in forty cannot be read."""
    time.sleep(0.05)
    if number % 40 == 0:
        raise ValueError(f"letter {number} cannot be read")
    return ("praise", "complaint", "question")[number % 3]


@skill("example.rewrite_archive", autonomy="autonomous", capability="archive")  # type: ignore[untyped-decorator]
def rewrite_archive(year: int) -> str:
    """Rewrite a year of the archive, which its agent may not do without being asked."""
    return f"{year} is rewritten"


@skill("example.review", autonomy="observer", capability="review")  # type: ignore[untyped-decorator]
def review(ctx: Context, count: int, seed: int) -> int:
    """Judge letters to the editor; what became of each verdict is said by the readers afterwards."""
    chance = random.Random(seed)  # noqa: S311 - the example is the same each time
    readers = Agent.objects.get(name="example-readers")
    for number in ctx.each("letter", range(count)):
        verdict = records.judge(
            "review",
            subject=f"letter:{seed}-{number}",
            action="approve",
            producer="example.review",
            confidence=0.9,
            reasoning="polite, and about the paper",
            run=ctx.run_id,
            step=ctx.step_id,
            agent=Agent.objects.get(name=ctx.agent),
        )
        records.judge(
            "outcome",
            subject=verdict.subject,
            action="approve",
            producer="readers",
            outcome_of=verdict,
            outcome=0.0 if chance.random() < 0.02 else 1.0,
            agent=readers,
        )
    return count


@skill("example.watch_the_night", timebox="12h")  # type: ignore[untyped-decorator]
def watch_the_night(ctx: Context, hours: int = 8) -> int:
    """Look out of the window once an hour, and sleep in between without holding a worker."""
    for hour in range(hours):
        ctx.once(f"look-{hour}", lambda: "all quiet")
        ctx.sleep(f"hour-{hour}", hours=1)
    return hours


def _pay(amount: str, idempotency_key: str) -> str:
    raise TimeoutError(f"the line broke while {amount} were paid under {idempotency_key[:8]}")


def _draft(notes: list[Any]) -> str:
    time.sleep(0.5)
    return " ".join(str(note) for note in notes)


def _sentence(topic: str, page: int) -> str:
    return ("it grows", "it was seen", "nobody knows", "experts agree")[(len(topic) + page) % 4]
