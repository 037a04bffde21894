"""What a definition is checked against beyond itself: the skills and the other workflows that are known here.

Nothing has to be known. A definition can be read where its skills are not installed; then their names, their inputs
and the fields of what they return are taken as they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from execution.workflows.shapes import ANYTHING, Shape

if TYPE_CHECKING:
    from execution.workflows.spec import Definition


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillKnown:
    """A skill as a definition sees it: what it takes, and the shape of what it returns."""

    parameters: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()
    takes_any: bool = False
    result: Shape = ANYTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The skills and workflows that are known; `skills` is None where nobody has asked for them."""

    skills: Mapping[str, SkillKnown] | None = None
    workflows: Mapping[str, Definition] = field(default_factory=dict)


def of_this_process(workflows: Mapping[str, Definition] | None = None) -> Known:
    """Return what this process knows: every skill of the installed apps; a configured Django is needed."""
    from execution import skills

    found = {name: skill_of(task) for name, task in skills.all_skills().items()}
    return Known(skills=found, workflows=workflows or {})


def skill_of(task: Any) -> SkillKnown:
    """Return what a skill's signature and hints say."""
    signature = task.takes_input if task.takes_input is not None else inspect.signature(task.run)
    parameters = list(signature.parameters.values())
    named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    return SkillKnown(
        parameters=tuple(one.name for one in named),
        wanted=tuple(one.name for one in named if one.default is one.empty),
        takes_any=any(one.kind is one.VAR_KEYWORD for one in parameters),
        result=Shape.of(task.types.output_schema()),
    )
