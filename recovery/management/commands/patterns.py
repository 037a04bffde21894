"""`manage.py patterns VERB`: look at known kinds of failures, and judge them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.dateparse import parse_date

from execution import words
from execution.management.commands._command import table
from execution.management.commands._verbs import VerbsCommand
from recovery import aggregation, patterns
from recovery.models import Category, FailurePattern, Mode, PatternState

_TITLES = ["NUMBER", "STATE", "COST", "COUNT", "LAST", "CATEGORY", "MODE", "NAME"]
_CANDIDATES_MOST = 10


class Command(VerbsCommand):
    help = "Look at known kinds of failures, and judge them."

    def add_verbs(self, verbs: Any) -> None:
        listed = self.add_verb(verbs, "list", "Show the patterns, those first that burnt most.")
        listed.add_argument("--state", choices=PatternState.values, help="Only those in one state.")
        listed.add_argument("--category", choices=Category.values, help="Only those of one category.")
        listed.add_argument("--limit", type=int, default=20, help="How many; 20 unless given.")
        show = self.add_verb(verbs, "show", "Show one pattern, with examples and candidates.")
        confirm = self.add_verb(
            verbs, "confirm", "Say that a pattern is one; its mode is in force then.", asks_why=True
        )
        reject = self.add_verb(verbs, "reject", "Say that it is none: it is matched no more.", asks_why=True)
        change = self.add_verb(verbs, "change", "Change a pattern's category, mode or name.", asks_why=True)
        for parser in (show, confirm, reject, change):
            parser.add_argument("pattern", metavar="PATTERN", help="The pattern's name or number.")
        change.add_argument("--category", help=f"One of {', '.join(Category.values)}.")
        change.add_argument("--name", help="Another name.")
        for parser in (confirm, change):
            parser.add_argument("--mode", help=f"One of {', '.join(Mode.values)}.")
        night = self.add_verb(verbs, "aggregate", "Do a night's aggregation now; one that was done stays as it is.")
        night.add_argument("--night", help="The night, as 2030-01-31; today's unless given.")

    def _list(self, options: dict[str, Any]) -> None:
        if options["limit"] < 1:
            raise CommandError(f"--limit is {options['limit']}; give 1 or more")
        asked = {name: options[name] for name in ("state", "category") if options[name]}
        found = list(FailurePattern.objects.filter(**asked).order_by("-cost", "-count", "id")[: options["limit"]])
        if options["as_json"]:
            self.document({"patterns": [_row(one) for one in found]})
        elif found:
            self.say(table([_line(one) for one in found], _TITLES))
        else:
            self.say("there is no such pattern; `manage.py patterns aggregate` looks for new ones")

    def _show(self, options: dict[str, Any]) -> None:
        found = patterns.get(options["pattern"])
        candidates = list(found.candidates.order_by("-id")[:_CANDIDATES_MOST])
        if options["as_json"]:
            told = [{"id": one.id, "run": one.run_id, "state": one.state, "action": one.action} for one in candidates]
            self.document(_row(found) | {"examples": found.examples, "candidates": told})
            return
        for name, value in _row(found).items():
            if value not in (None, "", []):
                self.say(f"{name:20} {', '.join(value) if isinstance(value, list) else value}")
        for one in found.examples:
            self.say(
                f"{'example':20} {one['failed_at'][:19]} run {one['run'][:18]}  {words.one_line(one['message'], 90)}"
            )
        for candidate in candidates:
            self.say(
                f"{'candidate':20} {candidate.state:11} run {str(candidate.run_id)[:18]}  {candidate.action or '-'}"
            )

    def _confirm(self, options: dict[str, Any]) -> None:
        self._say_judged(patterns.confirm(options["pattern"], mode=options["mode"], **_why(options)), options)

    def _reject(self, options: dict[str, Any]) -> None:
        self._say_judged(patterns.reject(options["pattern"], **_why(options)), options)

    def _change(self, options: dict[str, Any]) -> None:
        wanted = {name: options[name] for name in ("category", "mode", "name")}
        self._say_judged(patterns.change(options["pattern"], **wanted, **_why(options)), options)

    def _say_judged(self, found: FailurePattern, options: dict[str, Any]) -> None:
        if options["as_json"]:
            self.document(_row(found))
        else:
            self.say(f"{found.name!r} is {found.state}: {found.category}, mode {found.mode}")

    def _aggregate(self, options: dict[str, Any]) -> None:
        began = timezone.now()
        found = aggregation.aggregate(_night(options["night"]))
        if options["as_json"]:
            self.document(
                {
                    "night": found.night,
                    "proposed": found.proposed_count,
                    "adopted": found.adopted_count,
                    "exported_at": found.exported_at,
                    "lines": found.lines,
                }
            )
            return
        self.say(
            f"night of {found.night}: {words.counted(found.proposed_count, 'pattern')} proposed, "
            f"{words.counted(found.adopted_count, 'failure')} added to known ones"
        )
        if found.created_at < began:
            self.say(f"it was done at {found.created_at:%H:%M UTC}: what has failed since is grouped in the next night")
        for line in found.lines:
            self.say(
                f"  {line['count']:>6} x  {words.money(Decimal(line['cost']))}  {line['category']}  {line['name']}"
            )


def _night(given: str | None) -> date | None:
    if given is None:
        return None
    try:
        found = parse_date(given)
    except ValueError:
        found = None
    if found is None:
        raise CommandError(f"--night is {given!r}; write a date such as '2030-01-31'")
    return found


def _why(options: dict[str, Any]) -> dict[str, str]:
    return {"by": options["by"], "reason": options["reason"]}


def _row(one: FailurePattern) -> dict[str, Any]:
    names = (
        "id", "name", "state", "category", "mode", "suggested_mode", "count", "cost", "error_type", "skill", "template",
        "versions", "first_seen_at", "last_seen_at", "confirmed_count", "confirmed_at", "fingerprint",
        "fingerprint_version", "changed_by", "reason",
    )  # fmt: skip
    return {name: getattr(one, name) for name in names}


def _line(one: FailurePattern) -> list[str]:
    mode = one.mode if one.mode == one.suggested_mode else f"{one.mode} (suggested: {one.suggested_mode})"
    last = words.length(timezone.now() - one.last_seen_at) if one.last_seen_at else "-"
    return [str(one.pk), one.state, words.money(one.cost), f"{one.count:,}", last, one.category, mode, one.name]
