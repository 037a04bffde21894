"""`manage.py watch RUN`: follow a run until it ends."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from execution.management.commands._command import LedgerCommand, find
from execution.management.commands._watching import Watcher, add_watching


class Command(LedgerCommand):
    help = (
        "Follow a run until it ends: its state, checkpoints as they are recorded, waits in words, spending. "
        "Status 0: completed, 3: failed, 4: cancelled, 5: not ended in --timeout."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("run", help="The run's id, or its first 8 characters or more.")
        add_watching(parser)

    def act(self, **options: Any) -> None:
        Watcher(self, find(options["run"]).id, options).follow()
