"""`manage.py signal RUN NAME`: answer what a run waits for."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from execution import runs
from execution.management.commands._command import json_or_text
from execution.management.commands._verb import VerbCommand

_WORDS = {
    "woken": "taken to a step that waited for it",
    "kept": "kept: nothing waits for it yet",
    "already": "sent before",
}


class Command(VerbCommand):
    help = "Send a signal to a run; one that comes early is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help="The signal's name.")
        parser.add_argument("--data", default="null", help="What it carries: JSON where it is JSON, else text.")

    def do(self, run: Any, options: dict[str, Any]) -> tuple[Any, str, dict[str, Any]]:
        name = options["name"]
        answer = runs.signal(run, name, json_or_text(options["data"]), sender=options["by"])
        run.refresh_from_db()
        return (
            run,
            f"the signal {name!r} for run {run.id} is {_WORDS.get(answer, answer)}",
            {"signal": name, "answer": answer},
        )
