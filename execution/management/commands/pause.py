"""`manage.py pause RUN`: nothing new starts until it is resumed."""

from __future__ import annotations

from typing import Any

from execution import runs, story, words
from execution.management.commands._verb import VerbCommand


class Command(VerbCommand):
    help = "Pause a run: nothing new starts, and what is performed suspends at its next context call."

    def do(self, run: Any, options: dict[str, Any]) -> tuple[Any, str, dict[str, Any]]:
        found = runs.pause(run, by=options["by"], reason=options["reason"])
        running = len(story.running_steps(found))
        text = f"run {found.id} is paused; `manage.py resume {found.id}` lets it go on"
        if running:
            text += f"; {words.counted(running, 'step')} still performed, to suspend at the next context call"
        return found, text, {"performing": running}
