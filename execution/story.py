"""A run's story as data: attempts, checkpoints, waits, signals, effects, crashes and take-overs, spends, its ending.

It is put together from the rows of the ledger; the log adds what rows do not keep (who paused it, what was waited for).
A long run's story is bounded: the newest lines of each kind are told, and how many older ones were left out.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

from django.db import connection
from django.db.models import Count, QuerySet, Sum

from execution import ledger, secrecy, words
from execution.exceptions import CeleriacError
from execution.models import (
    Attempt,
    Checkpoint,
    Effect,
    Ending,
    Event,
    Run,
    RunState,
    Signal,
    Step,
    StepState,
    Worker,
)
from execution.models.agents import agent_name
from execution.why import said_error, shown_token

# Told by the rows themselves; everything else in the log is told as it stands there.
_TOLD_BY_ROWS = ("run.opened", "signal.received", "effect.intended", "effect.done", "effect.failed")
_STEP_EVENTS = "step."


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """How much was saved: how many checkpoints, their bytes before packing, and the mean."""

    count: int
    total_bytes: int

    @property
    def mean_bytes(self) -> float:
        """Return the mean size of a checkpoint."""
        return self.total_bytes / self.count if self.count else 0.0

    def as_data(self) -> dict[str, Any]:
        """Return the three figures."""
        return {"count": self.count, "total_bytes": self.total_bytes, "mean_bytes": round(self.mean_bytes, 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that happened."""

    at: datetime
    kind: str
    text: str
    step: str = ""
    epoch: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a run is, on one row: for lists and for the head of its story."""

    id: uuid.UUID
    skill: str
    state: str
    waiting: str
    agent: str
    key: str | None
    correlation_id: str
    tags: list[str]
    priority: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    deadline_at: datetime | None
    spent_cost: Decimal
    spent_tokens: int
    reserved_cost: Decimal
    reserved_tokens: int
    budget_cost: Decimal | None
    budget_tokens: int | None
    parent_run_id: uuid.UUID | None
    forked_from_id: uuid.UUID | None
    error: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """All that is known of a run."""

    run: Header
    steps: list[dict[str, Any]]
    lines: list[Line]
    statistics: Statistics
    left_out: dict[str, int]
    result: Any = None

    @property
    def attempt_count(self) -> int:
        """Return how many attempts are told."""
        return sum(1 for line in self.lines if line.kind == "attempt.started")


def statistics(run: Run | None = None) -> Statistics:
    """Return the checkpoint statistics of a run, or of the whole ledger."""
    found = Checkpoint.objects.all() if run is None else Checkpoint.objects.filter(step__run_id=run.id)
    row = found.aggregate(count=Count("*"), total=Sum("size"))
    return Statistics(count=row["count"], total_bytes=row["total"] or 0)


def checkpoint_counts(run_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Return how many checkpoints each of these runs has."""
    rows = (
        Step.objects.filter(run_id__in=list(run_ids))
        .values("run_id")
        .annotate(count=Count("checkpoints__token"))
        .values_list("run_id", "count")
    )
    return dict(rows)


def header(run: Run) -> Header:
    """Return a run's head; the run comes with its agent."""
    given = {name: getattr(run, name) for name in Header.__dataclass_fields__ if name not in {"skill", "agent"}}
    return Header(**given, skill=run.workflow, agent=agent_name(run))


def of(run: Run, *, most: int = 200) -> Story:
    """Tell a run's story, with at most so many of its newest checkpoints, attempts, events and so on."""
    teller = _Teller(run, most)
    lines = sorted(teller.lines(), key=lambda line: line.at)
    return Story(
        run=header(run),
        steps=[_step(step) for step in teller.steps.values()],
        lines=lines,
        statistics=statistics(run),
        left_out=teller.left_out,
        result=_result(run),
    )


def _result(run: Run) -> Any:
    from execution import runs

    if run.state != RunState.COMPLETED:
        return None
    try:
        return runs.result(run)
    except (CeleriacError, LookupError) as error:
        return f"(not readable: {error})"


