"""`manage.py start NAME --input k=v ...`: open a run of a skill or a workflow, and watch it if you like."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from execution import openings, runs, words
from execution.management.commands._command import LedgerCommand, moment
from execution.management.commands._input import add_input, given_input
from execution.management.commands._watching import Watcher, add_watching
from execution.models import Run, Worker


class Command(LedgerCommand):
    help = "Open a run of a skill or a workflow and print its id."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "name", help="The skill's name, or the workflow's; `manage.py skills` and `workflow list` list them."
        )
        self.add_options(parser)

    def add_options(self, parser: CommandParser) -> None:
        """Add what a run may be opened with."""
        add_input(parser)
        parser.add_argument("--agent", help="On whose behalf.")
        parser.add_argument("--key", help="The idempotency key: a second start under it returns the first run.")
        parser.add_argument("--priority", type=int, help="Higher goes first.")
        parser.add_argument("--queue", help="Where it is performed, when not where the skill says.")
        parser.add_argument("--tag", action="append", default=[], dest="tags", help="A tag; may be given again.")
        parser.add_argument("--session", help="The session that it belongs to: an id, or a name.")
        parser.add_argument("--correlation", default="", help="What ties the run to others, here and outside.")
        parser.add_argument("--budget", help="What it may spend: 5.00, or cost=5.00,tokens=100000.")
        parser.add_argument("--deadline", help="When it has failed if it has not ended: 6h, or a moment.")
        parser.add_argument("--at", help="When it starts: 10m, or a moment such as '2030-01-31 18:00'.")
        parser.add_argument("--watch", action="store_true", help="Follow it until it ends.")
        add_watching(parser)

    def act(self, **options: Any) -> None:
        run = self._open(options)
        if options["watch"]:
            if not options["as_json"]:
                self._announce(run)
            Watcher(self, run.id, options).follow()
            return
        if options["as_json"]:
            self.document({"run": run.id, "created": run.created, "skill": run.workflow, "state": run.state})
            return
        self._announce(run)

    def found(self, name: str) -> Any:
        """Return what a run is opened of."""
        return openings.task_of(name)

    def _open(self, options: dict[str, Any]) -> Run:
        task = self.found(options["name"])
        deadline, start_at = options["deadline"], options["at"]
        return runs.start(
            task,
            given_input(task, options),
            agent=options["agent"],
            key=options["key"],
            priority=options["priority"],
            queue=options["queue"],
            tags=options["tags"],
            correlation_id=options["correlation"],
            budget=given_budget(options["budget"]),
            session=options["session"],
            deadline=moment(deadline, "--deadline") if deadline else None,
            start_at=moment(start_at, "--at") if start_at else None,
        )

    def _announce(self, run: Run) -> None:
        """Print the id alone on standard output; what a person should know beside it goes to standard error."""
        self.say(str(run.id))
        if not run.created:
            age = words.length(timezone.now() - run.created_at)
            self.stderr.write(f"the key {run.key!r} had opened this run {age} ago; it is {run.state}")
        elif not run.is_ended:
            self._warn_of_queue(run)

    def _warn_of_queue(self, run: Run) -> None:
        since = timezone.now() - timedelta(seconds=30)
        for queue in run.steps.order_by("queue").values_list("queue", flat=True).distinct():
            if not Worker.objects.filter(gone_at=None, queues__contains=[queue], seen_at__gt=since).exists():
                self.stderr.write(f"no worker consumes the queue {queue!r}: the run waits until one does")


def given_budget(text: str | None) -> Any:
    """Return a budget typed as `5.00`, or as `cost=5.00,tokens=100000`."""
    if not text or "=" not in text:
        return text or None
    found: dict[str, Any] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name == "tokens" and not value.isdigit():
            raise CommandError(f"--budget wants tokens as a whole number, not {value!r}")
        found[name] = int(value) if name == "tokens" else value
    return found
