"""The demo's acts: start, kill, freeze, wake, and the proof.

A run of twelve recorded chapters is begun by one of two workers. That one is killed in the middle of a chapter, the
other is frozen past its lease in the middle of a later one, and a third, started fresh, ends the book.
"""

import json
import uuid
from collections.abc import Callable
from datetime import datetime

from django.utils import timezone

from config.demo import sight, skills
from config.demo.home import LEASE_SECONDS
from config.demo.house import House
from execution import ledger, runs, story
from execution.management.commands._watching import line_text
from execution.models import Attempt, Checkpoint, Event, Run

KILL_IN, FREEZE_IN = 4, 8


def play(house: House) -> None:
    """Show it all; raises RuntimeError where the ledger does not say what was promised."""
    # Before the database is one lease old nobody is believed dead, because its start has just dropped every lock.
    sight.until(lambda: sight.is_database_older_than(LEASE_SECONDS), "the database is one lease old")
    skills.begun().touch()
    run_id = runs.start("demo.write_book").id
    house.screen.title(f"Run {run_id}: {skills.CHAPTERS} chapters, each recorded when it is written")
    with house.screen.bar(skills.CHAPTERS):
        cut_off = _kill(house, run_id)
        late, epoch = _freeze(house, run_id)
        _watch(house, run_id, lambda: sight.is_completed(run_id), "the book is finished")
    _tell(house, run_id)
    _prove(house, run_id, cut_off=cut_off, late=late, late_epoch=epoch)


def _kill(house: House, run_id: uuid.UUID) -> int:
    """Kill the worker in the middle of a chapter, and say who went on, when and from where; returns the chapter."""
    _watch(house, run_id, lambda: sight.chapter() >= KILL_IN, f"chapter {KILL_IN} is begun")
    victim, chapter = house.workers[sight.performer(run_id)], sight.chapter()
    killed_at = timezone.now()
    victim.kill()
    house.screen.say(f"kill -9 {victim.name}, its pool and its keeper, in the middle of chapter {chapter}", style="red")
    house.hire("worker-3")
    _say_who_went_on(house, run_id, after=1, since=killed_at, what="the kill")
    return chapter


def _freeze(house: House, run_id: uuid.UUID) -> tuple[int, int]:
    """Freeze the next worker past its lease, wake it, and see its late write refused; returns its chapter and epoch."""
    _watch(house, run_id, lambda: sight.chapter() >= FREEZE_IN, f"chapter {FREEZE_IN} is begun")
    sleeper, chapter, epoch = house.workers[sight.performer(run_id)], sight.chapter(), sight.epoch(run_id)
    frozen_at = timezone.now()
    sleeper.freeze()
    house.screen.say(
        f"SIGSTOP {sleeper.name} in the middle of chapter {chapter}; it still holds its lease", style="red"
    )
    _say_who_went_on(house, run_id, after=epoch, since=frozen_at, what="the freeze")
    sleeper.wake()
    line = sleeper.wait_for("demo.refused")
    told = json.loads(line[line.index("{") :])
    house.screen.say(
        f"SIGCONT {sleeper.name}: it writes chapter {told['chapter']} with epoch {told['epoch']}; "
        f"refused, the step is at epoch {sight.epoch(run_id)}",
        style="magenta",
    )
    return int(told["chapter"]), int(told["epoch"])


def _say_who_went_on(house: House, run_id: uuid.UUID, *, after: int, since: datetime, what: str) -> None:
    attempts = Attempt.objects.filter(run_id=run_id, epoch__gt=after)
    _watch(house, run_id, attempts.exists, "another worker goes on")
    attempt = attempts.earliest("epoch")
    milliseconds = (attempt.started_at - since).total_seconds() * 1000
    house.screen.say(
        f"{sight.name_of(attempt.worker_id)} took over {milliseconds:,.0f} ms after {what}, "
        f"from checkpoint {sight.last_checkpoint(run_id)}",
        style="green",
    )


def _watch(house: House, run_id: uuid.UUID, condition: Callable[[], object], what: str) -> None:
    """Show progress until the condition holds."""

    def look() -> object:
        house.screen.progress(sight.recorded_count(run_id), sight.performer(run_id))
        return condition()

    sight.until(look, what)


def _tell(house: House, run_id: uuid.UUID) -> None:
    """Tell the run's story as `manage.py run` does, with neighbouring checkpoints on one line."""
    house.screen.title("The run's story, from its ledger")
    told = story.of(Run.objects.select_related("agent").get(pk=run_id))
    saved: list[story.Line] = []
    for line in told.lines:
        if line.kind == "checkpoint":
            saved.append(line)
            continue
        if saved:
            house.screen.line(_of_saved(saved))
        saved = []
        house.screen.line(line_text(line, told))


def _of_saved(saved: list[story.Line]) -> str:
    first, last = saved[0].facts["token"], saved[-1].facts["token"]
    span = first if first == last else f"{first} to {last}"
    return f"{'':12}  recorded {span}, attempt {saved[0].epoch}"


def _prove(house: House, run_id: uuid.UUID, *, cut_off: int, late: int, late_epoch: int) -> None:
    """Read the ledger: every chapter recorded once and none written again, nothing of the late worker's, one ending."""
    wanted = [f"chapter-{number}" for number in range(1, skills.CHAPTERS + 1)]
    kept = {row.token: row for row in Checkpoint.objects.filter(step__run_id=run_id, kind="once").order_by("position")}
    endings = list(Attempt.objects.filter(run_id=run_id).order_by("epoch").values_list("ending", flat=True))
    begun_twice = sorted(number for number, count in sight.beginnings().items() if count > 1)
    result = [ledger.unpack(row.data) for row in kept.values()]
    completions = Event.objects.filter(run_id=run_id, kind="step.completed").count()
    checks = {
        f"{len(kept)} records of {len(wanted)} steps, in order": list(kept) == wanted,
        f"begun twice: only chapters {cut_off} and {late}, cut off before they were recorded": (
            begun_twice == [cut_off, late]
        ),
        f"chapter {late} is its second writer's, not the frozen one's": kept[f"chapter-{late}"].epoch > late_epoch,
        "the result is made of what was recorded": runs.result(run_id) == result,
        f"attempts ended {', '.join(endings)}; the step completed once": (
            endings == ["lost", "lost", "completed"] and completions == 1
        ),
    }
    broken = [what for what, holds in checks.items() if not holds]
    if broken:
        raise RuntimeError(f"The ledger does not say what was promised. Not so: {'; '.join(broken)}.")
    house.screen.title(f"Each of the {skills.CHAPTERS} steps performed once; the ledger says:")
    for what in checks:
        house.screen.line(f"✓ {what}")
