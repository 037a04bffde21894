"""`manage.py cancel RUN`: stop a run and its children."""

from __future__ import annotations

from typing import Any

from execution import conf, runs, story, words
from execution.management.commands._verb import VerbCommand


class Command(VerbCommand):
    help = (
        "Cancel a run and its children: what waits is cancelled now, what is performed stops at its next context call."
    )

    def do(self, run: Any, options: dict[str, Any]) -> tuple[Any, str, dict[str, Any]]:
        found = runs.cancel(run, by=options["by"], reason=options["reason"])
        running = len(story.running_steps(found))
        if not running:
            return found, f"run {found.id} is {found.state}", {"performing": 0}
        grace = words.length(conf.current().cancel_grace_seconds)
        text = (
            f"the cancellation of run {found.id} is asked for: {words.counted(running, 'step')} still performed, "
            f"to stop at the next context call, or by force after {grace}"
        )
        return found, text, {"performing": running}
