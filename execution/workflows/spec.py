"""A workflow's definition: its inputs, steps, phases and outputs, as frozen models that are whole or are refused.

The same definition is written in YAML (`reading.py`) or made here: `Definition(name=..., steps={"extract":
Step(...)})`. A definition that exists has been checked: its expressions name what is there, and its steps have an
order. Names of steps are snake_case, so that `steps.extract_blocks.path` is an expression; names of workflows are
kebab-case.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from itertools import islice
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    PlainValidator,
    model_validator,
)

from execution.exceptions import InputInvalid
from execution.workflows import fields
from execution.workflows.expressions import nearest
from execution.workflows.fields import (
    Amount,
    Condition,
    Few,
    Length,
    LengthOrExpression,
    ListOrExpression,
    Name,
    OneExpression,
    StepName,
    problems_raised,
)

KINDS = ("skill", "gate", "sleep", "workflow")
INPUT_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float, Decimal),
    "boolean": (bool,),
    "list": (list, tuple),
    "object": (dict,),
}
"""What an input may be, and the Python types that fit it."""

_WORK = frozenset(
    {"agent", "with_", "foreach", "max_parallel", "timebox", "reserve", "queue", "priority", "key", "on_failure"}
)
_GATE = frozenset({"timeout", "on_failure"})
_BELONGS: dict[str, frozenset[str]] = {
    "skill": _WORK | {"retry"},
    "workflow": _WORK - {"key"},
    "sleep": frozenset(),
    "approval": _GATE | {"who", "with_"},
    "check": frozenset({"on_failure", "check"}),
    "signal": _GATE | {"signal"},
}
_OF_ANY = frozenset({*KINDS, "description", "needs", "when", "phase"})


class Part(BaseModel):
    """A piece of a definition: it never changes, and knows every field that it has."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True, serialize_by_alias=True)

    def as_data(self) -> dict[str, Any]:
        """Return it as JSON, without what is as it would be anyway."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


class Input(Part):
    """One thing that a run is started with."""

    type: Literal["text", "integer", "number", "boolean", "list", "object"] = Field(
        description="What the value is: text, integer, number, boolean, list or object."
    )
    description: str = Field("", description="What it is for.")
    required: bool = Field(True, description="Whether a run needs it; an input with a default is not required.")
    default: JsonValue = Field(None, description="The value where none is given.")

    @model_validator(mode="before")
    @classmethod
    def _is_not_required_with_a_default(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "default" in data:
            if data.get("required") is True:
                raise fields.refused("an input with a default is never missing: leave 'required' out")
            return {**data, "required": False}
        return data

    @model_validator(mode="after")
    def _has_a_default_that_fits(self) -> Self:
        if self.default is not None and not self.accepts(self.default):
            raise problems_raised([(("default",), f"is {fields.shown(self.default)}, which is not {self.said}")])
        return self

    @property
    def said(self) -> str:
        """Its type with an article."""
        return self.type if self.type == "text" else f"{'an' if self.type[0] in 'aeiou' else 'a'} {self.type}"

    def accepts(self, value: Any) -> bool:
        """Tell whether a value is of this type."""
        if isinstance(value, bool):
            return self.type == "boolean"
        return isinstance(value, INPUT_TYPES[self.type])


class Retry(Part):
    """How often and how soon a step that failed is tried again."""

    retries: int | None = Field(
        None, ge=0, le=1000, description="Tries after the first one; the skill's own unless given."
    )
    base: Length | None = Field(None, description="The delay before the first retry; it doubles with each.")
    cap: Length | None = Field(None, description="The longest delay.")


class Fallback(Part):
    """What is done in the place of a step that failed."""

    fallback: str = Field(min_length=1, max_length=200, description="The skill that is performed instead.")


OnFailure = Literal["halt", "continue"] | Fallback


def _on_failure(value: Any) -> Any:
    if isinstance(value, Fallback) or value in ("halt", "continue"):
        return value
    if isinstance(value, Mapping):
        return Fallback.model_validate(value)
    hint = nearest(value, ["halt", "continue", "fallback"]) if isinstance(value, str) else ""
    raise fields.refused(f"is {fields.shown(value)}, not halt, continue or {{fallback: SKILL}}{hint}")


class Phase(Part):
    """A named part of the run, with its own timebox and share of the budget."""

    description: str = Field("", description="What it is for.")
    timebox: Length | None = Field(None, description="The longest that the phase may take.")
    budget: Amount | None = Field(None, description="Its share of the budget.")


class Step(Part):
    """One node of the graph: exactly one of a skill, a gate, a sleep and a sub-workflow."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [kind]} for kind in KINDS]},
    )

    skill: str | None = Field(None, min_length=1, max_length=200, description="The skill that is performed.")
    gate: Literal["approval", "check", "signal"] | None = Field(
        None,
        description="What the run stops at: the approval of a person, a check, or a signal from outside.",
    )
    sleep: LengthOrExpression = Field(None, description="How long the run rests here: '6h', or an expression.")
    workflow: Name | None = Field(None, description="The workflow that runs as one step.")
    description: str = Field("", description="What the step is for.")
    with_: dict[str, JsonValue] = Field(
        default_factory=dict, alias="with", description="What the skill or workflow is given; texts may hold ${...}."
    )
    needs: Few = Field((), description="Steps that end before this one begins; what an expression names is added.")
    when: Condition = Field(None, description="The step is skipped unless this is true.")
    foreach: ListOrExpression = Field(
        None, description="A list: the step is done for each entry, as ${item} and ${index}; results come in order."
    )
    max_parallel: int | None = Field(None, ge=1, le=1_000_000, description="Entries of foreach at the same time.")
    retry: (
        Annotated[
            Retry,
            BeforeValidator(fields.retry_count, json_schema_input_type=Annotated[int, Field(ge=0, le=1000)] | Retry),
        ]
        | None
    ) = Field(None, description="Tries after the first, as a number or with their delays.")
    timebox: Length | None = Field(None, description="The longest that one attempt may take.")
    reserve: Amount | None = Field(None, description="What is set aside of the budget before the step begins.")
    on_failure: Annotated[
        OnFailure,
        PlainValidator(_on_failure, json_schema_input_type=OnFailure),
        PlainSerializer(lambda value: value if isinstance(value, str) else value.as_data()),
    ] = Field("halt", description="When it fails: halt the run, continue without it, or perform a fallback skill.")
    queue: str | None = Field(None, min_length=1, max_length=200, description="The queue whose workers perform it.")
    priority: int | None = Field(None, ge=-32768, le=32767, description="Higher goes first.")
    key: str | None = Field(
        None, min_length=1, max_length=200, description="A concurrency key; it may hold expressions."
    )
    phase: StepName | None = Field(None, description="The phase that it belongs to.")
    agent: str | None = Field(
        None, min_length=1, max_length=200, description="On whose behalf it is performed; the run's agent unless given."
    )
    who: Few = Field((), description="Who may approve: names of users, or 'group:NAME'; nobody named is anybody.")
    check: OneExpression = Field(None, description="What must be true for the run to pass the gate.")
    signal: str | None = Field(
        None, min_length=1, max_length=255, description="The signal that is awaited; it may hold expressions."
    )
    timeout: Length | None = Field(None, description="How long the gate waits; it fails then.")

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if not kinds:
            raise fields.refused("says nothing to do: give it one of skill, gate, sleep, workflow")
        if len(kinds) > 1:
            raise fields.refused(f"is one thing, not {fields.joined(kinds)}: make a step of each")
        found = self._misplaced() + self._lacking()
        if found:
            raise problems_raised(found)
        return self

    def _misplaced(self) -> list[fields.Told]:
        """Return the fields that say nothing about a step of this kind."""
        allowed = _BELONGS[self.gate or self.kind] | _OF_ANY
        said = f"a gate of {self.gate}" if self.gate else f"a step with {self.kind!r}"
        set_here = [name for name in type(self).model_fields if getattr(self, name) not in (None, (), {}, "", "halt")]
        hints = {"timeout": "; 'timebox' bounds what it takes"} if self.gate is None else {}
        return [
            ((name.rstrip("_"),), f"has no meaning for {said}{hints.get(name, '')}")
            for name in set_here
            if name not in allowed
        ]

    def _lacking(self) -> list[fields.Told]:
        """Return what a step of this kind needs and does not say."""
        found: list[fields.Told] = []
        if self.gate == "check" and self.check is None:
            found.append(((), "a gate of check needs 'check': an expression that must be true"))
        if self.gate == "signal" and self.signal is None:
            found.append(((), "a gate of signal needs 'signal': the name that is awaited"))
        if self.max_parallel is not None and self.foreach is None:
            found.append((("max_parallel",), "has no meaning without 'foreach'"))
        return found

    @property
    def kind(self) -> str:
        """What it is: skill, gate, sleep or workflow."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    def templates(self) -> dict[str, Any]:
        """Return the fields whose texts may hold expressions, by name."""
        found = {
            "with": self.with_,
            "when": self.when,
            "foreach": self.foreach,
            "check": self.check,
            "sleep": self.sleep,
            "key": self.key,
            "signal": self.signal,
            "who": self.who,
        }
        return {name: value for name, value in found.items() if value}


class Definition(Part):
    """A workflow: a named graph of steps."""

    model_config = ConfigDict(title="Celeriac workflow")

    name: Name = Field(description="The workflow's name, in kebab-case.")
    description: str = Field("", description="What the workflow is for.")
    inputs: dict[StepName, Input] = Field(default_factory=dict, description="What a run is started with.")
    outputs: dict[StepName, JsonValue] = Field(
        default_factory=dict, description="What a run returns; texts hold ${...}."
    )
    budget: Amount | None = Field(None, description="What a run may spend; '5.00' is money.")
    timebox: Length | None = Field(None, description="The longest that a run may take.")
    phases: dict[StepName, Phase] = Field(default_factory=dict, description="Named parts of the run.")
    steps: dict[StepName, Step] = Field(min_length=1, description="The steps, by name.")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        from execution.workflows import checking

        problems = (problem for problem in checking.problems(checking.Draft.of(self)) if problem.is_error)
        found = [(problem.path, problem.text) for problem in islice(problems, checking.MOST_PROBLEMS)]
        if found:
            raise problems_raised(found, fields.OF_THE_WHOLE)
        return self

    @cached_property
    def needs(self) -> dict[str, tuple[str, ...]]:
        """What each step needs: what it says, then the steps that its expressions name."""
        from execution.workflows import checking

        return {name: checking.needs_of(step) for name, step in self.steps.items()}

    @cached_property
    def digest(self) -> str:
        """A hash of the content: comments, layout, shorthands and the order of fields make no difference."""
        text = json.dumps(self.as_data(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def bind(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return a run's inputs with the defaults filled in, or say everything that is wrong with them."""
        wrong = [f"there is no input {name!r}{nearest(name, self.inputs)}" for name in given if name not in self.inputs]
        for name, wanted in self.inputs.items():
            if name not in given:
                wrong += [f"{name!r} is missing ({wanted.said})"] if wanted.required else []
            elif not wanted.accepts(given[name]) and (wanted.required or given[name] is not None):
                wrong.append(f"{name!r} is {fields.shown(given[name])}, which is not {wanted.said}")
        if wrong:
            raise InputInvalid(self.name, "; ".join(wrong))
        return {name: given.get(name, wanted.default) for name, wanted in self.inputs.items()}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a definition, for editors."""
    found = Definition.model_json_schema(by_alias=True)
    for field in found["properties"].values():
        if "patternProperties" in field:
            field["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


__all__ = ["Definition", "Fallback", "Input", "Phase", "Retry", "Step", "schema"]
