"""Inputs and outputs, checked against the type hints of a skill.

Input is checked before a run opens, and comes to the skill as the types it declares. pydantic reads the hints:
models, dataclasses, datetimes, Literal, Optional. What it cannot read is passed on unchecked.
"""

from __future__ import annotations

import datetime as dt
import functools
import inspect
import types
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from execution.exceptions import InputInvalid, OutputInvalid

_CARRIED = (dt.date, dt.time, Decimal, uuid.UUID, bytes)
"""What the ledger's JSON carries as it is: an output of these types stays what it is."""


class Types:
    """What one function takes and returns."""

    def __init__(self, name: str, function: Callable[..., Any], signature: inspect.Signature) -> None:
        self._name = name
        self._function = function
        self._signature = signature
        parameters = list(signature.parameters.values())
        named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
        self._is_plain = len(named) == len(parameters)
        self._names = frozenset(one.name for one in named)
        self._wanted = frozenset(one.name for one in named if one.default is one.empty)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return an input as it will be stored, or say everything that is wrong with it."""
        bound = self._bound(args, kwargs)
        problems = []
        for name, value in bound.arguments.items():
            if name in self._adapters:
                try:
                    bound.arguments[name] = _stored(self._adapters[name], value)
                except ValidationError as error:
                    problems.append(_described(name, error))
                except PydanticSerializationError as error:
                    problems.append(f"{name}: {error}")
        if problems:
            raise InputInvalid(self._name, "; ".join(problems))
        if self._is_plain:
            return {"args": [], "kwargs": dict(bound.arguments)}
        return {"args": list(bound.args), "kwargs": dict(bound.kwargs)}

    def convert(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        """Return stored input as the types that the function declares."""
        bound = self._bound(args, kwargs)
        for name, value in bound.arguments.items():
            if name in self._adapters:
                try:
                    bound.arguments[name] = self._adapters[name].validate_python(value)
                except ValidationError as error:
                    raise InputInvalid(self._name, _described(name, error)) from error
        return bound

    def accepts(self, name: str, value: Any) -> bool:
        """Tell whether a value fits the type of a parameter."""
        if name not in self._adapters:
            return True
        try:
            self._adapters[name].validate_python(value)
        except ValidationError:
            return False
        return True

    def output(self, value: Any) -> Any:
        """Return what the function returned as the ledger can keep it, checked against its return type."""
        if "return" not in self._adapters:
            return value
        try:
            return _stored(self._adapters["return"], value)
        except ValidationError as error:
            raise OutputInvalid(
                f"{self._name!r} returned what its type does not allow: {_described('', error)}"
            ) from error
        except PydanticSerializationError as error:
            raise OutputInvalid(f"{self._name!r} returned what cannot be kept: {error}") from error

    def output_schema(self) -> dict[str, Any] | None:
        """Return the JSON Schema of what the function returns, or None where its hint says nothing."""
        try:
            return self._adapters["return"].json_schema(mode="serialization") if "return" in self._adapters else None
        except PydanticUserError:
            return None

    def input_schemas(self) -> dict[str, dict[str, Any]]:
        """Return the JSON Schema of each parameter whose hint says something, for forms."""
        found = {}
        for name, adapter in self._adapters.items():
            try:
                found[name] = adapter.json_schema()
            except PydanticUserError:
                continue
        found.pop("return", None)
        return found

    def _bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        if self._is_plain and not args and self._wanted <= kwargs.keys() <= self._names:
            return inspect.BoundArguments(self._signature, OrderedDict(kwargs))
        try:
            return self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InputInvalid(self._name, f"{error}{self._hint(kwargs)}") from None

    def _hint(self, kwargs: Mapping[str, Any]) -> str:
        """Return the nearest parameter, or option of a start, to the first name that is unknown."""
        from execution import runs

        for name in kwargs:
            if name not in self._signature.parameters:
                near = get_close_matches(str(name), [*self._signature.parameters, *runs.OPTIONS], n=1)
                if near:
                    return f"; did you mean {near[0]!r}?"
        return f"; it takes {self._signature}"

    @functools.cached_property
    def _adapters(self) -> dict[str, TypeAdapter[Any]]:
        """Validators by parameter."""
        wanted = {*self._signature.parameters, "return"}
        found = {}
        for name, hint in _hints(inspect.unwrap(self._function), wanted).items():
            parameter = self._signature.parameters.get(name)
            is_many = parameter is not None and parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if hint is not Any and not is_many:
                adapter = _adapter(hint)
                if adapter is not None:
                    found[name] = adapter
        return found


def _hints(function: Any, wanted: set[str]) -> dict[str, Any]:
    """Return the hints that can be read, each by itself: one that is only imported for type checkers hides no other."""
    found: dict[str, Any] = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        if name in wanted:
            alone = types.SimpleNamespace(__annotations__={name: annotation})
            try:
                found |= get_type_hints(alone, getattr(function, "__globals__", None), include_extras=True)
            except (NameError, TypeError, SyntaxError):
                continue
    return found


def _adapter(hint: Any) -> TypeAdapter[Any] | None:
    for config in (None, ConfigDict(arbitrary_types_allowed=True)):
        try:
            return TypeAdapter(hint, config=config)
        except PydanticUserError:
            continue
    return None


def _stored(adapter: TypeAdapter[Any], value: Any) -> Any:
    """Return a value as it will be kept, once it has passed for its type."""
    checked = adapter.validate_python(value)
    return checked if isinstance(checked, _CARRIED) else adapter.dump_python(checked, mode="json")


def _described(name: str, error: ValidationError) -> str:
    """Return what is wrong, at which place, and what was given there."""
    found = []
    for one in error.errors(include_url=False, include_context=False):
        place = ".".join(str(part) for part in (*([name] if name else []), *one["loc"]))
        found.append(f"{place + ': ' if place else ''}{one['msg']} (got {one['input']!r:.80})")
    return "; ".join(found[:5])
