"""Jobs: many small items of one skill, spawned as a stream, performed in chunks by lanes, each recorded once.

A job is carried out by a run with the same id and a step for each lane: what operates runs operates jobs, and what
keeps steps alive keeps lanes. Spawning works inside the caller's own transaction, as every opening does: all items or
none, and nothing is performed before the commit. An item that fails is tried again by itself; a job has ended when
every item has completed or failed for good.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Never

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from execution import doorbell, ids, lanes, ledger, runs, tunables, values
from execution.durations import Duration
from execution.exceptions import InputInvalid, JobUnknown, NotPossible, OptionInvalid, RunUnknown
from execution.models import ENDED, ItemState, Job, JobItem, JobLane, Run, RunState, Step, StepState, Timer
from execution.openings import check_key, keep_blobs, reaching, task_of, template_of, unknown_option

if TYPE_CHECKING:
    from execution.models import Agent
    from execution.skills import SkillTask
    from execution.workflows.catalog import Stored

OPTIONS = frozenset({"chunk", "parallel", *runs.OPTIONS} - {"start_at"})
MOST_IN_A_CHUNK = 5000
PARALLEL, MOST_LANES = 4, 1000
_COPY_COUNT, _COPY_BYTES = 2000, 4 * 1024 * 1024
_PAGE = 1000
# What concerns a step as a whole, or the tries of one item, is no policy of a lane.
_OF_ITEMS = frozenset({"retries", "retry_base", "retry_cap", "error_kinds", "timebox", "fallback", "on_failure"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job has got."""

    job_id: uuid.UUID
    skill: str
    state: str
    item_count: int
    completed_count: int
    failed_count: int
    left_count: int
    taken_count: int
    """Of those left: in the hands of lanes."""
    retrying_count: int
    """Of those left: tried, and due again."""
    rate: float
    """Items a second, lately; over the whole time once it has ended."""
    seconds_left: float | None
    """At this rate; None where nothing moves."""
    cost: Decimal
    tokens: int
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one item."""

    position: int
    state: str
    attempt_count: int
    output: Any
    error: dict[str, Any] | None
    cost: Decimal | None
    tokens: int | None


def spawn(
    skill: SkillTask | str,
    items: Iterable[Mapping[str, Any]],
    *,
    chunk: int | None = None,
    parallel: int = PARALLEL,
    agent: str | Agent | None = None,
    key: str | None = None,
    correlation_id: str = "",
    priority: int | None = None,
    queue: str | None = None,
    tags: Iterable[str] = (),
    budget: Any = None,
    deadline: datetime | Duration | None = None,
    run_id: uuid.UUID | None = None,
    **unknown: Never,
) -> Job:
    """Open a job: the skill is done once with each item, a mapping of its parameters, by so many lanes at once.

    The items are streamed: a generator of a million needs the memory of two thousand. A second spawn under the same key
    returns the first job, with `created` false, and takes nothing from its items.
    """
    for name in unknown:
        raise unknown_option(name, OPTIONS, "jobs.spawn")
    task = _checked(task_of(skill))
    chunk = int(tunables.value("jobs.chunk", task.name)) if chunk is None else chunk
    _check_count("chunk", chunk, MOST_IN_A_CHUNK, "items that a lane takes at once")
    _check_count("parallel", parallel, MOST_LANES, "lanes")
    wanted = check_key(key)
    with reaching(f"spawn a job of {task.name!r}"), transaction.atomic():
        template = template_of(
            task,
            agent=agent,
            correlation_id=correlation_id,
            priority=priority,
            queue=queue,
            tags=tags,
            budget=budget,
            deadline=deadline,
        )
        run = _open_run(task, template, run_id or ids.new(), wanted)
        if not run.created:
            return _known(run)
        count = _copy(task, run.id, items)
        return _open(task, template, run, count=count, chunk=chunk, parallel=max(min(parallel, count), 1))


def _checked(task: SkillTask | Stored) -> SkillTask:
    """Return a skill that lanes can perform; one whose promises they cannot keep is refused, and so is a workflow."""
    from execution.skills import SkillTask

    if not isinstance(task, SkillTask):
        raise OptionInvalid(
            f"{task.name!r} is a workflow, and the items of a job are done by a skill: start runs of it with runs.start"
        )
    if task.function is None:
        raise OptionInvalid(
            f"{task.name!r} is a Celery task with base=SkillTask; the items of a job are done by a skill that @skill "
            "has made of a function"
        )
    if task.options.rate:
        raise OptionInvalid(
            f"{task.name!r} has a rate of {task.options.rate!r}, which counts steps, and the items of a job are no "
            "steps: they would pass it. Start runs of it with runs.start_many, or give the job a skill without a rate"
        )
    return task


def _check_count(name: str, value: Any, most: int, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise OptionInvalid(f"{name} is {value!r}; it counts {what}: a whole number from 1 to {most:,}")


def _open_run(task: SkillTask, template: dict[str, Any], run_id: uuid.UUID, key: str | None) -> Run:
    """Open the run that carries a job out, or return the one that its key had opened."""
    names = ("version", "agent_id", "correlation_id", "priority", "tags", "budget_cost", "budget_tokens", "deadline_at")
    run = Run(id=run_id, workflow=f"job:{task.name}", key=key, **{name: template[name] for name in names})
    Run.objects.bulk_create([run], ignore_conflicts=True)
    found = Run.objects.filter(pk=run_id).first()
    if found is not None and found.workflow == run.workflow and not Job.objects.filter(pk=run_id).exists():
        return found
    earlier = found or Run.objects.get(workflow=run.workflow, key=key)
    earlier.created = False
    return earlier


def _known(run: Run) -> Job:
    job = get(run.id)
    job.created = False
    return job


def _copy(task: SkillTask, job_id: uuid.UUID, items: Iterable[Mapping[str, Any]]) -> int:
    """Stream items into the ledger; returns how many there were."""
    count = 0
    for batch in _batches(task, items):
        keep_blobs([packed for packed in batch if packed.blob is not None])
        with (
            connection.cursor() as cursor,
            cursor.copy("COPY execution_jobitem (job_id, position, input) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types(["uuid", "int4", "bytea"])
            for packed in batch:
                count += 1
                copy.write_row((job_id, count, packed.data))
    return count


def _batches(task: SkillTask, items: Iterable[Mapping[str, Any]]) -> Iterator[list[values.Packed]]:
    """Part items, checked and packed, into batches of bounded count and size."""
    batch: list[values.Packed] = []
    size = 0
    for position, item in enumerate(items, 1):
        place = f"item {position} of a job of {task.name!r}"
        if not isinstance(item, Mapping):
            raise OptionInvalid(
                f"{place} is {item!r:.80}; an item is a mapping of the skill's parameters, such as {{'name': value}}"
            )
        try:
            packed = values.pack(task.bind_input((), item), place=place)
        except InputInvalid as error:
            raise InputInvalid(task.name, f"item {position}: {error.problems}") from None
        batch.append(packed)
        size += packed.size
        if len(batch) == _COPY_COUNT or size > _COPY_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _open(task: SkillTask, template: dict[str, Any], run: Run, *, count: int, chunk: int, parallel: int) -> Job:
    """Open a job whose items are there, with a step for each lane, and ring for them after the commit."""
    Run.objects.filter(pk=run.id).update(step_count=parallel)
    reserve = {"reserve_cost": template["reserve_cost"] or 0, "reserve_tokens": template["reserve_tokens"] or 0}
    job = Job.objects.create(
        run_id=run.id,
        skill=task.name,
        chunk=chunk,
        lane_count=parallel,
        item_count=count,
        options=template["options"],
        **reserve,
    )
    names = ("agent_id", "queue", "priority", "breaker", "capability", "level", "lease_seconds")
    about = {name: template[name] for name in names} | reserve
    options = {name: value for name, value in template["options"].items() if name not in _OF_ITEMS}
    steps = Step.objects.bulk_create(
        Step(
            run_id=run.id,
            name=f"lane-{number + 1}",
            skill=lanes.SKILL,
            position=number,
            key=template["concurrency_key"],
            options=options,
            **about,
        )
        for number in range(parallel)
    )
    JobLane.objects.bulk_create(JobLane(step_id=step.id, job_id=run.id) for step in steps)
    if run.deadline_at is not None:
        Timer.objects.create(kind="deadline", due_at=run.deadline_at, run_id=run.id)
    runs.note("run.opened", run, {"workflow": run.workflow})
    told = {"skill": task.name, "items": count, "chunk": chunk, "lanes": parallel}
    runs.note("job.spawned", run, told if count else told | {"reason": "it was given no item, and completes at once"})
    _ring_after_commit([step.id for step in steps])
    return Job.objects.select_related("run").get(pk=job.pk)


def _ring_after_commit(step_ids: list[uuid.UUID]) -> None:
    transaction.on_commit(lambda: doorbell.ring_for(step_ids), robust=True)


# What an operator or a program does to a job


def get(job: Job | Run | uuid.UUID | str) -> Job:
    """Return a job by its id, which is its run's, or by the id of one of its lanes."""
    if isinstance(job, Job):
        return job
    try:
        run = runs.get(job)
    except RunUnknown:
        raise JobUnknown(f"there is no job {job}; `manage.py jobs list` lists them") from None
    found = Job.objects.select_related("run").filter(pk=run.id).first()
    if found is None:
        raise JobUnknown(f"run {run.id} is no job, but a run of {run.workflow!r}; `manage.py jobs list` lists jobs")
    return found


