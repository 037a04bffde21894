"""Provenance: exactly one record for each finished step, and the edges to the steps that it came from.

Records are derived in bulk by a cycle that reads the log by cursor; record, edges and cursor are written together, and
nothing is done where steps are performed. A step that has finished again, after a retry, has its record renewed. What a
record holds (hashes, cost, worker, models) is copied, so that it outlives the rows that it was made of. Recorders
take turns: the row of the reader is their lock.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from execution import events, ids, ledger, signatures, values
from execution.cycles import Cycle
from execution.models import (
    UNFINISHED,
    Attempt,
    Checkpoint,
    Chord,
    ChordPart,
    Event,
    EventReader,
    Lineage,
    Need,
    Provenance,
    Relation,
    Run,
    Step,
    Worker,
)

READER = "execution.provenance"
PAGE = 200
_PASS_SECONDS = 5.0
_STEP_ENDINGS = frozenset({"step.completed", "step.failed", "step.cancelled", "budget.overdrawn"})
_RUN_ENDINGS = frozenset({"run.completed", "run.failed", "run.cancelled"})
_RENEWED = [
    field.name
    for field in Provenance._meta.concrete_fields  # noqa: SLF001 - Django's documented name
    if not field.primary_key
]

Edges = Iterable[tuple[uuid.UUID, uuid.UUID, Relation]]
"""A step, a parent of it, and how it came from there."""


def record_all(pass_seconds: float = _PASS_SECONDS) -> int:
    """Record the steps that have finished since the last pass; returns how many events were read."""
    return events.consume_for(READER, _handle, seconds=pass_seconds)


WATCH = Cycle(name="execution.provenance", period=timedelta(seconds=10), step=lambda _: record_all(), is_atomic=False)


def _handle(found: Sequence[Event]) -> None:
    ended = {event.step_id for event in found if event.kind in _STEP_ENDINGS and event.step_id}
    closed = {event.run_id for event in found if event.kind in _RUN_ENDINGS and event.run_id}
    _record(Q(pk__in=ended))
    # A step that is cancelled or skipped beside others has no event of its own: it is found with its run.
    _record(Q(_is_missing(), run_id__in=closed))


def catch_up(run: Run | None = None) -> int:
    """Record what has finished without waiting for the cycle: one run's steps, or all that have no record."""
    total, after = 0, uuid.UUID(int=0)
    missing = _finished().filter(_is_missing())
    if run is not None:
        missing = missing.filter(run_id=run.id)
    while page := list(missing.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:PAGE]):
        with _in_turn():
            total += _record(Q(pk__in=page))
        after = page[-1]
    return total


@contextmanager
def _in_turn() -> Iterator[None]:
    """Open a transaction in which nobody else records."""
    EventReader.objects.get_or_create(name=READER)
    with transaction.atomic():
        EventReader.objects.select_for_update().get(name=READER)
        yield


def _finished() -> QuerySet[Step]:
    return Step.objects.exclude(state__in=UNFINISHED)


def _is_missing() -> Any:
    """Say which steps have no record, or one of an earlier ending."""
    ended_at = Coalesce(OuterRef("ended_at"), OuterRef("changed_at"))
    return ~Exists(Provenance.objects.filter(step_id=OuterRef("pk"), state=OuterRef("state"), ended_at=ended_at))


def _record(which: Q) -> int:
    """Record finished steps, page by page; returns how many."""
    total = 0
    found = iter(_finished().filter(which).select_related("run").order_by("pk").iterator(PAGE))
    while page := list(itertools.islice(found, PAGE)):
        _record_page(page)
        total += len(page)
    return total


def _record_page(steps: list[Step]) -> None:
    attempts = _attempts(steps)
    totals = _totals(steps)
    hosts = _hosts(attempts.values())
    spent = _models(steps)
    Provenance.objects.bulk_create(
        [_of(step, attempts.get(step.id), totals.get(step.id), hosts, spent.get(step.id, [])) for step in steps],
        update_conflicts=True,
        unique_fields=["step_id"],
        update_fields=_RENEWED,
    )
    edges = [
        Lineage(step_id=step_id, parent_id=parent_id, relation=relation)
        for source in _SOURCES
        for step_id, parent_id, relation in source(steps)
        if step_id != parent_id
    ]
    Lineage.objects.bulk_create(edges, ignore_conflicts=True)


def _of(
    step: Step, attempt: Attempt | None, total: dict[str, Any] | None, hosts: dict[uuid.UUID, str], spent: list[Any]
) -> Provenance:
    """Return the record of one step."""
    given = step.input if step.input is not None else step.run.input
    return Provenance(
        step_id=step.id,
        run_id=step.run_id,
        agent_id=step.agent_id,
        name=step.name,
        skill=step.skill,
        version=step.version,
        state=step.state,
        input_hash=values.content_hash(given),
        output_hash=values.content_hash(step.output),
        attempt_id=attempt.id if attempt else None,
        attempt_count=total["count"] if total else 0,
        worker_id=attempt.worker_id if attempt else None,
        worker=hosts.get(attempt.worker_id, "") if attempt else "",
        cost=total["cost"] if total else Decimal(0),
        tokens=total["tokens"] if total else 0,
        models_used=spent,
        started_at=step.started_at,
        ended_at=step.ended_at or step.changed_at,
    )


def _attempts(steps: list[Step]) -> dict[uuid.UUID, Attempt]:
    """Return the latest attempt of each step that was ever performed."""
    found = Attempt.objects.in_bulk([step.attempt_id for step in steps if step.attempt_id])
    return {attempt.step_id: attempt for attempt in found.values()}


