"""`manage.py dead-letters VERB`: what could not be worked off, and another life for it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from execution import words
from execution.exceptions import CeleriacError
from execution.management.commands._command import moment, table
from execution.management.commands._verbs import VerbsCommand
from recovery import dead_letters
from recovery.models import DeadLetter

AT_ONCE = 1000
_TITLES = ["ID", "AGE", "QUEUE", "TRIES", "IS", "REASON"]


class Command(VerbsCommand):
    help = "List, show, replay and dismiss dead letters: what could not be worked off."

    def add_verbs(self, verbs: Any) -> None:
        listed = self.add_verb(verbs, "list", "Show the newest dead letters that nobody has looked after.")
        listed.add_argument("--all", action="store_true", help="Those replayed and dismissed too.")
        listed.add_argument("--limit", type=int, default=20, help="How many; 20 unless given.")
        show = self.add_verb(verbs, "show", "Show one letter whole.")
        show.add_argument("id", metavar="ID", help="The letter's id, or its beginning.")
        replay = self.add_verb(verbs, "replay", "Give letters another life, each once.", asks_why=True)
        dismiss = self.add_verb(verbs, "dismiss", "Put letters aside that need no other life.", asks_why=True)
        for parser in (replay, dismiss):
            parser.add_argument("ids", metavar="ID", nargs="*", help="Letters by their id, or its beginning.")
            parser.add_argument("--since", help="All that died since: 2h, or 2030-01-31 18:00.")
            parser.add_argument("--until", help="All that died until.")
        for parser in (listed, replay, dismiss):
            _add_queue(parser)

    def _list(self, options: dict[str, Any]) -> None:
        if options["limit"] < 1:
            raise CommandError(f"--limit is {options['limit']}; give 1 or more")
        rows = DeadLetter.objects.order_by("-id") if options["all"] else dead_letters.waiting()
        found = list((rows.filter(queue=options["queue"]) if options["queue"] else rows)[: options["limit"]])
        if options["as_json"]:
            self.document({"letters": [_row(letter) for letter in found]})
        elif found:
            self.say(table([_line(letter) for letter in found], _TITLES))
        else:
            self.say("there is no dead letter")

    def _show(self, options: dict[str, Any]) -> None:
        letter = dead_letters.get(options["id"])
        if options["as_json"]:
            self.document(_row(letter))
            return
        for name, value in _row(letter).items():
            if value not in (None, "", False):
                shown = json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, dict) else value
                self.say(f"{name:15} {shown}")

    def _replay(self, options: dict[str, Any]) -> None:
        self._each(options, dead_letters.replay, "replayed")

    def _dismiss(self, options: dict[str, Any]) -> None:
        self._each(options, dead_letters.dismiss, "dismissed")

    def _each(self, options: dict[str, Any], verb: Any, done: str) -> None:
        """Do it to each on its own; what stands in one's way is said, and is in no other's."""
        results: list[dict[str, Any]] = []
        for letter in _chosen(options):
            try:
                verb(letter, by=options["by"], reason=options["reason"])
            except CeleriacError as error:
                results.append({"id": letter.pk, "done": False, "error": str(error)})
            else:
                results.append({"id": letter.pk, "done": True, "error": ""})
        failed = [one for one in results if not one["done"]]
        if options["as_json"]:
            self.document({done: len(results) - len(failed), "skipped": len(failed), "letters": results})
        else:
            self.say(f"{words.counted(len(results) - len(failed), 'letter')} {done}")
            for one in failed:
                self.stderr.write(f"skipped {one['id']}: {one['error']}")
        if failed and len(failed) == len(results):
            raise SystemExit(1)


def _add_queue(parser: CommandParser) -> None:
    parser.add_argument("--queue", default="", help="Only of one queue: stream, express, handler:NAME.")


def _chosen(options: dict[str, Any]) -> list[DeadLetter]:
    if options["ids"]:
        return [dead_letters.get(one) for one in options["ids"]]
    since, until = _moment(options["since"], "--since"), _moment(options["until"], "--until")
    if since is None and until is None:
        raise CommandError("name letters by their ids, or a span of time by --since and --until")
    return list(dead_letters.between(since, until, queue=options["queue"])[:AT_ONCE])


def _moment(given: str | None, place: str) -> datetime | None:
    return moment(given, place, back=True) if given else None


def _row(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.pk,
        "queue": letter.queue,
        "original_id": letter.original_id,
        "reason": letter.reason,
        "tries": letter.tries,
        "died_at": letter.died_at,
        "replayed_at": letter.replayed_at,
        "replayed_by": letter.replayed_by,
        "is_dismissed": letter.is_dismissed,
        "body": letter.body,
    }


def _line(letter: DeadLetter) -> list[str]:
    state = "waiting" if letter.replayed_at is None else "dismissed" if letter.is_dismissed else "replayed"
    age = words.length(timezone.now() - letter.died_at)
    reason = letter.reason.strip().splitlines()[-1:] or [""]
    return [str(letter.pk), age, letter.queue, str(letter.tries), state, words.one_line(reason[0], 80)]
