"""Durations as people write them: `90`, `"90s"`, `"6h"`, `"1d 12h"`, or a timedelta."""

from __future__ import annotations

import math
import re
from datetime import timedelta

from execution.exceptions import OptionInvalid

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BARE = re.compile(r"\d+(?:\.\d+)?")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")

LONGEST_SECONDS = 50 * 365 * 86400

Duration = timedelta | float | int | str


def seconds(value: Duration, *, name: str = "a duration") -> float:
    """Return a duration in seconds."""
    found = _read(value)
    if found is None and isinstance(value, str) and _BARE.fullmatch(bare := value.strip()):
        raise OptionInvalid(f"{name} is {value!r}, without a unit; write '{bare}s', '{bare}m', '{bare}h' or '{bare}d'")
    if found is None:
        raise OptionInvalid(f"{name} is {value!r}; write seconds, a timedelta, or text such as '90s', '6h' or '1d 12h'")
    if abs(found) > LONGEST_SECONDS:
        raise OptionInvalid(f"{name} is {value!r}; fifty years are the longest")
    return found


def _read(value: Duration) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if isinstance(value, str):
        text = value.strip().lower()
        parts = _PART.findall(text)
        if parts and not _PART.sub("", text).strip():
            return sum(float(number) * _UNITS[unit] for number, unit in parts)
    return None
