"""The skills under test."""

from __future__ import annotations

import time
from typing import Any

from benchmarks import tally
from execution.skills import skill

KILOBYTE = "x" * 1024


@skill("bench.work", retries=0)
def work(number: int) -> None:  # noqa: ARG001 - every contender's job takes one
    """Do what every contender's job does."""
    tally.add()


@skill("bench.report", retries=0)
def report(ctx: Any, count: int) -> float:
    """Record so many steps of 1 KB; return how long it took."""
    for number in range(50):
        ctx.once(f"warm-{number}", lambda: KILOBYTE)
    began = time.perf_counter()
    for number in range(count):
        ctx.once(f"step-{number}", lambda: KILOBYTE)
    return time.perf_counter() - began


@skill("bench.first-line", retries=0)
def first_line() -> float:
    """Return the moment at which the skill's first line ran, by the clock that all processes share."""
    return time.monotonic()


@skill("bench.checkpoints", retries=0)
def checkpoints(ctx: Any, size: int, count: int) -> list[float]:
    """Save so many checkpoints of a size; return the milliseconds that each took."""
    data = document(size)
    taken = []
    for number in range(count + 20):
        began = time.perf_counter()
        ctx.save(f"page-{number}", data)
        taken.append((time.perf_counter() - began) * 1000)
    return taken[20:]


@skill("bench.conversation", retries=0)
def conversation(ctx: Any, count: int) -> dict[str, float]:
    """Append so many messages, then be put to sleep; on waking return how long it took to have them again."""
    began = time.perf_counter()
    messages = ctx.items("messages")
    opened = time.perf_counter() - began
    last = [messages[-number] for number in range(1, min(20, len(messages)) + 1)]
    resumed = time.perf_counter() - began
    every = list(messages)
    read_all = time.perf_counter() - began
    size = 0
    for number in ctx.each("message", range(count)):
        text = message(number)
        size += len(text.encode())
        ctx.append("messages", {"role": "assistant" if number % 2 else "user", "content": text})
    ctx.sleep("pause", seconds=0.1)
    return {
        "opened_ms": opened * 1000, "resumed_ms": resumed * 1000, "read_all_ms": read_all * 1000,
        "messages": len(every), "last": len(last), "size": size,
    }  # fmt: skip


TEXT = (
    "the run was parked because its budget had been reached and an operator raised it after reading what "
    "the agent had written so far about durable execution queues leases epochs fences checkpoints timers "
    "signals effects receipts workers brokers ledgers and the long patience that work of many hours asks "
    "of everybody who takes part in it"
)
WORDS = TEXT.split()


def message(number: int, size: int = 4096) -> str:
    """Return English-like text of about this size, different for each number."""
    state = number * 2654435761 % 2**32
    parts: list[str] = []
    length = 0
    while length < size:
        state = (state * 1103515245 + 12345) % 2**31
        word = WORDS[state % len(WORDS)]
        parts.append(word)
        length += len(word) + 1
    return " ".join(parts)[:size]


def document(size: int) -> dict[str, Any]:
    """Return a JSON document of about this size, as an agent would save it."""
    pages = max(1, size // 1024)
    return {"cursor": 17, "pages": [message(number, size // pages - 20) for number in range(pages)]}


@skill("bench.link", retries=0)
def link(number: int) -> int:
    """Be one link of a chain."""
    return number + 1


@skill("bench.numbers", retries=0)
def numbers(count: int) -> list[int]:
    """Return the numbers below a count."""
    return list(range(count))


@skill("bench.save-often", retries=0)
def save_often(ctx: Any) -> None:
    """Save a checkpoint every few milliseconds, until it is cancelled."""
    while True:
        ctx.save("page", {"at": time.monotonic()})
        time.sleep(0.01)
