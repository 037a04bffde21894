"""What the ledger's commands share: one document with `--json`, errors in words, runs by the beginning of an id."""

from __future__ import annotations

import getpass
import json
import os
import re
import sys
import uuid
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, ProgrammingError
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from execution import ids
from execution.exceptions import CeleriacError

SHORTEST_PREFIX = 8
_PREFIX = re.compile(r"[0-9a-fA-F-]+")


class Encoder(DjangoJSONEncoder):
    """Writes what a document holds: money exactly, sizes as numbers, and what else there is as text."""

    def default(self, o: Any) -> Any:
        """Return a value as JSON."""
        if is_dataclass(o) and not isinstance(o, type):
            return asdict(o)
        if isinstance(o, Decimal):
            return str(o)
        try:
            return super().default(o)
        except TypeError:
            return str(o)


class LedgerCommand(BaseCommand):
    """A command whose errors are sentences, and whose answer is text for a person or one JSON document."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", dest="as_json", action="store_true", help="Print one JSON document.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.act(**options)
        except BrokenPipeError:
            # Whoever read has left (`| head`): the interpreter's last flush must not complain either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except CeleriacError as error:
            raise CommandError(str(error)) from error
        except (OperationalError, InterfaceError) as error:
            raise CommandError(
                f"the database does not answer: {_first_line(error)}; `manage.py doctor` says more"
            ) from error
        except ProgrammingError as error:
            raise CommandError(
                f"the database does not know this: {_first_line(error)}; has `manage.py migrate` run?"
            ) from error
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            raise CommandError(f"the database refused: {_first_line(error)}") from error

    def act(self, **options: Any) -> None:
        """Do what the command is for."""
        raise NotImplementedError

    def document(self, value: Any) -> None:
        """Print one JSON document."""
        self.stdout.write(json.dumps(value, cls=Encoder, indent=2, ensure_ascii=False))

    def say(self, text: str, *, style: Any = None) -> None:
        """Print a line for a person."""
        self.stdout.write(style(text) if style else text)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def find(text: str) -> Any:
    """Return the run of this id, or the only one whose id (or a step's) begins so; comes with its agent."""
    from execution import runs
    from execution.models import Run

    found = _by_prefix(text.strip()) or runs.get(text.strip()).id
    return Run.objects.prefetch_related("agent").get(pk=found)


def _by_prefix(text: str) -> uuid.UUID | None:
    """Return the id of the only run, or run of a step, that begins so; None where the text is no beginning of an id."""
    from execution.models import Run, Step

    return beginning(text, (Run.objects.all(), "id"), (Step.objects.all(), "run_id"))


def beginning(text: str, *tables: tuple[QuerySet[Any], str]) -> uuid.UUID | None:
    """Return what the only row whose id begins so has in a column, from the first table that knows one."""
    digits = text.replace("-", "")
    if not _PREFIX.fullmatch(text) or len(digits) >= 32:
        return None
    if len(digits) < SHORTEST_PREFIX:
        raise CommandError(
            f"{text!r} is too short for the beginning of an id: give at least {SHORTEST_PREFIX} characters of it"
        )
    span = ids.span(digits)
    found: set[uuid.UUID] = set()
    for rows, column in tables:
        found = found or set(rows.filter(pk__range=span).order_by("pk").values_list(column, flat=True)[:6])
    if not found:
        return None
    if len(found) > 1:
        names = "\n  ".join(str(one) for one in sorted(found)[:5])
        more = "\n  ..." if len(found) > 5 else ""
        raise CommandError(f"{text!r} begins more than one id; give more of it:\n  {names}{more}")
    return found.pop()


def operator() -> str:
    """Return who types: the user of the system."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"


def add_why(parser: CommandParser) -> None:
    """Ask who does it and why: of every verb that changes something."""
    parser.add_argument("--reason", default="", help="Why; it is kept in the log.")
    parser.add_argument("--by", default=operator(), help="Who; the user of the system unless given.")


def json_or_text(value: str) -> Any:
    """Return a value as JSON where it is JSON, else as the text that it is."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def json_value(value: str, place: str) -> Any:
    """Return a JSON value, or say what is wrong with it."""
    try:
        return json.loads(value)
    except ValueError as error:
        raise CommandError(f'{place} is not JSON: {error}; quote it for the shell: \'{{"name": "value"}}\'') from None


def moment(value: str, place: str, *, back: bool = False) -> datetime:
    """Return a moment given as a date, a date and time, or a length from now (`2h`); with `back`, before now."""
    from execution.durations import seconds
    from execution.exceptions import OptionInvalid

    try:
        found = parse_datetime(value) or (
            datetime.combine(day, datetime.min.time()) if (day := parse_date(value)) else None
        )
    except ValueError as error:
        raise CommandError(f"{place} is {value!r}: {error}") from None
    if found is not None:
        return timezone.make_aware(found) if timezone.is_naive(found) else found
    try:
        length = timedelta(seconds=seconds(value, name=place))
    except OptionInvalid:
        raise CommandError(
            f"{place} is {value!r}; write a length of time such as '90s' or '2h', or a moment as '2030-01-31 18:00'"
        ) from None
    return timezone.now() - length if back else timezone.now() + length


def yaml_files(given: Iterable[str]) -> list[str]:
    """Return the files, with those of each folder in the order of their names."""
    found: list[str] = []
    for one in given:
        path = Path(one)
        if not path.exists():
            near = get_close_matches(path.name, [file.name for file in path.parent.glob("*")], n=1)
            hint = f"did you mean {str(path.parent / near[0])!r}?" if near else "name a .yaml file, or a folder of them"
            raise CommandError(f"there is no file or folder {one!r} in {Path.cwd()}; {hint}")
        inside = sorted(str(file) for file in path.glob("*") if file.suffix in (".yaml", ".yml") and file.is_file())
        if path.is_dir() and not inside:
            raise CommandError(f"there is no .yaml file in {one}")
        found += inside if path.is_dir() else [one]
    return list(dict.fromkeys(found))


def table(rows: list[list[str]], titles: list[str]) -> str:
    """Return rows in aligned columns; the last one is as wide as it wants."""
    widths = [max(len(line[index]) for line in [titles, *rows]) for index in range(len(titles) - 1)]
    lines = []
    for line in [titles, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        lines.append("  ".join([*cells, line[-1]]).rstrip())
    return "\n".join(lines)
