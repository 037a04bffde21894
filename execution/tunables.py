"""Tunables: the few numbers that may be changed while the system runs, each with its bounds, unit and class.

A change is a row, an event and a name behind it. Each worker's keeper reads the rows twice a second and writes them on
its board, where the pool reads them: a change is in force in every worker within a second, and costs no step a query.
A process without a board, such as a web server, looks at the rows at most twice a second itself. What was set for one
subject goes before what the subject says itself, that before what was set for all, and that before the setting.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from django.db import transaction
from django.db.models.functions import Now

from execution import board as boards
from execution import conf, durations, events, ledger
from execution.exceptions import NotPossible, OptionInvalid, TunableUnknown
from execution.models import ConcurrencyKey, Tunable

Class = Literal["safety", "reliability", "cost", "performance"]
Values = dict[tuple[str, str], float]

MOST_ROWS = 200
"""How many rows there may be: what is written on a board has its bounds."""
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What may be tuned: what it is, in which unit, and between which bounds."""

    name: str
    description: str
    unit: str
    kind: Class
    least: float
    most: float
    setting: str = ""
    """The setting that holds its default, where there is one."""
    standard: float = math.inf
    """The default where no setting holds it."""
    subject: str = ""
    """What it may be set for, one by one; empty: for all alone."""
    is_for_all: bool = True
    is_whole: bool = False
    heartbeats: int = 0
    """How many heartbeats it lasts at least."""

    @property
    def default(self) -> float:
        """What holds where nothing is set."""
        return float(getattr(conf.current(), self.setting)) if self.setting else self.standard

    @property
    def floor(self) -> float:
        """The least that it may be set to here."""
        return max(self.least, conf.current().heartbeat_seconds * self.heartbeats)


