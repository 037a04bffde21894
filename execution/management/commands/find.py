"""`manage.py find TERM`: what has this id, name or tag."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from execution.management.commands._command import LedgerCommand, table
from execution.room import searching


class Command(LedgerCommand):
    help = (
        "Find runs, steps, agents, workflows, patterns, candidates, incidents and whatever else there is by an id, the "
        "beginning or end of one, a name, a key or a tag. Words are looked for among the newest."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("term", help="An id, a part of one, a name, a key or a tag.")

    def act(self, **options: Any) -> None:
        term = searching.cleaned(options["term"])
        if not term:
            raise CommandError("say what is to be found: an id, a name, a key or a tag")
        found = list(searching.everything(term, may=lambda _: True))
        if options["as_json"]:
            self.document([asdict(one) for one in found])
        elif not found:
            self.say(f"Nothing has the id, name, key or tag {term!r}.")
        else:
            rows = [[one.kind, one.key, one.title, one.description.partition(", ")[2]] for one in found]
            self.say(table(rows, ["kind", "id", "name", ""]))
