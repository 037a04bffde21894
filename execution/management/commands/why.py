"""`manage.py why RUN`: what a run waits for, and what would move it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from execution import why, words
from execution.management.commands._command import LedgerCommand, find


class Command(LedgerCommand):
    help = "Say in words what a run waits for, since when, and what would move it."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("run", help="The run's id, or its first 8 characters or more.")
        parser.add_argument("--steps", type=int, default=20, help="Explain at most so many steps; 20 unless given.")

    def act(self, **options: Any) -> None:
        found = why.explain(find(options["run"]), most=max(1, options["steps"]))
        if options["as_json"]:
            self.document(found)
            return
        self.say(found.text)
        is_single = len(found.reasons) == 1 and not found.left_out_count
        for reason in found.reasons:
            self._print(reason, found, name="" if is_single else f"{reason.step}: ")
        if found.left_out_count:
            self.say(f"(and {words.counted(found.left_out_count, 'step')} more; --steps shows more)")

    def _print(self, reason: why.Reason, found: why.Explanation, *, name: str) -> None:
        state = f"{reason.state}, {reason.waiting}" if reason.waiting else reason.state
        self.say(f"  {name}{reason.text}")
        self.say(f"    {state} since {words.when(reason.since, found.at)}")
        for move in reason.moves:
            self.say(f"    moved by: {move}")