def pause(job: Job | uuid.UUID | str, *, by: str = "", reason: str = "") -> Job:
    """Pause a job: no lane starts, and each records what it has done and leaves before its next item."""
    return get(runs.pause(get(job).run_id, by=by, reason=reason))


def resume(job: Job | uuid.UUID | str, *, by: str = "", reason: str = "") -> Job:
    """Let a paused or parked job go on."""
    return get(runs.resume(get(job).run_id, by=by, reason=reason))


def cancel(job: Job | uuid.UUID | str, *, by: str = "", reason: str = "") -> Job:
    """Cancel a job: each lane records what it has done and leaves before its next item; the rest stays undone."""
    return get(runs.cancel(get(job).run_id, by=by, reason=reason))


@transaction.atomic
def retry(job: Job | uuid.UUID | str, *, by: str = "", reason: str = "") -> Job:
    """Open the failed items of an ended job again, and let a job that was halted go on; what completed is kept."""
    found = get(job)
    held = runs.hold(found.run_id)
    if held.state not in (RunState.COMPLETED, RunState.FAILED):
        wish = "wait for its end" if held.state not in ENDED else "spawn what is left as a job of its own"
        raise NotPossible(f"job {held.id} is {held.state}: only what has ended can be retried; {wish}")
    items = JobItem.objects.filter(job_id=held.id, state=ItemState.FAILED)
    now = timezone.now()
    reopened = items.update(state=ItemState.PENDING, attempt_count=0, error=None, due_at=now)
    if held.state == RunState.COMPLETED and not reopened:
        raise NotPossible(f"job {held.id} has no failed item: there is nothing to retry")
    Job.objects.filter(pk=held.id).update(reopened_count=F("reopened_count") + reopened)
    if held.state == RunState.FAILED:
        runs.retry(held, by=by, reason=reason)
    else:
        Run.objects.filter(pk=held.id).update(state=RunState.RUNNING, ended_at=None)
        runs.note("run.retried", held, {"by": by, "reason": reason})
    _send_lanes_back(held.id, now)
    runs.note("job.retried", held, {"items": reopened, "by": by, "reason": reason})
    return get(held.id)


