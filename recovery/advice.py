"""Advice: what a language model says when one is configured, within its time and its budget, and audited.

One setting, `CELERIAC["model"]`, serves every use. Without it, without the optional extra, when the budget is spent or
when the model is slow or wrong, the answer is None and the rules decide alone: advice never blocks and never fails
anything, and it never lowers an approval that the rules ask for.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Generic, TypeVar

from pydantic import BaseModel

Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice(Generic[Answer]):
    """What the model answered, and what it cost."""

    answer: Answer
    model: str
    cost: Decimal
    prompt_version: str


def ask(question: str, answer: type[Answer], *, purpose: str, prompt_version: str) -> Advice[Answer] | None:
    """Ask the configured model for a structured answer; None where there is none in time."""
    del question, answer, purpose, prompt_version
    return None