def _step(step: Step) -> dict[str, Any]:
    return {
        "id": step.id,
        "name": step.name,
        "skill": step.skill,
        "state": step.state,
        "waiting": step.waiting,
        "queue": step.queue,
        "epoch": step.epoch,
        "retry_count": step.retry_count,
        "changed_at": step.changed_at,
        "error": step.error,
    }


class _Teller:
    """Collects the lines of one story, kind by kind."""

    def __init__(self, run: Run, most: int) -> None:
        self.run, self.most = run, most
        self.steps = {step.id: step for step in Step.objects.filter(run_id=run.id).order_by("position", "id")[:1000]}
        self.left_out: dict[str, int] = {}
        self.events = self._newest("events", Event.objects.filter(run_id=run.id), "-id")

    def lines(self) -> Iterator[Line]:
        """Return every line, in no order."""
        yield self._opening()
        yield from self._attempts()
        yield from self._checkpoints()
        yield from self._signals()
        yield from self._effects()
        yield from self._logged()
        yield from self._ending()

    def _newest(self, kind: str, rows: QuerySet[Any], order: str) -> list[Any]:
        """Return the newest rows, oldest first, and note how many were left out."""
        found = list(rows.order_by(order)[: self.most + 1])
        if len(found) > self.most:
            self.left_out[kind] = rows.count() - self.most
        return found[: self.most][::-1]

    def _name(self, step_id: uuid.UUID | None) -> str:
        step = self.steps.get(step_id) if step_id else None
        return step.name if step else ""

    def _opening(self) -> Line:
        run = self.run
        parts = [f"opened as {run.workflow} for agent {agent_name(run)}"]
        parts += [f"under the key {run.key!r}"] if run.key else []
        parts += [f"forked from {run.forked_from_id}"] if run.forked_from_id else []
        parts += [f"a child of run {run.parent_run_id}"] if run.parent_run_id else []
        given = secrecy.hidden(ledger.unpack(run.input) or {})
        shown = ", ".join(
            [repr(value) for value in given.get("args", [])]
            + [f"{name}={value!r}" for name, value in given.get("kwargs", {}).items()]
        )
        parts += [f"with {words.one_line(shown)}"] if shown else []
        return Line(at=run.created_at, kind="run.opened", text=", ".join(parts), facts={"input": given})

    # Attempts, their crashes and their take-overs

    def _attempts(self) -> Iterator[Line]:
        attempts = self._newest("attempts", Attempt.objects.filter(step__run_id=self.run.id), "-started_at")
        workers = dict(
            Worker.objects.filter(pk__in={attempt.worker_id for attempt in attempts}).values_list("id", "hostname")
        )
        origins = self._origins()
        numbers = Attempt.objects.filter(pk__in=[attempt.id for attempt in attempts]).numbers()
        noted = {event.data.get("attempt"): event.data for event in self.events if event.kind.startswith(_STEP_EVENTS)}
        lost: dict[uuid.UUID, Attempt] = {}
        for attempt in attempts:
            worker = workers.get(attempt.worker_id, f"worker {attempt.worker_id}")
            label = f"attempt {numbers[attempt.id]}"
            yield self._started(attempt, label, worker, origins.get(attempt.id), lost.pop(attempt.step_id, None))
            if attempt.ending in (Ending.LOST, Ending.CRASHED):
                lost[attempt.step_id] = attempt
            if attempt.ended_at is not None:
                yield self._ended(attempt, label, worker, noted.get(str(attempt.id), {}))

    def _origins(self) -> dict[uuid.UUID, str]:
        """Return, for each attempt that went on from a checkpoint that is still there, that checkpoint's token."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT t.id, c.token FROM execution_attempt t CROSS JOIN LATERAL ("
                "SELECT x.token FROM execution_checkpoint x WHERE x.step_id = t.step_id AND x.epoch < t.epoch "
                "AND NOT x.is_scoped AND x.kind NOT IN ('append', 'late') ORDER BY x.position DESC LIMIT 1) c "
                "WHERE t.run_id = %s",
                [self.run.id],
            )
            return dict(cursor.fetchall())

    def _started(self, attempt: Attempt, label: str, worker: str, origin: str | None, lost: Attempt | None) -> Line:
        text = f"{label} by {worker}"
        facts: dict[str, Any] = {"worker": worker, "pid": attempt.pid, "from": origin}
        if lost is not None and lost.ended_at is not None:
            milliseconds = round((attempt.started_at - lost.ended_at).total_seconds() * 1000)
            text = f"taken over by {worker} after {milliseconds:,} ms, {label}"
            facts["taken_over_after_ms"] = milliseconds
        text += f", from checkpoint {shown_token(origin)!r}" if origin else ""
        text += ", from the start" if not origin and not self._has_moved(attempt) else ""
        return self._line(attempt.started_at, "attempt.started", text, attempt, facts)

    def _has_moved(self, attempt: Attempt) -> bool:
        """Tell whether what an attempt went on from may since have moved forward under its token."""
        step = self.steps.get(attempt.step_id)
        return attempt.epoch > 1 and step is not None and self._moving

    @cached_property
    def _moving(self) -> bool:
        return Checkpoint.objects.filter(step__run_id=self.run.id, kind__in=["save", "each"]).exists()

    def _ended(self, attempt: Attempt, label: str, worker: str, noted: dict[str, Any]) -> Line:
        lasted = words.length(attempt.ended_at - attempt.started_at) if attempt.ended_at else ""
        facts = {"ending": attempt.ending, "worker": worker, "error": attempt.error, "cost": attempt.cost}
        if attempt.ending in (Ending.LOST, Ending.CRASHED):
            reason = (attempt.error or {}).get("message", "")
            text = f"given back: {reason} ({worker}, {label}, after {lasted})"
            return self._line(attempt.ended_at, "attempt.given_back", text, attempt, facts)
        text = f"{label} {attempt.ending} after {lasted}"
        waiting = noted.get("waiting")
        if waiting:
            text = (
                f"waits ({waiting}) after {lasted}"
                if attempt.ending == Ending.SUSPENDED
                else f"{text}, then waits ({waiting})"
            )
            facts |= {"waiting": waiting, "wake_at": noted.get("wake_at")}
            if noted.get("wake_at"):
                text += f" until {words.moment(datetime.fromisoformat(noted['wake_at']), attempt.ended_at)}"
        if attempt.error:
            text += f": {said_error(attempt.error)}"
        return self._line(attempt.ended_at, f"attempt.{attempt.ending}", text, attempt, facts)

    def _line(self, at: datetime | None, kind: str, text: str, attempt: Attempt, facts: dict[str, Any]) -> Line:
        return Line(
            at=at or attempt.started_at,
            kind=kind,
            text=text,
            step=self._name(attempt.step_id),
            epoch=attempt.epoch,
            facts=facts,
        )

    # What was recorded

    def _checkpoints(self) -> Iterator[Line]:
        rows = Checkpoint.objects.filter(step__run_id=self.run.id).defer("data")
        for row in self._newest("checkpoints", rows, "-saved_at"):
            yield Line(
                at=row.saved_at,
                kind="spend" if row.kind in ("spend", "late") else "checkpoint",
                text=_of_checkpoint(row),
                step=self._name(row.step_id),
                epoch=row.epoch,
                facts={"token": row.token, "kind": row.kind, "size": row.size, "cost": row.cost, "tokens": row.tokens},
            )

    def _signals(self) -> Iterator[Line]:
        for signal in self._newest("signals", Signal.objects.filter(run_id=self.run.id), "-id"):
            facts = {"name": signal.name, "sender": signal.sender, "consumed_at": signal.consumed_at}
            taken = "" if signal.consumed_at else ", not taken yet"
            text = f"signal {signal.name!r}" + (f" from {signal.sender}" if signal.sender else "") + taken
            if signal.name.startswith("child:"):
                text = f"child run {signal.name.removeprefix('child:')} has ended"
            yield Line(at=signal.created_at, kind="signal", text=text, step=self._name(signal.consumed_by), facts=facts)

    def _effects(self) -> Iterator[Line]:
        for effect in self._newest("effects", Effect.objects.filter(step__run_id=self.run.id), "-intended_at"):
            facts = {"token": effect.token, "key": effect.key, "state": effect.state, "decided_by": effect.decided_by}
            shared = {"step": self._name(effect.step_id), "epoch": effect.epoch, "facts": facts}
            token = shown_token(effect.token)
            yield Line(at=effect.intended_at, kind="effect.intended", text=f"effect {token!r} intended", **shared)
            if effect.ended_at:
                by = f", decided by {effect.decided_by}" if effect.decided_by else ""
                text = f"effect {token!r} {effect.state}{by}"
                yield Line(at=effect.ended_at, kind=f"effect.{effect.state}", text=text, **shared)

    # What the log adds

    def _logged(self) -> Iterator[Line]:
        for event in self.events:
            if event.kind.startswith(_STEP_EVENTS) or event.kind in _TOLD_BY_ROWS:
                continue
            text = _of_event(event)
            yield Line(at=event.at, kind=event.kind, text=text, step=self._name(event.step_id), facts=event.data)

    def _ending(self) -> Iterator[Line]:
        """Tell the ending from the run's own row, where the log no longer has it."""
        run = self.run
        if run.is_ended and run.ended_at and not any(event.kind == f"run.{run.state}" for event in self.events):
            yield Line(at=run.ended_at, kind=f"run.{run.state}", text=_ending_text(run.state, run.error))


