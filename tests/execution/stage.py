"""A stage: skills made in a test, performed in the test's own process, and crashed where the test says."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from execution import ledger, runs, skills
from execution.models import Checkpoint, Event, Run, Step
from tests import hands


class Crash(BaseException):
    """The process dies here: nothing of the pass is written any more."""


class Stage:
    """Hands, and the verbs that the tests of skills need."""

    def __init__(self) -> None:
        """Take hands."""
        self.hands = hands.Hands()
        self.hands._board.keep()

    def close(self) -> None:
        """Put the hands away."""
        self.hands.close()

    def skill(self, function: Callable[..., Any], **options: Any) -> Any:
        """Make a skill of a function, under a name of its own."""
        options.setdefault("retries", 0)
        return skills.skill(f"stage.{function.__name__.strip(chr(60) + chr(62))}.{uuid.uuid4().hex[:8]}", **options)(
            function
        )

    def open(self, function: Callable[..., Any], /, *, options: dict[str, Any] | None = None, **given: Any) -> Run:
        """Make a skill and open a run of it."""
        return self.skill(function, **(options or {})).start(**given)

    def play(self, run: Run) -> Step:
        """Perform a run's step once: one pass."""
        return self.hands.perform(run.id)

    def finish(self, run: Run, *, passes: int = 20) -> Any:
        """Perform a run's step, its timers being due at once, until it has ended; return its result."""
        for _ in range(passes):
            step = self.play(run)
            if step.state in ("completed", "failed", "cancelled"):
                return runs.result(run)
            hands.make_due(run.id)
            ledger.ask("SELECT * FROM execution_wake_v1()")
        raise AssertionError(f"it is {step.state} ({step.waiting}) after {passes} passes")

    def crash(self, run: Run) -> None:
        """Perform a pass that dies with Crash, and give the step back as the sweep does."""
        try:
            self.hands.perform(run.id)
        except Crash:
            pass
        else:
            raise AssertionError(f"the pass did not crash: {self.step(run).state}, {self.error(run)}")
        step = Step.objects.get(pk=run.id)
        assert ledger.give_back(step.id, step.epoch, ending="lost", reason="its lease ran out") == "ready"

    def wake(self, run: Run) -> Step:
        """Fire a run's timers, as if their time had come."""
        hands.make_due(run.id)
        ledger.ask("SELECT * FROM execution_wake_v1()")
        return self.step(run)

    def step(self, run: Run) -> Step:
        """Return a run's step as it is now."""
        return Step.objects.get(pk=run.id)

    def run(self, run: Run) -> Run:
        """Return a run as it is now."""
        return Run.objects.get(pk=run.id)

    def error(self, run: Run) -> str:
        """Return what a run's step failed with, as one sentence."""
        error = self.step(run).error or {}
        return f"{error.get('type')}: {error.get('message')}"

    def appended(self, run: Run, name: str) -> list[Any]:
        """Return what a run has appended to a list."""
        rows = Checkpoint.objects.filter(step_id=run.id, kind="append", name=name).order_by("position")
        return [ledger.unpack(row.data) for row in rows]

    def tokens(self, run: Run, **which: Any) -> list[str]:
        """Return the tokens that a run has recorded, in order."""
        return list(
            Checkpoint.objects.filter(step_id=run.id, **which).order_by("position").values_list("token", flat=True)
        )

    def events(self, run: Run) -> list[str]:
        """Return the kinds of a run's events, in order."""
        return list(Event.objects.filter(run_id=run.id).order_by("id").values_list("kind", flat=True))
