"""`manage.py freezes VERB`: keep deployments back for a while, or let one through."""

from __future__ import annotations

from typing import Any

from execution.management.commands._command import moment, table
from execution.management.commands._verbs import VerbsCommand
from graduation.models import Freeze, Override
from graduation.observe import gate

_TITLES = ["ID", "KIND", "SERVICE", "COMMIT", "UNTIL", "BY", "REASON"]


class Command(VerbsCommand):
    help = "Keep deployments back for a while, or let one through; the deploy gate asks these rows."

    def add_verbs(self, verbs: Any) -> None:
        self.add_verb(verbs, "list", "Show the freezes and overrides in force.")
        frozen = self.add_verb(verbs, "freeze", "Let nothing be deployed.", asks_why=True)
        frozen.add_argument("--service", default="", help="One service; every one unless given.")
        frozen.add_argument(
            "--until", help="A moment, or a length of time such as 8h; until it is lifted unless given."
        )
        lifted = self.add_verb(verbs, "lift", "End a freeze.", asks_why=True)
        lifted.add_argument("freeze", type=int, metavar="ID", help="The freeze, as `list` shows it.")
        let = self.add_verb(verbs, "override", "Let a service through, whatever the gate would say.", asks_why=True)
        let.add_argument("--service", required=True, help="The service.")
        let.add_argument("--commit", default="", help="One commit of it; any unless given.")
        let.add_argument("--until", required=True, help="A moment, or a length of time such as 2h.")

    def _list(self, options: dict[str, Any]) -> None:
        rows = [*map(_row, gate.frozen()), *map(_row, gate.overridden())]
        if options["as_json"]:
            self.document({"rows": rows})
        elif not rows:
            self.say("nothing is frozen, and nothing is overridden")
        else:
            self.say(table([_line(row) for row in rows], _TITLES))

    def _freeze(self, options: dict[str, Any]) -> None:
        until = moment(options["until"], "--until") if options["until"] else None
        row = gate.freeze(options["service"], by=options["by"], reason=options["reason"], until=until)
        self._tell(options, row, f"{row} is in force")

    def _lift(self, options: dict[str, Any]) -> None:
        row = gate.lift(options["freeze"], by=options["by"], reason=options["reason"])
        self._tell(options, row, f"{row} is lifted")

    def _override(self, options: dict[str, Any]) -> None:
        row = gate.override(
            options["service"],
            commit=options["commit"],
            until=moment(options["until"], "--until"),
            by=options["by"],
            reason=options["reason"],
        )
        self._tell(options, row, f"{row} is in force")

    def _tell(self, options: dict[str, Any], row: Freeze | Override, text: str) -> None:
        if options["as_json"]:
            self.document(_row(row))
        else:
            until = f" until {row.until:%Y-%m-%d %H:%M:%S}" if row.until else ""
            self.say(f"{row.pk}: {text}{until}" if "in force" in text else f"{row.pk}: {text}")


def _row(row: Freeze | Override) -> dict[str, Any]:
    return {
        "id": row.pk,
        "kind": "freeze" if isinstance(row, Freeze) else "override",
        "service": row.service,
        "commit": getattr(row, "commit", ""),
        "since": row.since,
        "until": row.until,
        "by": row.by,
        "reason": row.reason,
    }


def _line(row: dict[str, Any]) -> list[str]:
    until = f"{row['until']:%Y-%m-%d %H:%M:%S}" if row["until"] else "lifted"
    whom = row["service"] or "every"
    return [str(row["id"]), row["kind"], whom, row["commit"], until, row["by"], row["reason"]]
