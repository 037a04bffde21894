"""`manage.py handlers VERB`: who handles which events, switched off and on one by one; questions, and their answers."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.db.models import Count
from django.utils import timezone

from execution import words
from execution.management.commands._command import json_or_text, table
from execution.management.commands._verbs import VerbsCommand
from recovery import dispatcher, handling
from recovery.exceptions import NotFound
from recovery.models import HandlerSwitch, Handling, HandlingState

_TITLES = ["HANDLER", "KINDS", "IS", "PENDING", "WAITING", "DEAD"]
_COUNTED = (HandlingState.PENDING, HandlingState.WAITING, HandlingState.DEAD)


class Command(VerbsCommand):
    help = "Show who handles which events, switch handlers off and on one by one, and answer what they ask."

    def add_verbs(self, verbs: Any) -> None:
        self.add_verb(verbs, "list", "Show every handler: its kinds of events, and what waits for it.")
        off = self.add_verb(verbs, "disable", "Switch a handler off; what happens meanwhile waits.", asks_why=True)
        on = self.add_verb(verbs, "enable", "Switch a handler on again.", asks_why=True)
        on.add_argument("--fresh", action="store_true", help="Drop what has waited for it, and begin afresh.")
        for parser in (off, on):
            parser.add_argument("name", metavar="NAME", help="The handler, as `list` shows it.")
        asked = self.add_verb(verbs, "questions", "Show what handlers ask of a person.")
        asked.add_argument("--limit", type=int, default=20, help="How many; 20 unless given.")
        resolve = self.add_verb(verbs, "resolve", "Answer a question; its handler goes on.", asks_why=True)
        resolve.add_argument("id", metavar="ID", help="The question's id, or its beginning.")
        resolve.add_argument("answer", metavar="ANSWER", help="JSON, or text.")

    def _list(self, options: dict[str, Any]) -> None:
        dispatcher.discover()
        dispatcher.introduce()
        counts = _counts()
        rows = [_row(one, counts.get(one.handler, {})) for one in HandlerSwitch.objects.order_by("handler")]
        if options["as_json"]:
            self.document({"handlers": rows})
            return
        self.say(table([_line(row) for row in rows], _TITLES))

    def _disable(self, options: dict[str, Any]) -> None:
        self._switch(options, is_enabled=False)

    def _enable(self, options: dict[str, Any]) -> None:
        self._switch(options, is_enabled=True, is_fresh=options["fresh"])

    def _switch(self, options: dict[str, Any], *, is_enabled: bool, is_fresh: bool = False) -> None:
        who = {"by": options["by"], "reason": options["reason"]}
        found = dispatcher.switch(options["name"], is_enabled=is_enabled, is_fresh=is_fresh, **who)
        if options["as_json"]:
            self.document({"handler": found.handler, "is_enabled": found.is_enabled})
            return
        self.say(f"{found.handler} is switched {'on' if found.is_enabled else 'off; what happens meanwhile waits'}")

    def _questions(self, options: dict[str, Any]) -> None:
        if options["limit"] < 1:
            raise CommandError(f"--limit is {options['limit']}; give 1 or more")
        found = list(handling.waiting()[: options["limit"]])
        if options["as_json"]:
            self.document({"questions": [_question(one) for one in found]})
        elif found:
            lines = [
                [str(one.pk), words.length(timezone.now() - one.created_at), one.handler, one.kind, one.question]
                for one in found
            ]
            self.say(table(lines, ["ID", "AGE", "HANDLER", "EVENT", "QUESTION"]))
        else:
            self.say("nobody asks anything")

    def _resolve(self, options: dict[str, Any]) -> None:
        found = _waiting_one(options["id"])
        question = found.question
        who = {"by": options["by"], "reason": options["reason"]}
        handling.resolve(found, json_or_text(options["answer"]), **who)
        if options["as_json"]:
            self.document({**_question(found), "question": question, "answers": found.answers})
            return
        self.say(f"{found.handler} goes on with the answer to {question!r}")


def _counts() -> dict[str, dict[str, int]]:
    rows = Handling.objects.filter(state__in=_COUNTED).values_list("handler", "state").annotate(Count("pk"))
    found: dict[str, dict[str, int]] = {}
    for handler, state, count in rows:
        found.setdefault(handler, {})[state] = count
    return found


def _row(one: HandlerSwitch, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "handler": one.handler,
        "kinds": one.kinds,
        "is_enabled": one.is_enabled,
        "is_known_here": one.handler in dispatcher.KNOWN,
        **{state: counts.get(state, 0) for state in _COUNTED},
        "changed_by": one.changed_by,
        "changed_at": one.changed_at,
        "reason": one.reason,
    }


def _line(row: dict[str, Any]) -> list[str]:
    state = ("on" if row["is_enabled"] else "off") + ("" if row["is_known_here"] else ", not in this project's code")
    return [row["handler"], " ".join(row["kinds"]), state, *(f"{row[one]:,}" for one in _COUNTED)]


def _question(one: Handling) -> dict[str, Any]:
    return {
        "id": one.pk,
        "handler": one.handler,
        "kind": one.kind,
        "event": one.event,
        "question": one.question,
        "created_at": one.created_at,
    }


def _waiting_one(beginning: str) -> Handling:
    """Return the question of this id, or the only one whose id begins so."""
    digits = beginning.strip().replace("-", "").lower()
    found = [one for one in handling.waiting()[:1000] if digits and one.pk.hex.startswith(digits)]
    if len(found) != 1:
        hint = "give more of it: it begins several" if found else "`handlers questions` shows them"
        raise NotFound("question", repr(beginning), hint)
    return found[0]
