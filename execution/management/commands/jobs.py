"""`manage.py jobs VERB`: spawn a job from a file of JSON lines, watch it, operate it, and read its results."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import CommandError, CommandParser

from execution import jobs, words
from execution.jobs import Progress
from execution.management.commands._command import Encoder, find, moment, table
from execution.management.commands._verbs import VerbsCommand
from execution.management.commands.start import given_budget
from execution.models import ItemState, Job

_DONE = {
    "pause": "is paused; `manage.py jobs resume {id}` lets it go on",
    "resume": "goes on",
    "cancel": "is cancelled: what has been done stays recorded, the rest is left undone",
    "retry": "does its failed items again",
}


class Command(VerbsCommand):
    help = "Spawn, watch and operate jobs: many items of one skill."

    def add_verbs(self, verbs: Any) -> None:
        listing = self.add_verb(verbs, "list", "List jobs, the newest first.")
        listing.add_argument("--limit", type=int, default=50, help="At most so many; 50 unless given.")
        self._add_one(verbs, "show", "Say how far a job has got, how fast it goes, and how long the rest will take.")
        self._add_spawn(verbs)
        for name, text in (
            ("pause", "Pause a job: each lane leaves before its next item."),
            ("resume", "Let a paused or parked job go on."),
            ("cancel", "Cancel a job; what has been done stays recorded."),
            ("retry", "Do the failed items of an ended job again."),
        ):
            self._add_one(verbs, name, text, asks_why=True)
        results = self._add_one(verbs, "results", "Print what became of the items, one JSON object a line.")
        results.add_argument(
            "--state", action="append", choices=ItemState.values, default=[], help="May be given again."
        )

    def _add_spawn(self, verbs: Any) -> None:
        spawn = self.add_verb(verbs, "spawn", "Spawn a job from a file of JSON lines and print its id.")
        spawn.add_argument("skill", help="The skill's name; `manage.py skills` lists them.")
        spawn.add_argument(
            "file", help="One item a line, a JSON object of the skill's parameters; - is standard input."
        )
        spawn.add_argument("--chunk", type=int, help="Items that a lane takes at once, at most; 500 unless tuned.")
        spawn.add_argument("--parallel", type=int, default=jobs.PARALLEL, help="Lanes at once, at most.")
        spawn.add_argument("--agent", help="On whose behalf.")
        spawn.add_argument("--key", help="The idempotency key: a second spawn under it returns the first job.")
        spawn.add_argument("--priority", type=int, help="Higher goes first.")
        spawn.add_argument("--queue", help="Where it is performed, when not where the skill says.")
        spawn.add_argument("--tag", action="append", default=[], dest="tags", help="A tag; may be given again.")
        spawn.add_argument("--budget", help="What it may spend: 5.00, or cost=5.00,tokens=100000.")
        spawn.add_argument("--deadline", help="When it has failed if it has not ended: 6h, or a moment.")

    def _add_one(self, verbs: Any, name: str, text: str, *, asks_why: bool = False) -> CommandParser:
        parser = self.add_verb(verbs, name, text, asks_why=asks_why)
        parser.add_argument("job", help="The job's id, or its first 8 characters or more.")
        return parser

    def act(self, **options: Any) -> None:
        if options["verb"] in _DONE:
            self._operate(options["verb"], options)
            return
        super().act(**options)

    def _list(self, options: dict[str, Any]) -> None:
        limit = options["limit"]
        if limit < 1:
            raise CommandError(f"--limit is {limit}; it is at least 1")
        found = jobs.progress_of(Job.objects.order_by("-pk").values_list("pk", flat=True)[:limit])
        if options["as_json"]:
            self.document({"jobs": found})
        elif not found:
            self.stderr.write("there is no job")
        else:
            lines = [[str(one.job_id), one.state, one.skill, _done(one), _pace(one)] for one in found]
            self.say(table(lines, ["job", "state", "skill", "done", "pace"]))

    def _show(self, options: dict[str, Any]) -> None:
        found = jobs.progress(_find(options["job"]))
        if options["as_json"]:
            self.document(found)
            return
        self.say(f"{found.skill} {found.job_id}: {found.state}")
        self.say(f"{_done(found)}; {found.failed_count:,} failed; {_pace(found)}")
        if found.left_count:
            self.say(
                f"left: {found.left_count:,}, of them {found.taken_count:,} taken, {found.retrying_count:,} due again"
            )
        if found.cost or found.tokens:
            self.say(f"spent: {words.money(found.cost)}, {words.counted(found.tokens, 'token')}")

    def _spawn(self, options: dict[str, Any]) -> None:
        with _opened(options["file"]) as lines:
            job = jobs.spawn(
                options["skill"],
                _items(lines, options["file"]),
                chunk=options["chunk"],
                parallel=options["parallel"],
                agent=options["agent"],
                key=options["key"],
                priority=options["priority"],
                queue=options["queue"],
                tags=options["tags"],
                budget=given_budget(options["budget"]),
                deadline=moment(options["deadline"], "--deadline") if options["deadline"] else None,
            )
        if options["as_json"]:
            facts = {"job": job.pk, "created": job.created, "items": job.item_count, "lanes": job.lane_count}
            self.document({**facts, "skill": job.skill, "state": job.run.state})
            return
        self.say(str(job.pk))
        if not job.item_count:
            self.stderr.write(f"{options['file']} holds no item: the job completes at once, with nothing done")
        if not job.created:
            self.stderr.write(f"the key {job.run.key!r} had spawned this job before; it is {job.run.state}")

    def _operate(self, verb: str, options: dict[str, Any]) -> None:
        before = _find(options["job"])
        job = getattr(jobs, verb)(before, by=options["by"], reason=options["reason"])
        if options["as_json"]:
            self.document({"job": job.pk, "state": job.run.state, "before": before.run.state})
            return
        self.say(f"job {job.pk} {_DONE[verb].format(id=job.pk)}")

    def _results(self, options: dict[str, Any]) -> None:
        for result in jobs.results(_find(options["job"]), states=options["state"] or ("completed", "failed")):
            self.stdout.write(json.dumps(asdict(result), cls=Encoder, ensure_ascii=False))


def _find(text: str) -> Job:
    return jobs.get(find(text))


def _done(progress: Progress) -> str:
    if not progress.item_count:
        return "it has no items"
    done = progress.completed_count + progress.failed_count
    return f"{done:,} of {words.counted(progress.item_count, 'item')} ({done * 100 // progress.item_count} %)"


def _pace(progress: Progress) -> str:
    if progress.ended_at is not None:
        return f"{progress.rate:,.1f} items/s over all"
    if progress.seconds_left is None:
        return "nothing moves"
    return f"{progress.rate:,.1f} items/s, {words.length(progress.seconds_left)} left"


@contextmanager
def _opened(file: str) -> Iterator[TextIO]:
    if file == "-":
        yield sys.stdin
        return
    try:
        lines = Path(file).open(encoding="utf-8")  # noqa: SIM115 - closed below; only its opening is excused
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from None
    with lines:
        yield lines


def _items(lines: TextIO, file: str) -> Iterator[dict[str, Any]]:
    """Read one item a line; empty lines are passed over."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError as error:
            raise CommandError(f"line {number} of {file} is not JSON: {error}; nothing was spawned") from None
        if not isinstance(item, dict):
            raise CommandError(
                f"line {number} of {file} is {line.strip():.60}; an item is a JSON object of the skill's parameters, "
                'such as {"name": "value"}; nothing was spawned'
            )
        yield item
