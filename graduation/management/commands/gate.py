"""`manage.py gate --service NAME`: whether a service may be deployed now, as a step of a pipeline."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, NoReturn

from django.core.management.base import CommandParser

from execution.management.commands._command import LedgerCommand, operator
from execution.models import Tier
from graduation.observe import gate


class Command(LedgerCommand):
    help = (
        "Say whether a service may be deployed now, by the worst of its objectives. Exit code 0: go on (approved, or "
        "with a warning), 1: it could not be evaluated, 2: blocked."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Let a mistake in the arguments end with 1: a pipeline takes 2 for the gate's own no."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        if parser.called_from_command_line:
            parser.error = partial(_refuse, parser)  # type: ignore[method-assign]
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--service", required=True, help="What is to be deployed.")
        parser.add_argument("--tier", choices=Tier.values, default="", help="As the service is declared unless given.")
        parser.add_argument("--commit", default="", help="What of it; an override may be for one commit.")
        parser.add_argument("--by", default=operator(), help="Who asks; the user of the system unless given.")

    def act(self, **options: Any) -> None:
        found = gate.ask(options["service"], tier=options["tier"], commit=options["commit"], by=options["by"])
        if options["as_json"]:
            self.document(gate.as_json(found) | {"assessment": found.assessment})
        else:
            self.say(f"{found.answer}: {found.reason} ({found.tier})")
            for look in found.looks:
                left = look.unknown or f"{max(look.left or 0, 0):.0%} left"
                self.say(f"  {look.objective}: {look.standing}, {left}")
        self.stdout.flush()
        if found.exit_code:
            sys.exit(found.exit_code)


def _refuse(parser: CommandParser, message: str) -> NoReturn:
    parser.print_usage(sys.stderr)
    parser.exit(1, f"{parser.prog}: could not evaluate: {message}\n")
