"""What a run asks of a person now: each thing that it waits for, with the buttons of those who may do it.

A button stands here only where it can succeed: the run's state, the reader's permission and a gate's names allow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from execution.models import Effect, EffectState, Run, Waiting
from execution.room.doing import Button, address
from execution.room.runverbs import OPERATE
from execution.why import Explanation, Reason
from execution.workflows import gates


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One reason why a run has not ended, and what can be done about it here and on the command line."""

    reason: Reason
    step_url: str
    buttons: list[Button] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    moves: list[str] = field(default_factory=list)


def asks(run: Run, explanation: Explanation, effects: Sequence[Effect], user: Any) -> list[Ask]:
    """Return what a run waits for, with what the reader can do about each."""
    may = user.has_perm(OPERATE)
    return [
        Ask(
            reason=reason,
            step_url=reverse("admin:execution_step_change", args=[reason.step_id]),
            buttons=_buttons(run, reason, effects, user) if may else [],
            commands=[move for move in reason.moves if move.startswith("manage.py")] if may else [],
            moves=[move for move in reason.moves if not move.startswith("manage.py")],
        )
        for reason in explanation.reasons
    ]


def _url(run: Run, verb: str, **about: Any) -> str:
    return f"{address(run, verb)}?{urlencode(about)}" if about else address(run, verb)


def _buttons(run: Run, reason: Reason, effects: Sequence[Effect], user: Any) -> list[Button]:
    facts = reason.facts
    if "gate" in facts:
        return _of_gate(run, reason, user)
    if "signals" in facts and reason.state == "waiting":
        return [
            Button(title=f"Answer {name}", url=_url(run, "answer", signal=name), look="is-main")
            for name in facts["signals"]
        ]
    if reason.waiting == Waiting.EFFECT:
        unknown = [one for one in effects if one.step_id == reason.step_id and one.state == EffectState.INTENDED]
        return [Button(title="Decide", url=_url(run, "decide", effect=one.id), look="is-main") for one in unknown]
    if reason.waiting == Waiting.BUDGET and facts.get("run_missing") is not None:
        cost, tokens = facts["run_missing"]
        return [Button(title="Top up", url=_url(run, "top-up", cost=cost, tokens=tokens), look="is-main")]
    if reason.waiting == Waiting.AUTONOMY:
        return [Button(title="Approve this once", url=_url(run, "approve"), look="is-main")]
    return []


def _of_gate(run: Run, reason: Reason, user: Any) -> list[Button]:
    if not gates.may_decide(reason.facts["who"], user.get_username()):
        return []
    gate = reason.facts["gate"]
    return [
        Button(title="Approve", url=_url(run, "approve", gate=gate), look="is-main"),
        Button(title="Refuse", url=_url(run, "refuse", gate=gate)),
    ]
