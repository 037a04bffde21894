"""Summaries: what happened in a window, in words, by the configured model within its seconds, or by a template.

A summary is made outside of any transaction and holds nothing up: a model that is slow, wrong or away is not waited
for, and the template says what is known.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django.db import connections
from pydantic import BaseModel, Field

from execution import ledger, words
from recovery import advice, conf
from recovery.models import Window

PROMPT_VERSION = "1"
_SECONDS = 5.0
_SAID_MOST = 2000
_WORDS = {"retrying": "retried", "version_changed": "changed"}


class Summary(BaseModel):
    """What a model is asked for."""

    text: str = Field(min_length=1, max_length=_SAID_MOST, description="What happened, in at most five sentences.")


def of(window: Window) -> tuple[str, str]:
    """Return a window's story, and who tells it: a model, or the template."""
    told = template(window)
    if conf.current().model:
        found = _within(_SECONDS, lambda: _asked(told, window))
        if found is not None:
            return found.answer.text, found.model
    return told, "template"


def template(window: Window) -> str:
    """Return what is known of a window, in words."""
    affected: list[dict[str, Any]] = window.details.get("affected", [])
    names = [one["node"] for one in affected] or list(window.services)
    lasted = words.length(window.last_at - window.started_at)
    lines = [
        f"{_counts(window)} within {lasted}; severity {window.severity}.",
        f"It begins with {names[0]}" + (f" and reaches {words.listed(names[1:])}." if names[1:] else "."),
    ]
    errors = sorted(window.details.get("errors", {}).items(), key=lambda one: -one[1]["count"])
    for key, found in errors[:2]:
        skill, kind, name = key.split("|")
        said = words.one_line(found["message"])
        lines.append(f"{skill} failed {words.counted(found['count'], 'time')} by {name} ({kind}): {said}")
    suspects = window.details.get("suspects", [])
    if suspects:
        lines.append(f"Changed before: {words.listed([one['text'] for one in suspects], 3)}.")
    return "\n".join(lines)


def _counts(window: Window) -> str:
    found = sorted(window.counts.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(words.counted(count, _noun(kind)) for kind, count in found)


def _noun(kind: str) -> str:
    """Return what a kind of event is called: `failed run`, `opened breaker`, `quality_breach verdict`."""
    subject, _, word = kind.partition(".")
    return f"{_WORDS.get(word, word)} {subject}"


def _asked(told: str, window: Window) -> advice.Advice[Summary] | None:
    question = (
        "Summarise for an operator what went wrong together in a system, and what probably caused it. "
        f"What was measured:\n{told}\nNodes, upstream first: {window.details.get('affected', [])}\n"
        f"Changes before: {window.details.get('suspects', [])}"
    )
    return advice.ask(question, Summary, purpose="correlation.summary", prompt_version=PROMPT_VERSION)


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """Return what a call returns, or None when it fails or takes longer; then it is left alone."""
    found: list[Any] = []

    def work() -> None:
        try:
            found.append(call())
        except Exception:  # noqa: BLE001 - the template speaks where the model does not
            found.append(None)
        finally:
            ledger.close()
            connections.close_all()

    thread = threading.Thread(target=work, name="celeriac-summary", daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else None
