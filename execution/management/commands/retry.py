"""`manage.py retry RUN`: go on with a failed run from its failed step."""

from __future__ import annotations

from typing import Any

from execution import runs
from execution.management.commands._verb import VerbCommand


class Command(VerbCommand):
    help = "Go on with a failed run from its failed step; everything recorded is kept."

    def do(self, run: Any, options: dict[str, Any]) -> tuple[Any, str, dict[str, Any]]:
        found = runs.retry(run, by=options["by"], reason=options["reason"])
        return found, f"run {found.id} goes on from its failed step", {}
