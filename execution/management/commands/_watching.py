"""Following a run: a live picture on a terminal, plain lines elsewhere, one document at the end with `--json`."""

from __future__ import annotations

import time
import uuid
from collections import deque
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from execution import story, why, words
from execution.durations import seconds
from execution.management.commands._command import LedgerCommand
from execution.models import Run, RunState

FAILED, CANCELLED, NOT_ENDED = 3, 4, 5
_COLOURS = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "parked": "magenta",
    "paused": "yellow",
    "running": "cyan",
}


def add_watching(parser: CommandParser) -> None:
    """Add the options of following."""
    parser.add_argument("--timeout", help="Leave after this long (90s, 2h) with status 5 when it has not ended.")
    parser.add_argument(
        "--every", type=float, default=0.5, metavar="SECONDS", help="How often to look; 0.5 unless given."
    )
    parser.add_argument("--plain", action="store_true", help="Plain lines on a terminal too.")


class Watcher:
    """Looks at one run again and again, and shows what is new."""

    def __init__(self, command: LedgerCommand, run_id: uuid.UUID, options: dict[str, Any]) -> None:
        self.command, self.run_id, self.options = command, run_id, options
        self.seen: set[tuple[Any, ...]] = set()
        self.newest: deque[story.Line] = deque(maxlen=12)
        self.waits: list[tuple[Any, ...]] = []
        self.ends_at = (
            time.monotonic() + seconds(options["timeout"], name="--timeout") if options.get("timeout") else None
        )

    def follow(self) -> None:
        """Follow until the run ends, the time is over, or Ctrl-C; the run itself goes on whatever happens here."""
        try:
            told = self._live() if self._is_terminal() else self._plainly()
        except KeyboardInterrupt:
            self.command.stderr.write(f"left; the run goes on: manage.py watch {self.run_id}")
            return
        if self.options["as_json"]:
            self.command.document(told)
        self._leave(told)

    def _is_terminal(self) -> bool:
        return bool(self.command.stdout.isatty()) and not self.options["plain"] and not self.options["as_json"]

    def _look(self) -> story.Story:
        return story.of(Run.objects.prefetch_related("agent").get(pk=self.run_id), most=100)

    def _is_over(self, told: story.Story) -> bool:
        return told.run.state in _ENDINGS or (self.ends_at is not None and time.monotonic() >= self.ends_at)

    def _pause(self) -> None:
        left = self.ends_at - time.monotonic() if self.ends_at is not None else self.options["every"]
        time.sleep(max(0.01, min(self.options["every"], left)))

    def _new_lines(self, told: story.Story) -> list[story.Line]:
        fresh = [line for line in told.lines if _mark(line) not in self.seen]
        self.seen.update(_mark(line) for line in fresh)
        return fresh

    def _new_waits(self, told: story.Story) -> why.Explanation | None:
        """Return why the run waits when nothing of it is performed and the reason is another than before."""
        if told.run.state in _ENDINGS or any(step["state"] == "running" for step in told.steps):
            self.waits = []
            return None
        found = why.explain(Run.objects.get(pk=self.run_id), most=3)
        marks = [(reason.step_id, reason.waiting, reason.since) for reason in found.reasons]
        if marks == self.waits:
            return None
        self.waits = marks
        return found

    def _leave(self, told: story.Story) -> None:
        run = told.run
        if run.state == RunState.FAILED:
            raise CommandError(f"run {run.id} failed: {why.said_error(run.error)}", returncode=FAILED)
        if run.state == RunState.CANCELLED:
            raise CommandError(f"run {run.id} was cancelled", returncode=CANCELLED)
        if run.state != RunState.COMPLETED:
            raise CommandError(
                f"run {run.id} has not ended in {self.options['timeout']}, it is {run.state}: manage.py why {run.id}",
                returncode=NOT_ENDED,
            )

    # Plain lines

    def _plainly(self) -> story.Story:
        while True:
            told = self._look()
            if not self.options["as_json"]:
                self._print(told)
            if self._is_over(told):
                return told
            self._pause()

    def _print(self, told: story.Story) -> None:
        for line in self._new_lines(told):
            self.command.say(line_text(line, told))
        waits = self._new_waits(told)
        if waits is not None:
            for reason in waits.reasons:
                self.command.say(f"{_hour(waits.at, told)}  {reason.step}: {reason.text}")
        if told.run.state in _ENDINGS:
            self.command.say(f"{statistics_text(told.statistics)}; {spending(told.run)}")
        self.command.stdout.flush()

    # A live picture

    def _live(self) -> story.Story:
        console = Console()
        with Live(console=console, auto_refresh=False, transient=False) as live:
            while True:
                told = self._look()
                self.newest.extend(self._new_lines(told))
                live.update(self._picture(told), refresh=True)
                if self._is_over(told):
                    return told
                self._pause()

    def _picture(self, told: story.Story) -> RenderableType:
        run = told.run
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(run.skill, style="bold"), Text(run.state, style=_COLOURS.get(run.state, "white")), str(run.id)
        )
        head.add_row(f"agent {run.agent}", words.length((run.ended_at or why.clock()) - run.created_at), spending(run))
        head.add_row(words.counted(told.statistics.count, "checkpoint"), words.size(told.statistics.total_bytes), "")
        parts: list[RenderableType] = [head]
        if len(told.steps) > 1:
            parts.append(_steps_table(told))
        parts += [Text(line_text(line, told), style=_style(line), overflow="fold") for line in self.newest]
        if run.state not in _ENDINGS:
            found = why.explain(Run.objects.get(pk=self.run_id), most=3)
            parts += [Text(f"{reason.step}: {reason.text}", style="cyan") for reason in found.reasons]
        return Group(*parts)


