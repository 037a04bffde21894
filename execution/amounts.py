"""Amounts: money as exact decimals, tokens as whole numbers, neither ever less than nothing; and priorities."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from execution.exceptions import OptionInvalid

_MOST_COST = Decimal(10) ** 14
_MOST_TOKENS = 2**63


def money(value: Decimal | float | str, place: str) -> Decimal:
    """Return an amount of money exactly, to a millionth."""
    try:
        amount = Decimal(str(value))
    except ArithmeticError:
        raise OptionInvalid(f"the cost of {place!r} is {value!r}; write a number, or text such as '0.02'") from None
    if not amount.is_finite() or amount < 0:
        raise OptionInvalid(f"the cost of {place!r} is {value!r}; it cannot be less than nothing")
    if amount >= _MOST_COST:
        raise OptionInvalid(f"the cost of {place!r} is {value!r}; the ledger counts to {_MOST_COST:,}")
    return amount.quantize(Decimal("0.000001"))


def token_count(value: int, place: str) -> int:
    """Return a number of tokens."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise OptionInvalid(f"the tokens of {place!r} are {value!r}; write a whole number")
    if not 0 <= value < _MOST_TOKENS:
        raise OptionInvalid(f"the tokens of {place!r} are {value}; they cannot be less than none, nor 2**63 or more")
    return value


def priority(value: Any) -> int:
    """Return a priority that its column can hold."""
    if isinstance(value, bool) or not isinstance(value, int) or not -32768 <= value <= 32767:
        raise OptionInvalid(f"priority is {value!r}; it lies between -32768 and 32767, and higher goes first")
    return value


def limit(given: Any, place: str) -> dict[str, Any]:
    """Return a budget or a reserve: `"5.00"` is money, a mapping names `cost` and `tokens`."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        given = {"cost": given}
    unknown = set(given) - {"cost", "tokens"}
    if unknown:
        raise OptionInvalid(f"{place} knows 'cost' and 'tokens', not {', '.join(map(repr, sorted(unknown)))}")
    found: dict[str, Any] = {}
    if given.get("cost") is not None:
        found["cost"] = money(given["cost"], place)
    if given.get("tokens") is not None:
        found["tokens"] = token_count(given["tokens"], place)
    return found
