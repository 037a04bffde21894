"""The kinds of values that a definition's fields take, each read from how people write it.

Shorthands become the full form as they are read (`budget: 5` is `budget: {cost: 5}`), so that one meaning has one
digest.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    ValidationError,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from execution import amounts, durations, words
from execution.exceptions import ExpressionInvalid, OptionInvalid
from execution.workflows import templates

NAME = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
STEP_NAME = r"^[a-z][a-z0-9_]*$"

Told = tuple[tuple[str | int, ...], str]
"""A place inside a definition, and what is wrong there."""


OF_A_FIELD: Final = "celeriac_field"
OF_THE_WHOLE: Final = "celeriac_whole"
"""The types of the errors that are raised here: about one field, and about how the parts fit together."""


def refused(text: str, kind: Literal["celeriac_field", "celeriac_whole"] = OF_A_FIELD) -> PydanticCustomError:
    """Return the error that says this about the value in hand."""
    return PydanticCustomError(kind, "{text}", {"text": text})


def problems_raised(
    problems: Iterable[Told], kind: Literal["celeriac_field", "celeriac_whole"] = OF_A_FIELD
) -> ValidationError:
    """Return one error that tells several problems, each at its place."""
    details = [InitErrorDetails(type=refused(text, kind), loc=path, input=None) for path, text in problems]
    return ValidationError.from_exception_data("definition", details)


def joined(names: Iterable[object], last: str = "and") -> str:
    """Say a few names: `a, b and c`."""
    found = [str(name) for name in names]
    return f" {last} ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)


def shown(value: Any) -> str:
    """Show a value as it would be written in a definition, cut where it is long."""
    if isinstance(value, str):
        return words.one_line(repr(value), 60)
    return words.one_line(templates.written(value), 60)


def _length(value: Any) -> timedelta:
    try:
        found = timedelta(seconds=durations.seconds(value))
    except (OptionInvalid, OverflowError):
        raise refused(
            f"{shown(value)} is no length of time; write seconds, or text such as '90s', '6h' or '1d 12h'"
        ) from None
    if found <= timedelta(0):
        raise refused(f"{shown(value)} is too short; it lasts longer than nothing")
    return found


def _length_or_expression(value: Any) -> timedelta | str | None:
    if value is None:
        return None
    return _one_expression(value) if isinstance(value, str) and "${" in value else _length(value)


def _seconds(value: Any) -> Any:
    if not isinstance(value, timedelta):
        return value
    seconds = value.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


def _one_expression(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise refused(f"{shown(value)} is no expression; write one between ${{ and }}")
    text = value.strip()
    try:
        is_one = templates.expression(text) is not None
    except ExpressionInvalid:
        return text  # said by the check of all expressions, with the others
    if not is_one:
        hint = f"write ${{{text}}}" if "${" not in text else "write one ${...} with nothing around it"
        raise refused(f"{shown(text)} is no expression; {hint}")
    return text


def _condition(value: Any) -> bool | str | None:
    return value if isinstance(value, bool) else _one_expression(value)


def _list_or_expression(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        if not value:
            raise refused("the list is empty: the step would never be done")
        return list(value)
    return _one_expression(value)


def _few(value: Any) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, (list, tuple)) else None
    if found is None or not all(isinstance(one, str) and one for one in found):
        raise refused(f"{shown(value)} is no name and no list of names")
    return found


def _cost_alone(value: Any) -> Any:
    is_amount = isinstance(value, (str, int, float, Decimal)) and not isinstance(value, bool)
    return {"cost": value} if is_amount else value


def _money(value: Any) -> Decimal:
    try:
        return amounts.money(value, "cost")
    except OptionInvalid:
        raise refused(f"{shown(value)} is no amount of money; write a number of 0 or more, such as '5.00'") from None


def retry_count(value: Any) -> Any:
    """Return a number of retries in its full form."""
    return {"retries": value} if isinstance(value, int) and not isinstance(value, bool) else value


class AmountOf(BaseModel):
    """Money, tokens, or both."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    cost: (
        Annotated[
            Decimal,
            PlainValidator(_money, json_schema_input_type=str | float),
            PlainSerializer(words.money, return_type=str, when_used="json"),
        ]
        | None
    ) = Field(None, description="Money, in the currency of the settings.")
    tokens: int | None = Field(None, ge=0, lt=2**63, description="Tokens.")


Name = Annotated[str, StringConstraints(pattern=NAME, max_length=100)]
StepName = Annotated[str, StringConstraints(pattern=STEP_NAME, max_length=100)]
_Lasting = Annotated[str, Field(examples=["90s", "6h", "1d 12h"])] | float
_Said = Annotated[str, StringConstraints(pattern=r"^\s*\$\{")]
Length = Annotated[
    timedelta,
    PlainValidator(_length, json_schema_input_type=_Lasting),
    PlainSerializer(_seconds, when_used="json"),
]
LengthOrExpression = Annotated[
    timedelta | str | None,
    PlainValidator(_length_or_expression, json_schema_input_type=_Lasting | None),
    PlainSerializer(_seconds, when_used="json"),
]
OneExpression = Annotated[str | None, PlainValidator(_one_expression, json_schema_input_type=_Said | None)]
Condition = Annotated[bool | str | None, PlainValidator(_condition, json_schema_input_type=bool | _Said | None)]
ListOrExpression = Annotated[
    list[JsonValue] | str | None,
    PlainValidator(
        _list_or_expression, json_schema_input_type=_Said | Annotated[list[Any], Field(min_length=1)] | None
    ),
]
Few = Annotated[tuple[str, ...], BeforeValidator(_few, json_schema_input_type=str | list[str])]
Amount = Annotated[AmountOf, BeforeValidator(_cost_alone, json_schema_input_type=str | float | AmountOf)]
