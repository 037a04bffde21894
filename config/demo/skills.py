"""The demo's skills: a book whose chapters are recorded one by one, and what an agent is trusted with step by step."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from config import substrate
from execution import agents, records, skill
from execution.context import Context
from execution.exceptions import Fenced

CHAPTERS = 12
CHAPTER_SECONDS = 0.7


@skill("demo.write_book", retries=0)  # type: ignore[untyped-decorator]
def write_book(ctx: Context, chapters: int = CHAPTERS, seconds: float = CHAPTER_SECONDS) -> list[str]:
    """Write the chapters in order; each that is recorded is never written again."""
    return [_recorded(ctx, number, seconds) for number in range(1, chapters + 1)]


def _recorded(ctx: Context, number: int, seconds: float) -> str:
    try:
        return ctx.once(f"chapter-{number}", write, number, seconds)
    except Fenced:
        ctx.log.warning("demo.refused", chapter=number, epoch=ctx.attempt)
        raise


def write(number: int, seconds: float) -> str:
    """Write one chapter, and note its number where the demo looks for it."""
    if begun().exists():
        with begun().open("a") as book:
            book.write(f"{number}\n")
    time.sleep(seconds)
    return f"chapter {number}, draft {secrets.token_hex(3)}"


def begun() -> Path:
    """Return the file to which each beginning of a chapter adds its number, if it is there."""
    return substrate.addresses().home / "begun"


@skill("demo.review", retries=0, autonomy="observer")  # type: ignore[untyped-decorator]
def review(ctx: Context, documents: int = 20) -> int:
    """Judge so many documents, each once: an observer may give verdicts."""
    for number in range(1, documents + 1):
        ctx.once(f"document-{number}", judge, ctx, number)
    return documents


def judge(ctx: Context, number: int) -> str:
    """Approve one document, in the name of the agent."""
    verdict = records.judge(
        "review",
        subject=f"document:{number}",
        action="approve",
        producer="demo.review",
        confidence=0.9,
        agent=agents.id_of(ctx.agent),
        run=ctx.run_id,
        step=ctx.step_id,
    )
    return str(verdict.id)


@skill("demo.publish", retries=0, autonomy="autonomous")  # type: ignore[untyped-decorator]
def publish(title: str) -> str:
    """Publish something, which wants an agent that is autonomous."""
    return f"{title} is published"
