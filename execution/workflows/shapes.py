"""What is known of a value before there is one: its kind and its fields, as a JSON Schema says them.

Inputs say their type, skills have return hints, which pydantic turns into a schema, and sub-workflows name their
outputs. What nothing is known of may have any field; only a field that cannot be there is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from execution.workflows.expressions import Part, nearest

_WORDS = {
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "array": "a list",
    "object": "an object",
    "null": "always null",
}


class Impossible(Exception):
    """A value of this shape has no such part; the message goes on after the value's name."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A JSON Schema, and the one that its references point into."""

    schema: Mapping[str, Any] = field(default_factory=dict)
    root: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, schema: Mapping[str, Any] | None) -> Shape:
        """Return the shape that a schema describes; without one, anything."""
        return cls(schema, schema) if schema else ANYTHING

    @property
    def kind(self) -> str:
        """The one type that the value has, or nothing where it may have several."""
        found = self._resolved().get("type")
        return found if isinstance(found, str) else ""

    @property
    def said(self) -> str:
        """The kind in words."""
        return _WORDS.get(self.kind, "anything")

    def listed(self) -> Shape:
        """Return the shape of a list of such values."""
        return Shape({"type": "array", "items": dict(self.schema)}, self.root)

    def part(self, part: Part) -> Shape:
        """Return the shape of a field or an entry, or raise Impossible."""
        schema = self._resolved()
        choices = _choices(schema)
        if choices:
            return self._part_of_any(choices, part)
        kind = self.kind
        if kind == "object" and isinstance(part, str):
            return self._field(schema, part)
        if kind == "array" and isinstance(part, int):
            items = schema.get("items")
            return Shape(items, self.root) if isinstance(items, Mapping) else ANYTHING
        if not kind or (part is None and kind in ("object", "array")):
            return ANYTHING
        wanted = "no field" if isinstance(part, str) else "no entry"
        hint = "; take one entry of it first: [0]" if kind == "array" and isinstance(part, str) else ""
        raise Impossible(f"is {self.said}, and has {wanted} {part!r}{hint}")

    def _field(self, schema: Mapping[str, Any], name: str) -> Shape:
        fields = schema.get("properties", {})
        if name in fields:
            return Shape(fields[name], self.root)
        others = schema.get("additionalProperties", not fields)
        if others is False:
            hint = nearest(name, fields) or (f"; it has {', '.join(fields)}" if fields else "")
            raise Impossible(f"has no field {name!r}{hint}")
        return Shape(others, self.root) if isinstance(others, Mapping) else ANYTHING

    def _part_of_any(self, choices: list[Mapping[str, Any]], part: Part) -> Shape:
        """Return the part of whichever choice has it; impossible only where none has."""
        found, problem = [], None
        for choice in choices:
            try:
                found.append(Shape(choice, self.root).part(part))
            except Impossible as error:
                problem = error
        if not found and problem is not None:
            raise problem
        return found[0] if len(found) == 1 else ANYTHING

    def _resolved(self) -> Mapping[str, Any]:
        schema = self.schema
        for _ in range(10):
            address = schema.get("$ref")
            if not isinstance(address, str):
                return schema
            schema = self.root.get("$defs", {}).get(address.rpartition("/")[2], {})
        return {}


def _choices(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the alternatives of a schema, without null: a value that may be null may have fields."""
    found = [one for key in ("anyOf", "oneOf", "allOf") for one in schema.get(key, [])]
    return [one for one in found if one.get("type") != "null"]


ANYTHING = Shape()
BOOLEAN = Shape({"type": "boolean"})
NUMBER = Shape({"type": "number"})
INTEGER = Shape({"type": "integer"})
TEXT = Shape({"type": "string"})
NULL = Shape({"type": "null"})


def closed(fields: Mapping[str, Shape | Mapping[str, Any]]) -> Shape:
    """Return the shape of an object that has these fields and no other."""
    properties = {name: one.schema if isinstance(one, Shape) else one for name, one in fields.items()}
    return Shape({"type": "object", "properties": properties, "additionalProperties": False})