KNOWN = {
    one.name: one
    for one in (
        Declared(
            name="retries.base",
            description="The longest delay before the first retry; it doubles with each.",
            unit="seconds",
            kind="reliability",
            least=0.01,
            most=3600,
            setting="retry_base_seconds",
            subject="skill",
        ),
        Declared(
            name="retries.cap",
            description="The longest delay before any retry.",
            unit="seconds",
            kind="reliability",
            least=0.1,
            most=86400,
            setting="retry_cap_seconds",
            subject="skill",
        ),
        Declared(
            name="steps.lease",
            description="How long a silent worker keeps a step, from the next extension of its lease on.",
            unit="seconds",
            kind="reliability",
            least=1,
            most=86400,
            setting="lease_seconds",
            subject="skill",
            heartbeats=2,
        ),
        Declared(
            name="keys.limit",
            description="Steps of a concurrency key at once.",
            unit="steps",
            kind="performance",
            least=1,
            most=100_000,
            subject="key",
            is_for_all=False,
            is_whole=True,
        ),
        Declared(
            name="doorbell.window",
            description="Messages outstanding per queue, at most.",
            unit="messages",
            kind="performance",
            least=1,
            most=100_000,
            setting="window",
            is_whole=True,
        ),
        Declared(
            name="jobs.chunk",
            description="Items of a job that a worker claims and records at once.",
            unit="items",
            kind="performance",
            least=1,
            most=5_000,
            standard=500,
            subject="skill",
            is_whole=True,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class _Look:
    """What this process has seen last: the board's count of changes, or until when it need not look again."""

    board: boards.Board | None
    sequence: int
    until: float
    values: Values


_last = _Look(None, 0, 0.0, {})


def declared(name: str) -> Declared:
    """Return what is known of a tunable, or say which name is nearest."""
    if name not in KNOWN:
        raise TunableUnknown(name, next(iter(get_close_matches(name, KNOWN, n=1)), None), list(KNOWN))
    return KNOWN[name]


def value(name: str, subject: str = "", *, own: float | None = None) -> float:
    """Return the value in force; `own` is what the subject says itself, if it says something.

    A whole number is an `int`. A key's limit is asked of its row, where claims read it; no limit is infinity.
    """
    known = declared(name)
    values = _in_force()
    said = [values.get((name, subject)) if subject else None, own, values.get((name, "")), _stored(known, subject)]
    return _number(known, next(one for one in said if one is not None))


def tune(name: str, value: Any, *, subject: str = "", by: str = "", reason: str = "") -> Tunable:
    """Set a tunable, for all or for one subject; the change is an event, with who made it and why."""
    known, wanted = declared(name), check(name, value, subject=subject)
    with transaction.atomic():
        row = Tunable.objects.select_for_update().filter(name=name, subject=subject).first()
        before = row.value if row is not None else _stored(known, subject)
        baseline = row.baseline if row is not None else _limit_of(known, subject)
        said = {"value": wanted, "set_by": by, "reason": reason, "set_at": Now(), "baseline": baseline}
        found, _ = Tunable.objects.update_or_create(name=name, subject=subject, defaults=said)
        if Tunable.objects.count() > MOST_ROWS:
            raise NotPossible(f"more than {MOST_ROWS} values are tuned; reset one of them first")
        _limit_key(known, subject, wanted)
        _note("set", known, subject, before=before, after=wanted, by=by, reason=reason)
    forget()
    found.refresh_from_db()
    return found


@transaction.atomic
def reset(name: str, *, subject: str = "", by: str = "", reason: str = "") -> float:
    """Go back to what held before a tunable was set; returns what is in force then."""
    known = declared(name)
    row = Tunable.objects.select_for_update().filter(name=name, subject=subject).first()
    if row is None:
        whom = f" for {known.subject} {subject!r}" if subject else ""
        raise NotPossible(f"{name} is not set{whom}; `manage.py tunables list` shows what is")
    row.delete()
    _limit_key(known, subject, row.baseline)
    forget()
    after = value(name, subject)
    _note("reset", known, subject, before=row.value, after=after, by=by, reason=reason)
    return after


def check(name: str, value: Any, *, subject: str = "") -> float:
    """Return a value that a tunable may have, or say why it may not."""
    known = declared(name)
    if subject and not known.subject:
        raise OptionInvalid(f"{name} is one for all: it cannot be set for {subject!r} alone")
    if not subject and not known.is_for_all:
        raise OptionInvalid(f"{name} is set for one {known.subject}; say for which")
    if name == "keys.limit" and not ConcurrencyKey.objects.filter(pk=subject).exists():
        near = get_close_matches(subject, ConcurrencyKey.objects.values_list("name", flat=True), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "a key appears with the first run of a skill that declares it"
        raise NotPossible(f"there is no concurrency key named {subject!r}; {hint}")
    found = _parsed(known, value)
    if not known.floor <= found <= known.most or (known.is_whole and found != int(found)):
        whole = "a whole number " if known.is_whole else ""
        raise OptionInvalid(
            f"{name} is {value!r}; it is {whole}between {known.floor:,g} and {known.most:,g} {known.unit}"
        )
    return found


def published() -> bytes:
    """Return what is tuned as the text that stands on a board: for keepers."""
    rows = ledger.ask("SELECT name, subject, value FROM execution_tunable ORDER BY name, subject LIMIT %s", [MOST_ROWS])
    return json.dumps([[row.name, row.subject, row.value] for row in rows]).encode()


def forget() -> None:
    """Look at the rows again at the next question."""
    global _last  # noqa: PLW0603 - one look a process
    _last = _Look(None, 0, 0.0, {})


def _in_force() -> Values:
    """Return what is tuned: from the board of this worker, or at most twice a second from the rows."""
    global _last  # noqa: PLW0603 - one look a process
    board, last = boards.current(), _last
    if board is not None and board.tuned_count:
        if last.board is not board or last.sequence != board.tuned_count:
            written = board.tuned()
            if written is not None:
                values = {(one[0], one[1]): one[2] for one in json.loads(written[1])}
                last = _last = _Look(board, written[0], 0.0, values)
    elif last.board is not None or time.monotonic() > last.until:
        rows = ledger.ask_in_transaction("SELECT name, subject, value FROM execution_tunable")
        values = {(row.name, row.subject): row.value for row in rows}
        last = _last = _Look(None, 0, time.monotonic() + _LOOK_SECONDS, values)
    return last.values


def _parsed(known: Declared, value: Any) -> float:
    try:
        return durations.seconds(value, name=known.name) if known.unit == "seconds" else float(value)
    except (TypeError, ValueError, OptionInvalid):
        raise OptionInvalid(f"{known.name} is {value!r}, which is no number of {known.unit}") from None


def _number(known: Declared, value: float) -> float:
    return int(value) if known.is_whole and math.isfinite(value) else value


def _stored(known: Declared, subject: str) -> float:
    """Return what holds where nothing is tuned: a key's own limit, or the default."""
    limit = _limit_of(known, subject)
    return known.default if limit is None else limit


def _limit_of(known: Declared, subject: str) -> float | None:
    if known.name != "keys.limit":
        return None
    return ConcurrencyKey.objects.filter(pk=subject).values_list("limit_count", flat=True).first()


def _limit_key(known: Declared, key: str, limit: float | None) -> None:
    """Write a key's limit where claims read it, and let the steps go on for which there is room now."""
    if known.name != "keys.limit":
        return
    from execution import doorbell

    row = ConcurrencyKey.objects.select_for_update().filter(pk=key).first()
    if row is None:
        return
    row.limit_count = None if limit is None else int(limit)
    row.save(update_fields=["limit_count"])
    woken = ledger.ask_in_transaction("SELECT execution_free_key_v1(%s) AS steps", [key])[0].steps
    transaction.on_commit(lambda: doorbell.ring_for(woken[:100]), robust=True)


def _note(verb: str, known: Declared, subject: str, *, before: float, after: float, by: str, reason: str) -> None:
    """Write the change into the log; no limit is null there."""
    data = {
        "tunable": known.name,
        "subject": subject,
        "before": before if math.isfinite(before) else None,
        "after": after if math.isfinite(after) else None,
        "by": by,
        "reason": reason,
    }
    events.note(f"tunable.{verb}", data)
