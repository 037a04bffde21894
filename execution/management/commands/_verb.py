"""What the commands have in common that do something to one run: who, why, and what became of it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from execution.management.commands._command import LedgerCommand, add_why, find


class VerbCommand(LedgerCommand):
    """Does one verb of `runs` to one run, and says what became of it."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("run", help="The run's id, or its first 8 characters or more.")
        add_why(parser)

    def act(self, **options: Any) -> None:
        before = find(options["run"])
        run, text, facts = self.do(before, options)
        if options["as_json"]:
            self.document({"run": run.id, "state": run.state, "before": before.state, **facts})
            return
        self.say(text)

    def do(self, run: Any, options: dict[str, Any]) -> tuple[Any, str, dict[str, Any]]:
        """Do it; return the run afresh, a sentence, and facts for the document."""
        raise NotImplementedError
