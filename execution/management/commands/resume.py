"""`manage.py resume RUN`: let a paused or parked run go on."""

from __future__ import annotations

from typing import Any

from execution import runs
from execution.management.commands._verb import VerbCommand


class Command(VerbCommand):
    help = "Let a paused or parked run go on."

    def do(self, run: Any, options: dict[str, Any]) -> tuple[Any, str, dict[str, Any]]:
        found = runs.resume(run, by=options["by"], reason=options["reason"])
        return found, f"run {found.id} goes on, {found.state}", {}
