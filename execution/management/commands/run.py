"""`manage.py run RUN`: the story of one run."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from execution import story, why, words
from execution.management.commands._command import Encoder, LedgerCommand, find
from execution.management.commands._watching import line_text, spending, statistics_text


class Command(LedgerCommand):
    help = (
        "Tell a run's story: attempts, checkpoints, waits, signals, effects, crashes and take-overs, its ending. "
        "With --traceback, its error's traceback too."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("run", help="The run's id, or its first 8 characters or more.")
        parser.add_argument(
            "--lines", type=int, default=200, help="At most so many lines of each kind; 200 unless given."
        )

    def act(self, **options: Any) -> None:
        told = story.of(find(options["run"]), most=max(1, options["lines"]))
        if options["as_json"]:
            self.document({**asdict(told), "statistics": told.statistics.as_data()})
            return
        self._head(told)
        for line in told.lines:
            self.say(line_text(line, told))
        for kind, count in told.left_out.items():
            self.say(f"({count:,} older {kind} are not shown; --lines shows more)")
        self._end(told, wants_traceback=options["traceback"])

    def _head(self, told: story.Story) -> None:
        run = told.run
        facts = [
            f"agent {run.agent}",
            f"priority {run.priority}" if run.priority else "",
            *(f"#{tag}" for tag in run.tags),
        ]
        facts += [f"correlation {run.correlation_id}"] if run.correlation_id else []
        self.say(f"{run.skill} {run.id} is {run.state}" + (f" ({run.waiting})" if run.waiting else ""))
        self.say("; ".join(fact for fact in facts if fact))
        self.say("")

    def _end(self, told: story.Story, *, wants_traceback: bool) -> None:
        run = told.run
        self.say("")
        self.say(f"{statistics_text(told.statistics)}; {spending(run)}")
        if run.started_at and run.ended_at:
            self.say(f"took {words.length(run.ended_at - run.created_at)}")
        if run.state == "completed":
            self.say("result: " + json.dumps(told.result, cls=Encoder, ensure_ascii=False))
        elif run.error:
            self.say(f"error: {why.said_error(run.error)}")
            if wants_traceback:
                self.say(run.error.get("traceback", "no traceback was kept"))
        elif run.state != "cancelled":
            self.say(f"manage.py why {run.id} says what it waits for")
