"""Skills that the tests' workers perform."""

from __future__ import annotations

from celery import shared_task

from execution.skills import SkillTask, skill


@skill("tests.add")
def add(ctx, left: int, right: int = 0) -> int:
    """Add two numbers."""
    return left + right


@skill("tests.steps")
def steps(ctx, count: int) -> int:
    """Record a number of steps."""
    return sum(ctx.once(f"step-{number}", lambda value: value, number) for number in range(count))


@shared_task(base=SkillTask, bind=True, name="tests.plain")
def plain(self, left, right):
    """An existing task made durable."""
    return left + right


@skill("tests.total")
def total(ctx, numbers: list[int]) -> int:
    """Add numbers up."""
    return sum(numbers)
