"""`manage.py example VERB`: the living example, loaded and removed."""

from __future__ import annotations

from typing import Any

from config.example import newspaper
from execution import words
from execution.management.commands._verbs import VerbsCommand


class Command(VerbsCommand):
    help = "A small newspaper that works while you look: load it, and remove it again."

    def add_verbs(self, verbs: Any) -> None:
        self.add_verb(verbs, "load", "Start the newspaper; the workers of `make up` do its work.")
        self.add_verb(verbs, "remove", "Cancel what still runs, and delete what it wrote.")

    def _load(self, options: dict[str, Any]) -> None:
        count = newspaper.load()
        if options["as_json"]:
            self.document({"runs": count})
            return
        self.say(f"The example is loaded, with {words.counted(count, 'run')}. Open the room, or type `manage.py runs`.")

    def _remove(self, options: dict[str, Any]) -> None:
        count = newspaper.remove()
        if options["as_json"]:
            self.document({"removed": count})
            return
        self.say(f"The example is removed, and {words.counted(count, 'run')} with it.")
