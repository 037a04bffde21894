"""What the commands have in common that have several verbs: `manage.py tunables set ...`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from execution.management.commands._command import LedgerCommand, add_why


class VerbsCommand(LedgerCommand):
    """Each verb is a method of its own, and has its own arguments."""

    def add_arguments(self, parser: CommandParser) -> None:
        self.add_verbs(parser.add_subparsers(dest="verb", required=True, metavar="VERB"))

    def add_verbs(self, verbs: Any) -> None:
        """Add the verbs, each by `add_verb`."""
        raise NotImplementedError

    def add_verb(self, verbs: Any, name: str, text: str, *, asks_why: bool = False) -> CommandParser:
        """Add one verb; one that changes something asks who and why."""
        parser: CommandParser = verbs.add_parser(name, help=text, description=text)
        super().add_arguments(parser)
        if asks_why:
            add_why(parser)
        return parser

    def act(self, **options: Any) -> None:
        getattr(self, f"_{options['verb'].replace('-', '_')}")(options)
