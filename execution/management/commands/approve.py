"""`manage.py approve RUN`: let a run go on above its agent's level, this once."""

from __future__ import annotations

from typing import Any

from execution import runs
from execution.management.commands._verb import VerbCommand


class Command(VerbCommand):
    help = "Let the parked steps of a run start although they are above their agent's autonomy level."

    def do(self, run: Any, options: dict[str, Any]) -> tuple[Any, str, dict[str, Any]]:
        found = runs.approve(run, by=options["by"], reason=options["reason"])
        return found, f"run {found.id} is approved by {options['by']} and goes on", {}
