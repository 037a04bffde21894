"""`manage.py incidents VERB`: look at incidents and their timelines, approve, refuse, comment and close."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from execution import words
from execution.management.commands._command import beginning, table
from execution.management.commands._verbs import VerbsCommand
from recovery import incidents, remedies
from recovery.models import Incident, IncidentEntry, IncidentState

_TITLES = ["ID", "STATE", "SEVERITY", "OPENED", "LASTED", "WAITS", "INCIDENT"]
_ACTIONS = ["ACTION", "VERB", "RISK", "APPROVAL", "COOL-DOWN", "VERIFIED BY"]


class Command(VerbsCommand):
    help = "Look at incidents and their timelines, approve what they wait for, comment on them and close them."

    def add_verbs(self, verbs: Any) -> None:
        listed = self.add_verb(verbs, "list", "Show the incidents that are open, or have ended within a day.")
        listed.add_argument("--all", action="store_true", dest="every", help="Those that ended before, too.")
        listed.add_argument("--state", choices=IncidentState.values, help="Those in one state.")
        listed.add_argument("--limit", type=int, default=50, help="How many, the newest first; 50 unless given.")
        _named(self.add_verb(verbs, "show", "Show one incident with its timeline."))
        _named(self.add_verb(verbs, "approve", "Let the remediation that waits for it be done.", asks_why=True))
        _named(self.add_verb(verbs, "refuse", "Refuse the remediation: a person goes on.", asks_why=True))
        _named(self.add_verb(verbs, "close", "End it by hand, and cancel its run.", asks_why=True))
        said = self.add_verb(verbs, "comment", "Add a line to its timeline.", asks_why=True)
        _named(said)
        said.add_argument("text", metavar="TEXT", help="What there is to say.")
        self.add_verb(verbs, "actions", "Show the actions that are done without asking.")

    def _list(self, options: dict[str, Any]) -> None:
        if options["limit"] < 1:
            raise CommandError(f"--limit is {options['limit']}; give 1 or more")
        rows = Incident.objects.all() if options["every"] else Incident.objects.current()
        rows = rows.filter(state=options["state"]) if options["state"] else rows
        found = [_row(one) for one in rows.order_by("-id")[: options["limit"]]]
        if options["as_json"]:
            self.document({"incidents": found})
        elif found:
            self.say(table([_line(row) for row in found], _TITLES))
        else:
            self.say("there is no incident" + ("" if options["every"] else "; `--all` shows those of earlier days"))

    def _show(self, options: dict[str, Any]) -> None:
        incident = _find(options["incident"])
        entries = list(incident.entries.all())
        row = _row(incident)
        if options["as_json"]:
            self.document({**row, "timeline": [_entry(entry) for entry in entries]})
            return
        self.say(f"{row['title']}\n{row['state']}, {row['severity']}, {', '.join(row['services'])}")
        for name in ("id", "run", "snapshot", "cause"):
            if row[name]:
                self.say(f"{name:10} {row[name]}")
        self.say("")
        for entry in entries:
            self.say(_told(entry))
        if row["waits_for"]:
            plan = remedies.Plan.of(row["waits_for"]["plan"])
            self.say(f"\nit waits for a person ({plan.why_asked}): {plan}")
            self.say(f"  manage.py incidents approve {incident.id} --reason ...")

    def _approve(self, options: dict[str, Any]) -> None:
        self._decide(options, incidents.approve, "is approved: its remediation is done next")

    def _refuse(self, options: dict[str, Any]) -> None:
        self._decide(options, incidents.refuse, "is refused: a person goes on")

    def _close(self, options: dict[str, Any]) -> None:
        self._decide(options, incidents.close, "is closed")

    def _decide(self, options: dict[str, Any], verb: Any, text: str) -> None:
        incident = verb(_find(options["incident"]), by=options["by"], reason=options["reason"])
        if options["as_json"]:
            self.document(_row(incident))
        else:
            self.say(f"incident {incident.id} {text}")

    def _comment(self, options: dict[str, Any]) -> None:
        entry = incidents.comment(_find(options["incident"]), options["text"], by=options["by"])
        if options["as_json"]:
            self.document(_entry(entry))
        else:
            self.say(_told(entry))

    def _actions(self, options: dict[str, Any]) -> None:
        rows: list[dict[str, Any]] = [
            {
                "action": one.name,
                "verb": one.verb,
                "risk": one.risk,
                "needs_approval": one.needs_approval,
                "cooldown_seconds": one.cooldown_seconds,
                "verification": remedies.VERIFICATION[one.verb],
            }
            for one in remedies.safe()
        ]
        if options["as_json"]:
            self.document({"actions": rows})
        elif rows:
            lines = [
                [*map(str, list(row.values())[:3]), "none", _length(row), str(row["verification"])] for row in rows
            ]
            self.say(table(lines, _ACTIONS))
        else:
            self.say("no action is safe: each incident waits for a person")


def _length(row: dict[str, Any]) -> str:
    return words.length(row["cooldown_seconds"]) if row["cooldown_seconds"] else "none"


def _named(parser: CommandParser) -> None:
    parser.add_argument("incident", metavar="ID", help="The incident's id, or its beginning.")


def _find(text: str) -> Incident:
    """Return the incident of this id, or the only one whose id begins so."""
    text = text.strip()
    return incidents.get(beginning(text, (Incident.objects.all(), "pk")) or text)


def _row(incident: Incident) -> dict[str, Any]:
    return {
        "id": incident.id,
        "title": incident.title,
        "state": incident.state,
        "severity": incident.severity,
        "services": incident.services,
        "run": incident.run_id,
        "snapshot": incident.snapshot_id,
        "breach": incident.breach_id,
        "cause": incident.cause,
        "summary": incident.summary,
        "waits_for": incidents.waits_for(incident),
        "opened_at": incident.opened_at,
        "ended_at": incident.ended_at,
        "ended_by": incident.ended_by,
    }


def _line(row: dict[str, Any]) -> list[str]:
    now = timezone.now()
    lasted = words.length((row["ended_at"] or now) - row["opened_at"])
    waits = "approval" if row["waits_for"] else ""
    age = f"{words.length(now - row['opened_at'])} ago"
    return [str(row["id"]), row["state"], row["severity"], age, lasted, waits, words.one_line(row["title"], 60)]


def _entry(entry: IncidentEntry) -> dict[str, Any]:
    return {
        "at": entry.at, "kind": entry.kind, "text": entry.text, "by": entry.by, "verdict": entry.verdict_id,
        "data": entry.data,
    }  # fmt: skip


def _told(entry: IncidentEntry) -> str:
    by = f" ({entry.by})" if entry.by else ""
    first, *rest = entry.text.splitlines() or [""]
    return "\n".join([f"{words.moment(entry.at)}  {entry.kind:12}  {first}{by}", *(f"{'':28}{line}" for line in rest)])
