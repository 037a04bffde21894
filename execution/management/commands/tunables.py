"""`manage.py tunables VERB`: list, set and reset what may be changed while the system runs."""

from __future__ import annotations

import math
from typing import Any

from execution import tunables
from execution.management.commands._command import json_or_text, table
from execution.management.commands._verbs import VerbsCommand
from execution.models import Tunable

_TITLES = ["TUNABLE", "FOR", "VALUE", "DEFAULT", "BOUNDS", "UNIT", "CLASS", "SET BY"]


class Command(VerbsCommand):
    help = "List, set and reset the numbers that may be changed while the system runs."

    def add_verbs(self, verbs: Any) -> None:
        self.add_verb(verbs, "list", "Show every tunable: its value, default, bounds, unit and class.")
        put = self.add_verb(verbs, "set", "Set a tunable; every worker has it within a second.", asks_why=True)
        reset = self.add_verb(verbs, "reset", "Go back to what held before it was set.", asks_why=True)
        for parser in (put, reset):
            parser.add_argument("name", metavar="NAME", help="The tunable, as `list` shows it.")
            parser.add_argument("--for", dest="subject", default="", help="The one skill, key or job it is set for.")
        put.add_argument("value", metavar="VALUE", help="A number; a length of time may be text such as '90s'.")

    def _list(self, options: dict[str, Any]) -> None:
        by_name: dict[str, list[Tunable | None]] = {}
        for row in Tunable.objects.order_by("name", "subject"):
            by_name.setdefault(row.name, []).append(row)
        rows = [_row(known, row) for name, known in tunables.KNOWN.items() for row in by_name.get(name, [None])]
        if options["as_json"]:
            self.document({"tunables": rows})
            return
        self.say(table([_line(row) for row in rows], _TITLES))

    def _set(self, options: dict[str, Any]) -> None:
        name, subject = options["name"], options["subject"]
        who = {"by": options["by"], "reason": options["reason"]}
        row = tunables.tune(name, json_or_text(options["value"]), subject=subject, **who)
        self._tell(options, tunables.value(name, subject), f"{row} is set")

    def _reset(self, options: dict[str, Any]) -> None:
        name, subject = options["name"], options["subject"]
        after = tunables.reset(name, subject=subject, by=options["by"], reason=options["reason"])
        self._tell(options, after, f"{Tunable(name=name, subject=subject)} is reset")

    def _tell(self, options: dict[str, Any], value: float, text: str) -> None:
        if options["as_json"]:
            self.document({"tunable": options["name"], "subject": options["subject"], "value": _finite(value)})
            return
        self.say(f"{text}: {_said(value)} {tunables.declared(options['name']).unit} now")


def _row(known: tunables.Declared, row: Tunable | None) -> dict[str, Any]:
    return {
        "tunable": known.name,
        "description": known.description,
        "subject": row.subject if row else "",
        "kind_of_subject": known.subject,
        "value": row.value if row else (_finite(known.default)),
        "is_set": row is not None,
        "default": _finite(known.default),
        "least": known.floor,
        "most": known.most,
        "unit": known.unit,
        "class": known.kind,
        "set_by": row.set_by if row else "",
        "set_at": row.set_at if row else None,
        "reason": row.reason if row else "",
    }


def _line(row: dict[str, Any]) -> list[str]:
    whom = row["subject"] or (f"(each {row['kind_of_subject']})" if row["value"] is None else "all")
    bounds = f"{row['least']:g} to {row['most']:g}"
    numbers = [_said(row["value"]), _said(row["default"]), bounds]
    return [row["tunable"], whom, *numbers, row["unit"], row["class"], row["set_by"]]


def _said(value: float | None) -> str:
    return "its own" if value is None else f"{value:g}" if math.isfinite(value) else "no limit"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