_ENDINGS = ("completed", "failed", "cancelled")


def _mark(line: story.Line) -> tuple[Any, ...]:
    return (line.at, line.kind, line.step, line.epoch, line.facts.get("token"))


def _style(line: story.Line) -> str:
    if line.kind in ("attempt.given_back", "attempt.failed", "run.failed"):
        return "red"
    return "dim" if line.kind in ("checkpoint", "spend") else ""


def _steps_table(told: story.Story) -> Table:
    table = Table(box=None, padding=(0, 2), show_header=False)
    for step in told.steps[:20]:
        table.add_row(step["name"], Text(step["state"], style=_COLOURS.get(step["state"], "")), step["waiting"])
    return table


def line_text(line: story.Line, told: story.Story) -> str:
    """Say one line of a story; the step is named where the run has several."""
    step = f"{line.step}: " if line.step and len(told.steps) > 1 else ""
    return f"{_hour(line.at, told)}  {step}{line.text}"


def _hour(at: datetime, told: story.Story) -> str:
    from django.utils import timezone

    local = timezone.localtime(at)
    same_day = local.date() == timezone.localtime(told.run.created_at).date()
    return local.strftime("%H:%M:%S.%f" if same_day else "%Y-%m-%d %H:%M:%S.%f")[:-3]


def statistics_text(found: story.Statistics) -> str:
    """Say checkpoint statistics: count, total and mean size."""
    mean = f", {words.size(found.mean_bytes)} on average" if found.count else ""
    return f"{words.counted(found.count, 'checkpoint')}, {words.size(found.total_bytes)} in all{mean}"


def spending(run: story.Header) -> str:
    """Say what was spent, against the budget where there is one."""
    from execution import conf

    currency = conf.current().currency
    of = f" of {words.money(run.budget_cost)}" if run.budget_cost is not None else ""
    text = f"spent {words.money(run.spent_cost)}{of} {currency}"
    if run.spent_tokens or run.budget_tokens is not None:
        text += f", {run.spent_tokens:,} tokens"
        text += f" of {run.budget_tokens:,}" if run.budget_tokens is not None else ""
    if run.reserved_cost or run.reserved_tokens:
        text += f", {words.money(run.reserved_cost)} reserved"
    return text