def _totals(steps: list[Step]) -> dict[uuid.UUID, dict[str, Any]]:
    rows = Attempt.objects.filter(step_id__in=[step.id for step in steps]).order_by().values("step_id")
    summed = rows.annotate(count=Count("id"), cost=Sum("cost"), tokens=Sum("tokens"))
    return {row["step_id"]: dict(row) for row in summed}


def _hosts(attempts: Iterable[Attempt]) -> dict[uuid.UUID, str]:
    ours = {attempt.worker_id for attempt in attempts}
    return dict(Worker.objects.filter(pk__in=ours).values_list("id", "hostname"))


def _models(steps: list[Step]) -> dict[uuid.UUID, list[dict[str, Any]]]:
    """Return what each step has spent on which model."""
    spends = Checkpoint.objects.filter(step_id__in=[step.id for step in steps], kind="spend", name__isnull=False)
    found: dict[uuid.UUID, list[dict[str, Any]]] = {}
    for step_id, name, cost, tokens in (
        spends.order_by("step_id", "name").values_list("step_id", "name").annotate(Sum("cost"), Sum("tokens"))
    ):
        found.setdefault(step_id, []).append({"model": name, "cost": str(cost or 0), "tokens": int(tokens or 0)})
    return found


# Parents


def _needed(steps: list[Step]) -> Edges:
    needs = Need.objects.filter(step_id__in=[step.id for step in steps])
    for step_id, needed_id in needs.values_list("step_id", "needed_id"):
        yield step_id, needed_id, Relation.NEEDS


def _called(steps: list[Step]) -> Edges:
    """Yield what opened a run, for the steps with which the run began."""
    opened = [step for step in steps if step.run.parent_step_id]
    inner = set(Need.objects.filter(step_id__in=[step.id for step in opened]).values_list("step_id", flat=True))
    for step in opened:
        if step.id not in inner and step.run.parent_step_id:
            yield step.id, step.run.parent_step_id, Relation.CALL


def _celery_parents(steps: list[Step]) -> Edges:
    """Yield the tasks that sent a step; a chord's body comes from every part of its header."""
    sent = {step.id: step.canvas["parent_id"] for step in steps if step.canvas and step.canvas.get("parent_id")}
    if not sent:
        return
    headers = _headers(set(sent.values()))
    known = _known(ids.from_celery(task_id) for task_id in (*sent.values(), *itertools.chain(*headers.values())))
    for step in steps:
        if step.id not in sent:
            continue
        own = (step.canvas or {}).get("task_id") or str(step.id)
        for task_id in headers.get(own, [sent[step.id]]):
            parent_id = ids.from_celery(task_id)
            if parent_id in known:
                yield step.id, parent_id, Relation.CHORD if own in headers else Relation.TASK


def _headers(last_parts: set[str]) -> dict[str, list[str]]:
    """Return the task ids of chords' headers by those of their bodies; a body names the last part as its parent."""
    groups = ChordPart.objects.filter(task_id__in=last_parts).values_list("group_id", flat=True)
    found = {}
    for chord in Chord.objects.filter(pk__in=list(groups), body__isnull=False):
        body = signatures.unpacked((chord.body or {})["signature"]) or {}
        parts = ChordPart.objects.filter(group_id=chord.group_id).order_by("index", "id")
        found[str(body.get("options", {}).get("task_id"))] = list(parts.values_list("task_id", flat=True))
    return found


def _known(step_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    return set(Step.objects.filter(pk__in=set(step_ids)).values_list("pk", flat=True))


def _forked(steps: list[Step]) -> Edges:
    forks = [step.id for step in steps if step.run.forked_from_id]
    origin = Step.objects.filter(run_id=OuterRef("run__forked_from_id"), skill=OuterRef("skill")).order_by("position")
    rows = Step.objects.filter(pk__in=forks).annotate(origin=Subquery(origin.values("pk")[:1])).exclude(origin=None)
    for step_id, origin_id in rows.values_list("pk", F("origin")):
        yield step_id, origin_id, Relation.FORK


_SOURCES: tuple[Callable[[list[Step]], Edges], ...] = (_needed, _called, _celery_parents, _forked)


# Lineage


def of_run(run: Run) -> QuerySet[Provenance]:
    """Return the records of a run's steps, in the order in which they ended."""
    return Provenance.objects.filter(run_id=run.id).order_by("ended_at", "step_id")


def ancestors(*step_ids: uuid.UUID) -> QuerySet[Provenance]:
    """Return the records of all that these steps came from."""
    return _walked(step_ids, forwards=False)


def descendants(*step_ids: uuid.UUID) -> QuerySet[Provenance]:
    """Return the records of all that came from these steps."""
    return _walked(step_ids, forwards=True)


def _walked(step_ids: Sequence[uuid.UUID], *, forwards: bool) -> QuerySet[Provenance]:
    return Provenance.objects.filter(pk__in=closure(step_ids, forwards=forwards)).order_by("ended_at", "step_id")


def closure(step_ids: Sequence[uuid.UUID], *, forwards: bool) -> list[uuid.UUID]:
    """Return the ids of all steps before these, or after them, whether they have a record yet or not."""
    rows = ledger.ask_in_transaction("SELECT step_id FROM execution_lineage_v1(%s, %s)", [list(step_ids), forwards])
    return [row.step_id for row in rows]


def by_hash(digest: bytes) -> QuerySet[Provenance]:
    """Return the steps that took or made a value of this hash."""
    return Provenance.objects.filter(Q(input_hash=digest) | Q(output_hash=digest)).order_by("ended_at", "step_id")
