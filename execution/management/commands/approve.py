"""`manage.py approve RUN [GATE]`: say yes at a gate, or let a run go on above its agent's level, this once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from execution import runs
from execution.management.commands._verb import VerbCommand


class GateCommand(VerbCommand):
    """Decides at a gate of one run."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("gate", nargs="?", help="The gate's step, where the run waits at more than one.")


class Command(GateCommand):
    help = (
        "Approve at a gate of a run; without one, also let its parked steps start above their agent's autonomy level."
    )

    def do(self, run: Any, options: dict[str, Any]) -> tuple[Any, str, dict[str, Any]]:
        found = runs.approve(run, options["gate"], by=options["by"], reason=options["reason"])
        return found, f"run {found.id} is approved by {options['by']} and goes on", {}
