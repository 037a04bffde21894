"""A skill that asks the configured model."""

from __future__ import annotations

from pydantic import BaseModel

from execution.skills import skill
from recovery import advice


class Suggestion(BaseModel):
    """What is asked for."""

    action: str
    confidence: float


@skill("advice.asks", retries=0, breaker="")
def asks(ctx, count: int = 2) -> list:
    """Ask several times in one process."""
    asked = [advice.ask(str(n), Suggestion, purpose="skill", prompt_version="1") for n in range(count)]
    return [one.answer.action if one else None for one in asked]
