"""`manage.py workers`: who lives, what is free, what each performs."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser

from execution import why, words, workers
from execution.management.commands._command import LedgerCommand, table
from execution.models import Attempt, Step, Worker


class Command(LedgerCommand):
    help = "List the workers: slots, free slots, queues, and what each performs. Status 1 when none lives."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--all", action="store_true", dest="wants_gone", help="Those that are gone too.")

    def act(self, **options: Any) -> None:
        rows_of_all = Worker.objects.order_by("hostname", "-started_at")
        found = list(rows_of_all if options["wants_gone"] else rows_of_all.filter(gone_at=None))
        now = why.clock()
        performed = workers.performed([worker.id for worker in found])
        held = [step.attempt_id for steps in performed.values() for step in steps if step.attempt_id]
        numbers = Attempt.objects.filter(pk__in=held).numbers()
        rows = [_row(worker, performed.get(worker.id, []), numbers, now) for worker in found]
        if options["as_json"]:
            self.document({"workers": rows})
        else:
            self._print(rows)
        if not any(row["state"] != "gone" for row in rows):
            raise SystemExit(1)

    def _print(self, rows: list[dict[str, Any]]) -> None:
        if not rows:
            self.stderr.write("no worker lives; start one: celery -A <project> worker")
            return
        lines = [
            [
                row["worker"],
                row["state"],
                f"{row['free']}/{row['slots']}",
                row["pool"],
                ",".join(row["queues"]),
                words.length(row["seen_seconds_ago"]),
                words.counted(len(row["performs"]), "step") if row["performs"] else "-",
            ]
            for row in rows
        ]
        self.say(table(lines, ["worker", "state", "free", "pool", "queues", "seen", "performs"]))
        for row in rows:
            for step in row["performs"]:
                since = words.length(step["seconds"])
                self.say(
                    f"  {row['worker']}: {step['skill']} of run {step['run']}, attempt {step['attempt']}, since {since}"
                )


def _row(worker: Worker, steps: list[Step], numbers: dict[uuid.UUID, int], now: datetime) -> dict[str, Any]:
    return {
        "id": worker.id,
        "worker": worker.hostname,
        "pid": worker.pid,
        "state": workers.state_of(worker, now),
        "slots": worker.slot_count,
        "free": worker.free_count,
        "pool": worker.pool,
        "queues": worker.queues,
        "holds_lock": worker.holds_lock,
        "started_at": worker.started_at,
        "seen_at": worker.seen_at,
        "seen_seconds_ago": round((now - worker.seen_at).total_seconds(), 1),
        "performs": [
            {
                "run": step.run_id,
                "step": step.id,
                "skill": step.skill,
                "epoch": step.epoch,
                "attempt": numbers.get(step.attempt_id) if step.attempt_id else None,
                "seconds": round((now - step.changed_at).total_seconds(), 1),
            }
            for step in steps
        ],
    }
