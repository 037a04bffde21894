"""Hands in the test process: they claim, perform and finish steps as a worker's pool does, with no worker around.

What a pool process does to the ledger is done here through the same doors: `perform` answers a message with Celery's
real tracer and a board, `claim` and `finish` call the verbs below it. Threads get a connection each.
"""

# ruff: noqa: S107 - a token names a checkpoint

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import pytest
from celery.app.trace import build_tracer
from django.db import connections

from execution import agents, ids, ledger, openings, performing, runs, skills, values
from execution import board as boards
from execution.ledger import Claim, Record, Refusal
from execution.models import Need, Run, Step
from tests import skills as _skills  # noqa: F401 - registers them

MARKS = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning"),  # Celery's Redis backend
]


class Hands:
    """One worker's hands: a board, a worker id, and what they hold."""

    def __init__(self) -> None:
        """Make the board that the performing code looks for."""
        self.worker_id = ids.new()
        self._board = boards.Board.make(self.worker_id)
        self._board.keep()
        self._outer = os.environ.get(boards.ENVIRONMENT)
        os.environ[boards.ENVIRONMENT] = str(self._board.path)
        boards._opened = (str(self._board.path), self._board)

    def close(self) -> None:
        """Take the board away again."""
        self._board.remove()
        boards._opened = None
        if self._outer is None:
            os.environ.pop(boards.ENVIRONMENT, None)
        else:
            os.environ[boards.ENVIRONMENT] = self._outer

    def claim(self, step: Step | Run | uuid.UUID, attempt_id: uuid.UUID | None = None) -> Claim | Refusal:
        """Claim a step, or learn why not."""
        return ledger.claim(_id(step), attempt_id or ids.new(), worker_id=self.worker_id, pid=os.getpid())

    def take(self, step: Step | Run | uuid.UUID) -> Claim:
        """Claim a step that must be there to be claimed."""
        claimed = self.claim(step)
        assert isinstance(claimed, Claim), claimed
        return claimed

    def perform(self, step: Step | Run | uuid.UUID) -> Step:
        """Answer the message that names a step, as a pool process does, and return the step as it is then."""
        found = Step.objects.get(pk=_id(step))
        task = skills.named(found.skill)
        if task._tracer is None:
            task.__trace__ = build_tracer(task.name, task, app=task.app)
        performing.answer(task, str(found.id), [], {}, {performing.HEADER: 1})
        found.refresh_from_db()
        return found

    def stop(self, how: str) -> None:
        """Let the process be told to begin nothing more: `drain` it, or `bar` its slot."""
        if how == "drain":
            self._board.drain()
        else:
            self._board.bar(boards.slot(self._board))

    def lose(self, claim: Claim, reason: str = "worker died") -> str:
        """Give a claimed step back, as the sweep does when its worker has gone."""
        return ledger.give_back(claim.step_id, claim.epoch, ending="lost", reason=reason)


def _id(step: Step | Run | uuid.UUID) -> uuid.UUID:
    return step if isinstance(step, uuid.UUID) else step.id


def finish(claim: Claim, ending: str = "completed", value: Any = None, **details: Any) -> ledger.Finish:
    """Write an ending by hand."""
    output = values.pack(value, place="a test") if ending == "completed" else None
    return ledger.finish(claim, ending, output=output, details=details)


def record(token: str, kind: str = "once", value: Any = None, *, position: int = 1, **more: Any) -> Record:
    """Return a record by hand."""
    packed = None if kind == "spend" else values.pack(value, place="a test")
    return Record(token=token, kind=kind, position=position, packed=packed, **more)


def spend(token: str, cost: str | Decimal, tokens: int = 0, *, position: int = 1) -> Record:
    """Return a charge by hand."""
    return record(token, "spend", position=position, cost=Decimal(cost), tokens=tokens)


def call(claim: Claim, token: str = "child", *, skill: str = "tests.add", child: uuid.UUID | None = None, **limit: Any):
    """Open a child run for a claimed step, with a budget where a limit is given."""
    given = {"left": 1} if skill == "tests.add" else {}
    template, packed = openings.child_template(claim, skill, given, budget=limit or None)
    return ledger.call(claim.step_id, claim.epoch, f"call:{token}", 1, template, child or ids.new(), packed)


def graph(
    needs: Sequence[Iterable[int]], *, run: dict[str, Any] | None = None, step: dict[str, Any] | None = None
) -> tuple[Run, list[Step]]:
    """Make a run of several steps by hand; `needs[n]` names the steps that step n needs."""
    wanted = [sorted(set(one)) for one in needs]
    about = {"agent_id": agents.id_of(None), **(run or {})}
    made = Run.objects.create(workflow="by hand", step_count=len(wanted), **about)
    made.refresh_from_db()
    steps = Step.objects.bulk_create(
        Step(
            run_id=made.id, agent_id=made.agent_id, name=f"step-{number}", skill="tests.add", position=number,
            pending_count=len(one), state="blocked" if one else "ready", waiting="needs" if one else "capacity",
            input=b"j{}", **(step or {}),
        )
        for number, one in enumerate(wanted)
    )  # fmt: skip
    Need.objects.bulk_create(
        Need(step_id=steps[number].id, needed_id=steps[needed].id)
        for number, one in enumerate(wanted)
        for needed in one
    )
    return made, steps


def open_run(skill: str = "tests.add", input: dict[str, Any] | None = None, **options: Any) -> Run:  # noqa: A002
    """Open a run of one step."""
    run = runs.start(skill, {"left": 1} if input is None and skill == "tests.add" else input, **options)
    run.refresh_from_db()
    return run


def side_by_side(*actions: Callable[[], Any], timeout: float = 60) -> list[Any]:
    """Do things at the same moment, a thread and its own connections for each; return what they answered, in order."""
    gate = threading.Barrier(len(actions))
    answers: list[Any] = [None] * len(actions)
    errors: list[BaseException] = []

    def do(index: int, action: Callable[[], Any]) -> None:
        try:
            ledger.connection()
            gate.wait(timeout)
            answers[index] = action()
        except BaseException as error:  # noqa: BLE001 - told to the test below
            errors.append(error)
        finally:
            ledger.close()
            connections.close_all()

    threads = [threading.Thread(target=do, args=pair, daemon=True) for pair in enumerate(actions)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0.1))
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads), f"still busy after {timeout} s"
    return answers


def make_due(step: Step | Run | uuid.UUID) -> None:
    """Let a step's timers be due now, as if the time had passed."""
    ledger.ask(
        "WITH due AS (UPDATE execution_timer SET due_at = clock_timestamp() - interval '1 millisecond' "
        "WHERE step_id = %s AND fired_at IS NULL AND cancelled_at IS NULL RETURNING due_at) "
        "UPDATE execution_step s SET wake_at = (SELECT min(due_at) FROM due) WHERE s.id = %s AND s.wake_at IS NOT NULL",
        [_id(step), _id(step)],
    )


def deadlocks() -> int:
    """Return how many deadlocks the database has had to break."""
    ledger.ask("SELECT pg_stat_force_next_flush()")
    sql = "SELECT pg_stat_clear_snapshot(), deadlocks FROM pg_stat_database WHERE datname = current_database()"
    return int(ledger.ask(sql)[0].deadlocks)
