"""`manage.py runs`: list and filter runs."""

from __future__ import annotations

import uuid
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Count, Exists, OuterRef, QuerySet

from execution import sessions, story, why, words
from execution.agents import id_of
from execution.management.commands._command import LedgerCommand, moment, table
from execution.management.commands._watching import statistics_text
from execution.models import UNFINISHED, Run, RunState, Step, Waiting
from execution.models.agents import agent_name


class Command(LedgerCommand):
    help = (
        "List runs, the newest first, with their age, their progress in checkpoints, and why they are where they are."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--state", action="append", choices=RunState.values, default=[], help="May be given again.")
        parser.add_argument("--skill", help="The skill's name, or a beginning of it that ends with a dot.")
        parser.add_argument("--agent", help="The agent's name.")
        parser.add_argument("--tag", action="append", default=[], dest="tags", help="All of the tags given.")
        parser.add_argument("--since", help="Opened since: 2h, 2030-01-31, '2030-01-31 18:00'.")
        parser.add_argument("--waiting", choices=Waiting.values, help="Runs with a step that waits for this reason.")
        parser.add_argument("--correlation", help="The correlation id.")
        parser.add_argument("--session", help="The session: an id, or a name.")
        parser.add_argument("--limit", type=int, default=50, help="At most so many; 50 unless given.")
        parser.add_argument("--stats", action="store_true", help="Checkpoint statistics of the whole ledger instead.")

    def act(self, **options: Any) -> None:
        if options["stats"]:
            self._statistics(as_json=options["as_json"])
            return
        if options["limit"] < 1:
            raise CommandError(f"--limit is {options['limit']}; it is at least 1")
        found = list(_filtered(options).prefetch_related("agent").order_by("-created_at")[: options["limit"] + 1])
        shown, is_more = found[: options["limit"]], len(found) > options["limit"]
        rows = _rows(shown)
        if options["as_json"]:
            self.document({"runs": rows, "is_more": is_more})
            return
        self._print(rows, is_more=is_more)

    def _statistics(self, *, as_json: bool) -> None:
        found = story.statistics()
        if as_json:
            self.document({"checkpoints": found.as_data()})
            return
        self.say(statistics_text(found))

    def _print(self, rows: list[dict[str, Any]], *, is_more: bool) -> None:
        if not rows:
            self.stderr.write("no run fits")
            return
        lines = [
            [
                str(row["id"]),
                row["state"],
                row["skill"],
                row["agent"],
                words.length(row["age_seconds"]),
                str(row["checkpoint_count"]),
                row["why"],
            ]
            for row in rows
        ]
        self.say(table(lines, ["run", "state", "skill", "agent", "age", "checkpoints", "why"]))
        if is_more:
            self.stderr.write("there are more: --limit shows them, a filter finds them")


def _filtered(options: dict[str, Any]) -> QuerySet[Run]:
    runs: QuerySet[Run] = Run.objects.all()
    if options["state"]:
        runs = runs.filter(state__in=options["state"])
    if options["skill"]:
        is_group = options["skill"].endswith(".")
        runs = runs.filter(**{"workflow__startswith" if is_group else "workflow": options["skill"]})
    if options["agent"]:
        runs = runs.filter(agent_id=id_of(options["agent"]))
    if options["tags"]:
        runs = runs.filter(tags__contains=options["tags"])
    if options["since"]:
        runs = runs.filter(created_at__gte=moment(options["since"], "--since", back=True))
    if options["correlation"]:
        runs = runs.filter(correlation_id=options["correlation"])
    if options["session"]:
        runs = runs.filter(session_id=sessions.get(options["session"]).id)
    if options["waiting"]:
        steps = Step.objects.filter(run_id=OuterRef("pk"), state__in=UNFINISHED, waiting=options["waiting"])
        runs = runs.filter(Exists(steps))
    return runs


def _rows(found: list[Run]) -> list[dict[str, Any]]:
    now = why.clock()
    counts = story.checkpoint_counts(run.id for run in found)
    steps, left = _steps(found)
    return [
        {
            "id": run.id,
            "state": run.state,
            "skill": run.workflow,
            "agent": agent_name(run),
            "tags": run.tags,
            "correlation_id": run.correlation_id,
            "priority": run.priority,
            "created_at": run.created_at,
            "ended_at": run.ended_at,
            "age_seconds": round((now - run.created_at).total_seconds(), 1),
            "checkpoint_count": counts.get(run.id, 0),
            "spent_cost": run.spent_cost,
            "why": _why(run, steps.get(run.id), left.get(run.id, 0), now),
        }
        for run in found
    ]


def _steps(found: list[Run]) -> tuple[dict[uuid.UUID, Step], dict[uuid.UUID, int]]:
    """Return, for each of these runs, the unfinished step that says most, and how many are unfinished."""
    unfinished = Step.objects.filter(run_id__in=[run.id for run in found if not run.is_ended], state__in=UNFINISHED)
    ordered = why.telling(unfinished)
    first = ordered.order_by("run_id", *ordered.query.order_by).distinct("run_id").defer("options")
    counts = unfinished.values_list("run_id").annotate(count=Count("*"))
    return {step.run_id: step for step in first}, dict(counts)


def _why(run: Run, step: Step | None, left: int, now: Any) -> str:
    if run.is_ended:
        return words.one_line(why.said_error(run.error), 80) if run.error else run.cancel_reason
    if step is None:
        return ""
    more = f" (and {words.counted(left - 1, 'step')} more)" if left > 1 else ""
    return words.one_line(why.in_short(step, now), 80) + more
