"""`manage.py refuse RUN [GATE]`: say no at a gate."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from execution import runs
from execution.management.commands._verb import VerbCommand


class Command(VerbCommand):
    help = "Refuse at a gate of a run: its step fails, and the run goes on as the gate's on_failure says."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("gate", nargs="?", help="The gate's step, where the run waits at more than one.")

    def do(self, run: Any, options: dict[str, Any]) -> tuple[Any, str, dict[str, Any]]:
        found = runs.refuse(run, options["gate"], by=options["by"], reason=options["reason"])
        return found, f"run {found.id} is refused by {options['by']}", {}
