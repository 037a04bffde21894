"""`manage.py fork RUN`: a new run that goes on from a step of this one."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from execution import runs
from execution.management.commands._input import add_input, given_input
from execution.management.commands._verb import VerbCommand


class Command(VerbCommand):
    help = (
        "Open a new run that goes on from a step of this one: checkpoints before it are kept, its input may be changed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--step", help="The step's name; the first one unless given.")
        parser.add_argument("--before", metavar="TOKEN", help="Do again what was recorded from this checkpoint on.")
        add_input(parser)

    def do(self, run: Any, options: dict[str, Any]) -> tuple[Any, str, dict[str, Any]]:
        given = given_input(run.workflow, options)
        found = runs.fork(
            run,
            options["step"],
            input=given or None,
            before=options["before"],
            by=options["by"],
            reason=options["reason"],
        )
        return found, str(found.id), {"forked_from": run.id}
