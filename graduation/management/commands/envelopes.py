"""`manage.py envelopes VERB`: list, show, propose and revert bounded changes of tunables."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError

from execution.management.commands._command import json_or_text, table
from execution.management.commands._verbs import VerbsCommand
from graduation import envelopes
from graduation.models import Envelope, EnvelopeState, Importance

_TITLES = ["ENVELOPE", "TUNABLE", "FOR", "VALUE", "BEFORE", "CLASS", "STATE", "UNTIL", "BY"]


class Command(VerbsCommand):
    help = "List, show, propose and revert bounded, time-limited changes of tunables."

    def add_verbs(self, verbs: Any) -> None:
        listed = self.add_verb(verbs, "list", "Show the newest envelopes.")
        listed.add_argument("--state", choices=EnvelopeState.values, help="Only those in this state.")
        listed.add_argument("--limit", type=int, default=50, help="How many, at most.")
        shown = self.add_verb(verbs, "show", "Show one envelope with every decision about it.")
        proposed = self.add_verb(verbs, "propose", "Apply a change, if the coordinator lets it.", asks_why=True)
        proposed.add_argument("tunable", metavar="TUNABLE", help="As `manage.py tunables list` shows it.")
        proposed.add_argument("value", metavar="VALUE", help="The value while it lasts.")
        proposed.add_argument("--for", dest="subject", default="", help="The one skill or key that it is for.")
        proposed.add_argument("--class", dest="importance", default="reliability", choices=Importance.labels)
        proposed.add_argument("--timebox", default="1h", help="How long it lasts, such as 15m or 2h.")
        proposed.add_argument("--within", type=float, metavar="PERCENT", help="At most so far from what holds now.")
        proposed.add_argument("--least", type=float, help="Its floor.")
        proposed.add_argument("--most", type=float, help="Its ceiling.")
        reverted = self.add_verb(verbs, "revert", "Put back what held before.", asks_why=True)
        for parser in (shown, reverted):
            parser.add_argument("envelope", metavar="ID", help="The envelope's id.")

    def _list(self, options: dict[str, Any]) -> None:
        rows = Envelope.objects.order_by("-created_at")
        rows = rows.filter(state=options["state"]) if options["state"] else rows
        found = [_row(one) for one in rows[: max(options["limit"], 0)]]
        if options["as_json"]:
            self.document({"envelopes": found})
        elif not found:
            self.say("There is no envelope; `manage.py envelopes propose` makes one.")
        else:
            self.say(table([_line(row) for row in found], _TITLES))

    def _show(self, options: dict[str, Any]) -> None:
        row = envelopes.get(options["envelope"])
        decisions = list(row.decisions.values("at", "decision", "reason", "by"))
        if options["as_json"]:
            self.document(_row(row) | {"decisions": decisions})
            return
        self.say(table([_line(_row(row))], _TITLES))
        for one in decisions:
            self.say(f"  {one['at']:%Y-%m-%d %H:%M:%S}  {one['decision']} by {one['by']}: {one['reason']}")

    def _propose(self, options: dict[str, Any]) -> None:
        bounds = envelopes.Bounds(most_percent=options["within"], least=options["least"], most=options["most"])
        if bounds == envelopes.Bounds():
            raise CommandError("say how far it may go: --within PERCENT, or --least and --most")
        row = envelopes.propose(
            options["tunable"],
            json_or_text(options["value"]),
            subject=options["subject"],
            importance=options["importance"],
            timebox=options["timebox"],
            bounds=bounds,
            by=options["by"],
            reason=options["reason"],
        )
        until = f"until {row.until:%Y-%m-%d %H:%M:%S}"
        self._tell(options, row, f"{row.tunable} is {row.value:g} {until}; it was {row.baseline:g}")

    def _revert(self, options: dict[str, Any]) -> None:
        row = envelopes.revert(envelopes.get(options["envelope"]), by=options["by"], reason=options["reason"])
        self._tell(options, row, f"{row.tunable} is put back: {row.ended_reason}")

    def _tell(self, options: dict[str, Any], row: Envelope, text: str) -> None:
        if options["as_json"]:
            self.document(_row(row))
        else:
            self.say(f"{row.pk}: {text}")


def _row(row: Envelope) -> dict[str, Any]:
    return {
        "id": row.pk,
        "tunable": row.tunable,
        "subject": row.subject,
        "value": row.value,
        "baseline": row.baseline,
        "class": Importance(row.importance).label,
        "state": row.state,
        "until": row.until,
        "by": row.by,
        "reason": row.reason,
        "ended_at": row.ended_at,
        "ended_by": row.ended_by,
        "ended_reason": row.ended_reason,
    }


def _line(row: dict[str, Any]) -> list[str]:
    before = "" if row["baseline"] is None else f"{row['baseline']:g}"
    until = f"{row['until']:%Y-%m-%d %H:%M:%S}" if row["until"] else ""
    whom, value = row["subject"] or "all", f"{row['value']:g}"
    return [str(row["id"]), row["tunable"], whom, value, before, row["class"], row["state"], until, row["by"]]