def _send_lanes_back(job_id: uuid.UUID, now: datetime) -> None:
    """Make the lanes that had ended ready again."""
    ended = Step.objects.select_for_update(no_key=True).filter(run_id=job_id, state=StepState.COMPLETED)
    found = list(ended.order_by("id").values_list("id", flat=True))
    Step.objects.filter(pk__in=found).update(
        state=StepState.READY, waiting="capacity", ended_at=None, rung_at=None, ring_count=0, changed_at=now
    )
    _ring_after_commit(found)


# What has become of it


_PROGRESS = """
    SELECT j.run_id AS job_id, j.skill, r.state, j.item_count, l.completed, l.failed - j.reopened_count AS failed,
           l.taken, l.rate, l.cost, l.tokens, j.created_at, r.ended_at,
           extract(epoch FROM r.ended_at - r.started_at)::float8 AS lasted,
           (SELECT count(*) FROM execution_jobitem i WHERE i.job_id = j.run_id AND i.due_at IS NOT NULL) AS retrying
    FROM execution_job j JOIN execution_run r ON r.id = j.run_id CROSS JOIN LATERAL (
        SELECT coalesce(sum(x.completed_count), 0)::bigint AS completed,
               coalesce(sum(x.failed_count), 0)::bigint AS failed,
               coalesce(sum(cardinality(x.open)), 0)::bigint AS taken, coalesce(sum(x.cost), 0) AS cost,
               coalesce(sum(x.tokens), 0)::bigint AS tokens,
               coalesce(sum(x.rate) FILTER (WHERE s.state = 'running'), 0)::float8 AS rate
        FROM execution_joblane x JOIN execution_step s ON s.id = x.step_id WHERE x.job_id = j.run_id) l
    WHERE j.run_id = ANY(%s) ORDER BY j.run_id DESC"""


