"""How times, sizes, money and counts are said to a person: the same in commands, in the doctor and in the admin."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from django.utils import timezone

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SIZES = ("B", "KB", "MB", "GB", "TB")


def length(value: timedelta | float) -> str:
    """Say a length of time by its two largest units: `3 min 5 s`."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if abs(seconds) < 1:
        return f"{abs(seconds) * 1000:.0f} ms"
    if abs(seconds) < 10:
        return f"{abs(seconds):.1f} s"
    left = int(abs(seconds))
    parts: list[str] = []
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part)


def moment(value: datetime, now: datetime | None = None) -> str:
    """Say a moment as the hour, with its date when that is not today's."""
    local, today = timezone.localtime(value), timezone.localtime(now or timezone.now()).date()
    return local.strftime("%H:%M:%S %Z" if local.date() == today else "%Y-%m-%d %H:%M:%S %Z")


def when(value: datetime, now: datetime) -> str:
    """Say a moment and how far away it is: `12:30:05 UTC (in 5 min)`."""
    distance = value - now
    nearness = f"in {length(distance)}" if distance > timedelta(0) else f"{length(distance)} ago"
    return f"{moment(value, now)} ({nearness})"


def size(count: float) -> str:
    """Say a number of bytes."""
    value = float(count)
    for unit in _SIZES:
        if value < 1024 or unit == _SIZES[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


def money(value: Decimal | None) -> str:
    """Say an amount with at least two digits after the point, and no more than it has."""
    if value is None:
        return "no limit"
    text = f"{value:.6f}".rstrip("0")
    whole, _, rest = text.partition(".")
    return f"{whole}.{rest.ljust(2, '0')}"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Say a count with its noun: `1 step`, `1,200 steps`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def listed(names: list[str], most: int = 5) -> str:
    """Say a few names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def one_line(text: object, most: int = 160) -> str:
    """Say a text on one line, cut where it is long."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"
