"""Periods: from when an objective's counts matter, by its length, or by the calendar where it begins anew by that."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from graduation.models import Objective

_DAYS = {"d": 1, "w": 7}
_MONTHS = {"M": 1, "Q": 3, "Y": 12}
_SECONDS = {"m": 60, "h": 3600}


def start_of(objective: Objective, now: datetime) -> datetime:
    """Return the beginning of the period in which a moment lies."""
    if not objective.calendar:
        return now - timedelta(days=objective.period_days)
    zone = ZoneInfo(objective.calendar["zone"])
    first = datetime.fromisoformat(objective.calendar["start"])
    wall = now.astimezone(zone).replace(tzinfo=None)
    found = _begun(first, wall, objective.calendar["count"], objective.calendar["unit"])
    return found.replace(tzinfo=zone)


def _begun(first: datetime, now: datetime, count: int, unit: str) -> datetime:
    """Return the last beginning that is not after now, by the clock on the wall."""
    if unit in _MONTHS:
        months = (now.year - first.year) * 12 + now.month - first.month
        step = count * _MONTHS[unit]
        place = months // step * step
        found = _later(first, place)
        return found if found <= now else _later(first, place - step)
    length = timedelta(days=count * _DAYS[unit]) if unit in _DAYS else timedelta(seconds=count * _SECONDS[unit])
    return first + (now - first) // length * length


def _later(first: datetime, months: int) -> datetime:
    """Return the same day so many months later, or the last one where that month is shorter."""
    number = first.year * 12 + first.month - 1 + months
    year, month = number // 12, number % 12 + 1
    for day in range(first.day, 27, -1):
        try:
            return first.replace(year=year, month=month, day=day)
        except ValueError:
            continue
    return first.replace(year=year, month=month)