def progress(job: Job | uuid.UUID | str) -> Progress:
    """Return how far a job has got, how fast it goes and how long the rest will take at that rate."""
    return progress_of([get(job).run_id])[0]


def progress_of(job_ids: Iterable[uuid.UUID]) -> list[Progress]:
    """Return how far several jobs have got, the newest first."""
    return [_progress(row) for row in ledger.ask_in_transaction(_PROGRESS, [list(job_ids)])]


def _progress(row: Any) -> Progress:
    ended = row.completed + row.failed
    rate = ended / max(row.lasted, 0.001) if row.lasted is not None else row.rate
    left = row.item_count - ended
    return Progress(
        job_id=row.job_id,
        skill=row.skill,
        state=row.state,
        item_count=row.item_count,
        completed_count=row.completed,
        failed_count=row.failed,
        left_count=left,
        taken_count=row.taken,
        retrying_count=row.retrying,
        rate=round(rate, 3),
        seconds_left=None if row.state in ENDED or rate < 0.001 else math.ceil(left / rate),
        cost=row.cost,
        tokens=row.tokens,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )


def results(job: Job | uuid.UUID | str, *, states: Iterable[str] = ("completed", "failed")) -> Iterator[Result]:
    """Stream what became of a job's items, in their order, in constant memory; also while it is carried out."""
    wanted = list(states)
    for state in wanted:
        if state not in ItemState.values:
            raise unknown_option(state, ItemState.values, "the states of items")
    return _results(get(job).run_id, wanted)


def _results(job_id: uuid.UUID, states: list[str]) -> Iterator[Result]:
    last = 0
    while True:
        page = ledger.ask_in_transaction(
            "SELECT position, state, attempt_count, output, error, cost, tokens FROM execution_jobitem "
            "WHERE job_id = %s AND position > %s AND state = ANY(%s) ORDER BY position LIMIT %s",
            [job_id, last, states, _PAGE],
        )
        for row in page:
            yield Result(**row._asdict() | {"output": ledger.unpack(row.output)})
        if len(page) < _PAGE:
            return
        last = page[-1].position


def wait(job: Job | uuid.UUID | str, *, timeout: Duration | None = None) -> Progress:
    """Wait for a job's end, then return its progress; raises RunFailed, RunCancelled and WaitedTooLong, as for runs."""
    found = get(job)
    runs.wait(found.run_id, timeout=timeout)
    return progress(found)


__all__ = [
    "Progress", "Result", "cancel", "get", "pause", "progress", "progress_of", "results", "resume", "retry", "spawn",
    "wait",
]  # fmt: skip
