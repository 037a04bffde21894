"""Actions: what may be done about a failure, each one verb of execution's, performed in the caller's transaction.

`SuggestionAction` rows are templates that name one of these with its parameters; the evaluator weighs the rows, an
operator or a rule decides, and `perform` does it. What is done and what is recorded about it commit together, so that
nothing is done twice. Incidents perform the same actions on services and skills.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from recovery.exceptions import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What an action is done to: a failed run with its step, or a skill, an agent or a service."""

    run_id: uuid.UUID | None = None
    step_id: uuid.UUID | None = None
    agent_id: uuid.UUID | None = None
    skill: str = ""
    service: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What an action did, in words; and the run that carries on, where it is another."""

    text: str
    recovery_run_id: uuid.UUID | None = None
    details: dict[str, Any] = field(default_factory=dict)


Perform = Callable[..., Done]
"""Takes the target, the parameters by name, and `by` and `reason`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One thing that can be done, in code."""

    name: str
    perform: Perform


KNOWN: dict[str, Verb] = {}


def verb(name: str) -> Callable[[Perform], Perform]:
    """Make a function a verb that templates may name."""

    def register(function: Perform) -> Perform:
        KNOWN[name] = Verb(name=name, perform=function)
        return function

    return register


def perform(name: str, target: Target, parameters: dict[str, Any], *, by: str, reason: str = "") -> Done:
    """Do it, in the caller's transaction."""
    known = KNOWN.get(name)
    if known is None:
        raise NotFound("verb", repr(name), f"there are {', '.join(sorted(KNOWN))}")
    return known.perform(target, **parameters, by=by, reason=reason)