def _of_checkpoint(row: Checkpoint) -> str:
    token = shown_token(row.token)
    if row.kind in ("spend", "late"):
        tokens = f" and {words.counted(row.tokens, 'token')}" if row.tokens else ""
        late = " by a worker that had lost the step" if row.kind == "late" else ""
        return f"spent {words.money(row.cost or Decimal(0))}{tokens} on {token!r}{late}"
    if row.kind == "append":
        return f"appended to {row.name!r} ({words.size(row.size)})"
    return f"checkpoint {token!r} ({row.kind}, {words.size(row.size)})"


def _of_event(event: Event) -> str:
    data = dict(event.data)
    state = event.kind.removeprefix("run.")
    if event.kind in ("run.completed", "run.failed", "run.cancelled"):
        return _ending_text(state, data.get("error"))
    what = _EVENT_WORDS.get(event.kind, event.kind.replace(".", " ").replace("_", " "))
    by, reason = data.pop("by", None), data.pop("reason", None)
    text = what + (f" by {by}" if by else "") + (f": {reason}" if reason else "")
    rest = ", ".join(f"{name} {words.one_line(value, 80)}" for name, value in data.items() if value not in (None, ""))
    return f"{text} ({rest})" if rest else text


_EVENT_WORDS = {
    "run.cancel_requested": "cancellation asked for",
    "run.parked": "parked, waits for a person",
    "run.forked": "forked",
    "budget.topped_up": "budget topped up",
    "budget.overdrawn": "a lost worker had already spent",
    "effect.decided": "effect decided",
}


def _ending_text(state: str, error: dict[str, Any] | None) -> str:
    return f"{state}: {said_error(error)}" if error else state


def step_counts(run: Run) -> dict[str, int]:
    """Return how many of a run's steps are in each state."""
    return dict(Counter(Step.objects.filter(run_id=run.id).values_list("state", flat=True)))


def running_steps(run: Run) -> list[Step]:
    """Return the steps of a run that are being performed."""
    return list(Step.objects.filter(run_id=run.id, state=StepState.RUNNING).order_by("position"))
