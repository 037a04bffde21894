"""`manage.py objectives VERB`: declare what is to be reached, and see where it stands."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db import transaction
from django.utils import timezone

from execution import words
from execution.management.commands._command import operator, table, yaml_files
from execution.management.commands._verbs import VerbsCommand
from graduation import conf, objectives
from graduation.models import Objective, Origin
from graduation.observe import judgments, standing

_TITLES = ["OBJECTIVE", "SERVICE", "SUBJECT", "TARGET", "STANDING", "LEFT", "GOOD", "TOTAL", "KNOWN"]


class Command(VerbsCommand):
    help = "Declare what is to be reached, in OpenSLO files, and see where it stands."

    def add_verbs(self, verbs: Any) -> None:
        imported = self.add_verb(verbs, "import", "Declare the objectives of OpenSLO files; twice changes nothing.")
        imported.add_argument("files", nargs="+", metavar="FILE", help="A file, or a folder of .yaml files.")
        imported.add_argument("--dry-run", action="store_true", help="Only say what that would change.")
        imported.add_argument("--by", default=operator(), help="Who; the user of the system unless given.")
        listed = self.add_verb(verbs, "list", "Show every objective and where it stands.")
        listed.add_argument("--service", default="", help="Only those of one service.")
        shown = self.add_verb(verbs, "show", "Show one objective with its burn rates.")
        changed = [
            self.add_verb(verbs, "enable", "Count an objective, and let it decide.", asks_why=True),
            self.add_verb(verbs, "disable", "Count an objective no longer.", asks_why=True),
            self.add_verb(verbs, "remove", "Remove an objective and its counts.", asks_why=True),
        ]
        for parser in (shown, *changed):
            parser.add_argument("name", metavar="NAME", help="The objective.")

    def _import(self, options: dict[str, Any]) -> None:
        with transaction.atomic():
            changes, notes = objectives.import_(yaml_files(options["files"]), by=options["by"])
            transaction.set_rollback(options["dry_run"])
        if options["as_json"]:
            told = [str(one) for one in notes]
            self.document({"is_dry": options["dry_run"], "changes": [asdict(one) for one in changes], "notes": told})
            return
        for line in (*changes, *notes):
            self.say(str(line))
        if options["dry_run"]:
            self.say("nothing was written: this was a dry run")

    def _list(self, options: dict[str, Any]) -> None:
        found = [_row(one) for one in objectives.listed(options["service"])]
        if options["as_json"]:
            self.document({"objectives": found})
        elif not found:
            self.say("there is no objective; `manage.py objectives import FILE` declares some")
        else:
            self.say(table([_line(row) for row in found], _TITLES))

    def _show(self, options: dict[str, Any]) -> None:
        found = objectives.get(options["name"])
        read, now = judgments.read if found.origin == Origin.VERDICTS else standing.read, timezone.now()
        reading = read(found, now)
        burns = standing.rates(reading) if reading else []
        if options["as_json"]:
            self.document(_row(found) | {"indicator": found.indicator, "burns": burns})
            return
        self.say(table([_line(_row(found))], _TITLES))
        for one in burns:
            rates = ", ".join(
                f"{_rate(one[name])} {what}" for name, what in (("long_rate", "long"), ("short_rate", "short"))
            )
            mark = "  ALARM" if one["is_alarming"] else ""
            self.say(f"  {one['windows']:<8} burns {rates}; above {one['at_most']:g} is a {one['urgency']}{mark}")
        if found.state.error:
            self.say(f"  error: {found.state.error}")

    def _enable(self, options: dict[str, Any]) -> None:
        self._tell(options, objectives.enable(options["name"], by=options["by"], reason=options["reason"]), "enabled")

    def _disable(self, options: dict[str, Any]) -> None:
        self._tell(options, objectives.disable(options["name"], by=options["by"], reason=options["reason"]), "disabled")

    def _remove(self, options: dict[str, Any]) -> None:
        found = objectives.get(options["name"])
        objectives.remove(found.pk, by=options["by"], reason=options["reason"])
        self._tell(options, found, "removed")

    def _tell(self, options: dict[str, Any], found: Objective, done: str) -> None:
        self.document(_row(found)) if options["as_json"] else self.say(f"{found.pk} is {done}")


def _row(found: Objective) -> dict[str, Any]:
    state = standing.state_of(found)
    return {
        "name": found.pk,
        "service": found.service,
        "subject": found.subject,
        "origin": found.origin,
        "target": found.target,
        "period_days": found.period_days,
        "is_enabled": found.is_enabled,
        "standing": state.standing if state.collected_at else "no_data",
        "budget_left": None if state.consumed is None else 1 - state.consumed,
        "good": state.good if state.collected_at else 0,
        "total": state.total if state.collected_at else 0,
        "burning": state.burning if state.collected_at else [],
        "is_breached": bool(state.collected_at and state.is_breached),
        "known_until": state.data_at,
        "error": state.error if state.collected_at else "",
    }


def _line(row: dict[str, Any]) -> list[str]:
    left = "" if row["budget_left"] is None else f"{row['budget_left']:.1%}"
    shown = row["standing"] if row["is_enabled"] else "disabled"
    counts = [str(row["good"]), str(row["total"])]
    return [row["name"], row["service"], row["subject"], f"{row['target']:.5g}", shown, left, *counts, _known(row)]


def _known(row: dict[str, Any]) -> str:
    if row["known_until"] is None:
        return "never"
    age = timezone.now() - row["known_until"]
    is_stale = age.total_seconds() > conf.current().gate_stale_seconds
    return f"{words.length(age)} ago" + (", stale" if is_stale else "")


def _rate(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.2f}"
