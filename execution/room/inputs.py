"""Forms for what a run is started with: a field for each input, of the kind that a workflow or a skill declares.

What has no kind that a browser has a field for is written as JSON. What is wrong is said at the field, or above the
form by who checks the input as a whole.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from execution.skills import SkillTask
from execution.workflows.catalog import Stored
from execution.workflows.kinds import INPUTS

PREFIX = "input_"
_LONG = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One input: its name, what is known of its kind, and whether a run needs it."""

    name: str
    schema: Mapping[str, Any]
    is_required: bool
    default: Any = None
    text: str = ""


class JsonField(forms.CharField):
    """A value as JSON, with an error that says where it breaks off."""

    def __init__(self, **options: Any) -> None:
        """Show a few lines, in letters of one width."""
        options.setdefault("widget", forms.Textarea(attrs={"rows": 4, "spellcheck": "false", "class": "room-code"}))
        super().__init__(**options)

    def prepare_value(self, value: Any) -> Any:
        """Show a value as JSON; what was typed stays as it is."""
        return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)

    def to_python(self, value: Any) -> Any:
        """Return the value."""
        text = super().to_python(value)
        if not text:
            return None
        try:
            return json.loads(text)
        except ValueError as error:
            raise ValidationError(
                f'This is not JSON: {error}. A text stands in double quotes, an object is {{"name": "value"}}.'
            ) from None


def wanted_by(task: SkillTask | Stored) -> list[Wanted]:
    """Return the inputs that a workflow or a skill declares."""
    if isinstance(task, Stored):
        return [
            Wanted(
                name=name,
                schema=INPUTS[one.type],
                is_required=one.required,
                default=one.default,
                text=one.description,
            )
            for name, one in task.definition.inputs.items()
        ]
    schemas = task.types.input_schemas()
    return [
        Wanted(
            name=name,
            schema=schemas.get(name, {}),
            is_required=parameter.default is parameter.empty,
            default=None if parameter.default is parameter.empty else parameter.default,
        )
        for name, parameter in (task.takes_input or inspect.signature(task.run)).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]


def fields(wanted: list[Wanted], recorded: Mapping[str, Any] | None = None) -> dict[str, forms.Field]:
    """Return a form's fields for these inputs, filled with what was recorded, or with their defaults."""
    known = recorded or {}
    return {f"{PREFIX}{one.name}": _field(one, known.get(one.name, one.default)) for one in wanted}


def given(cleaned: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs that a form brought; what was left empty is not given."""
    found = {name.removeprefix(PREFIX): value for name, value in cleaned.items() if name.startswith(PREFIX)}
    return {name: value for name, value in found.items() if value not in (None, "")}


def _field(one: Wanted, initial: Any) -> forms.Field:
    schema = _without_null(one.schema)
    about: dict[str, Any] = {"label": one.name, "required": one.is_required, "help_text": one.text}
    if initial is not None:
        about["initial"] = initial
    if "enum" in schema:
        choices = [(value, value) for value in schema["enum"]]
        return forms.ChoiceField(choices=choices if one.is_required else [("", "-"), *choices], **about)
    kind = schema.get("type")
    if kind == "boolean":
        return forms.BooleanField(**about | {"required": False})
    if kind == "integer":
        return forms.IntegerField(**about)
    if kind == "number":
        return _Number(**about)
    if kind == "string":
        is_long = "\n" in str(initial or "") or len(str(initial or "")) > _LONG
        widget = forms.Textarea(attrs={"rows": 4}) if is_long else forms.TextInput()
        return forms.CharField(strip=False, widget=widget, **about)
    what = {"array": "A list", "object": "An object"}.get(str(kind), "A value")
    about["help_text"] = f"{one.text} {what} as JSON.".strip()
    return JsonField(**about)


def _without_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a value is when it is something."""
    some = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    return some[0] if len(some) == 1 else schema


class _Number(forms.FloatField):
    """A number; a whole one stays whole."""

    def to_python(self, value: Any) -> Any:
        """Return the number."""
        found = super().to_python(value)
        return int(found) if found is not None and found.is_integer() else found
