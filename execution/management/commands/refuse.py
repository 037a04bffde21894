"""`manage.py refuse RUN [GATE]`: say no at a gate."""

from __future__ import annotations

from typing import Any

from execution import runs
from execution.management.commands.approve import GateCommand


class Command(GateCommand):
    help = "Refuse at a gate of a run: its step fails, and the run goes on as the gate's on_failure says."

    def do(self, run: Any, options: dict[str, Any]) -> tuple[Any, str, dict[str, Any]]:
        found = runs.refuse(run, options["gate"], by=options["by"], reason=options["reason"])
        return found, f"run {found.id} is refused by {options['by']}", {}
