"""`manage.py failures VERB`: look at what failed, and say when a failure was matched rightly."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from execution import words
from execution.management.commands import _command
from execution.management.commands._command import table
from execution.management.commands._verbs import VerbsCommand
from recovery import failures, patterns
from recovery.models import FailureMatch

_TITLES = ["ID", "AGE", "SKILL", "ENDED", "KIND", "COST", "PATTERN", "SAYS"]


class Command(VerbsCommand):
    help = "Look at what failed, and say when a failure was matched rightly."

    def add_verbs(self, verbs: Any) -> None:
        listed = self.add_verb(verbs, "list", "Show the newest failures.")
        listed.add_argument("--pattern", help="Of one pattern, by its name or number; `none`: of none.")
        listed.add_argument("--skill", help="Of one skill.")
        listed.add_argument("--run", help="Of one run, by its id or the beginning of it.")
        listed.add_argument("--kind", help="Of one kind of error: transient, permanent, resource or unknown.")
        listed.add_argument("--since", help="Not older than this: a length such as `2h`, or a moment.")
        listed.add_argument("--final", action="store_true", help="Only those that left their run failed or parked.")
        listed.add_argument("--limit", type=int, default=20, help="How many; 20 unless given.")
        self._add_failure(self.add_verb(verbs, "show", "Show one failure, with its pattern and its candidate."))
        right = self.add_verb(verbs, "confirm", "Say that a failure was matched rightly.", asks_why=True)
        self._add_failure(right)

    def _add_failure(self, parser: CommandParser) -> None:
        parser.add_argument("failure", metavar="ID", help="The failure's id, or the beginning of it.")

    def _list(self, options: dict[str, Any]) -> None:
        if options["limit"] < 1:
            raise CommandError(f"--limit is {options['limit']}; give 1 or more")
        rows = FailureMatch.objects.filter(**_asked(options)).select_related("pattern").defer("message")
        newest = list(rows.select_related("template").order_by("-failed_at", "-id")[: options["limit"]])
        if options["as_json"]:
            self.document({"failures": [_row(one) for one in newest]})
        elif newest:
            self.say(table([_line(one) for one in newest], _TITLES))
        else:
            self.say("there is no such failure")

    def _show(self, options: dict[str, Any]) -> None:
        found = _find(options["failure"])
        candidate = getattr(found, "candidate", None)
        told = _row(found) | {
            "message": found.message,
            "attempt": found.attempt_id,
            "step": found.step_id,
            "agent": found.agent_id,
            "tokens": found.tokens,
            "candidate": {"id": candidate.id, "state": candidate.state} if candidate else None,
        }
        if options["as_json"]:
            self.document(told)
            return
        told["candidate"] = f"{candidate.id} ({candidate.state})" if candidate else None
        for name, value in told.items():
            if value not in (None, ""):
                self.say(f"{name:20} {value}")

    def _confirm(self, options: dict[str, Any]) -> None:
        found = patterns.confirm_match(_find(options["failure"]), by=options["by"], reason=options["reason"])
        if options["as_json"]:
            self.document({"pattern": found.name, "confirmed_count": found.confirmed_count})
            return
        self.say(f"{found.name!r} was right {words.counted(found.confirmed_count, 'time')}")


def _asked(options: dict[str, Any]) -> dict[str, Any]:
    """Return what a list is filtered by."""
    asked: dict[str, Any] = {"skill": options["skill"], "error_kind": options["kind"]}
    if options["pattern"] == "none":
        asked["pattern__isnull"] = True
    elif options["pattern"]:
        asked["pattern"] = patterns.get(options["pattern"])
    if options["run"]:
        asked["run_id"] = _command.find(options["run"]).id
    if options["since"]:
        asked["failed_at__gte"] = _command.moment(options["since"], "--since", back=True)
    if options["final"]:
        asked["is_final"] = True
    return {name: value for name, value in asked.items() if value is not None}


def _find(text: str) -> FailureMatch:
    """Return the failure of this id, or the only one whose id begins so."""
    text = text.strip()
    return failures.get(_command.beginning(text, (FailureMatch.objects.all(), "pk")) or text)


def _row(one: FailureMatch) -> dict[str, Any]:
    return {
        "id": one.id,
        "run": one.run_id,
        "skill": one.skill,
        "version": one.version,
        "ending": one.ending,
        "error_kind": one.error_kind,
        "error_type": one.error_type,
        "template": one.template.text if one.template else None,
        "fingerprint": one.fingerprint,
        "fingerprint_version": one.fingerprint_version,
        "pattern": one.pattern.name if one.pattern else None,
        "how": one.how,
        "confidence": one.confidence,
        "is_final": one.is_final,
        "cost": one.cost,
        "failed_at": one.failed_at,
    }


def _line(one: FailureMatch) -> list[str]:
    pattern = f"{one.pattern.name[:30]} ({one.confidence:.2f})" if one.pattern else "-"
    said = words.one_line(f"{one.error_type.rpartition('.')[2]} {one.template.text if one.template else ''}", 60)
    return [
        str(one.id),
        words.length(timezone.now() - one.failed_at),
        one.skill,
        one.ending + ("" if one.is_final else ", went on"),
        one.error_kind,
        words.money(one.cost),
        pattern,
        said,
    ]
