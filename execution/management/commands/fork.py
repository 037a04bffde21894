"""`manage.py fork RUN`: a new run that goes on from a step of this one."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from execution import openings, runs
from execution.management.commands._input import add_input, given_input
from execution.management.commands._verb import VerbCommand


class Command(VerbCommand):
    help = (
        "Open a new run that goes on from a step of this one: checkpoints before it are kept, its input may be changed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--step", help="The step's name: what does not come after it is kept as it is.")
        parser.add_argument("--before", metavar="TOKEN", help="Do again what was recorded from this checkpoint on.")
        add_input(parser)

    def do(self, run: Any, options: dict[str, Any]) -> tuple[Any, str, dict[str, Any]]:
        given = (
            given_input(openings.task_of(run.workflow), options) if options["input"] or options["input_json"] else None
        )
        found = runs.fork(
            run,
            options["step"],
            input=given,
            before=options["before"],
            by=options["by"],
            reason=options["reason"],
        )
        return found, str(found.id), {"forked_from": run.id}
