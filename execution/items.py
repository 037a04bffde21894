"""What a skill holds while it performs one item of a job.

An item has no step of its own, so nothing is recorded within it: it is done as a whole, and done again as a whole. What
it spends is charged with its result, in the statement that records it. The verbs that need a step of their own say so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any, Never

from execution import board as boards
from execution import ledger
from execution.context import Context
from execution.exceptions import CancelRequested, StepNeeded
from execution.ledger import Claim, Record


@dataclass(frozen=True, slots=True)
class Item:
    """One item on its way through a lane."""

    position: int
    attempt_count: int
    input: bytes


class ItemContext(Context):
    """The hold of one item on its lane: made once for the lane, and entered anew for each item."""

    def __init__(
        self,
        claim: Claim,
        *,
        skill: str,
        options: dict[str, Any],
        board: boards.Board | None = None,
        slot: int | None = None,
    ) -> None:
        super().__init__(replace(claim, skill=skill, options=options), board=board, slot=slot)
        self._timebox: float | None = options.get("timebox")
        self._unrecorded = (Decimal(0), 0)
        self._item = Item(0, 0, b"")
        self.cost: Decimal | None = None
        self.tokens: int | None = None

    def enter(self, item: Item, unrecorded: tuple[Decimal, int]) -> None:
        """Begin an item; what the lane's earlier items have spent and not recorded counts when this one reserves."""
        self._item, self._unrecorded = item, unrecorded
        self.cost = self.tokens = None
        if self._seen:
            self._seen.clear()
        self.__dict__.pop("log", None)
        if self._timebox is not None:
            self._ends_at = self.now + timedelta(seconds=self._timebox)

    @property
    def position(self) -> int:
        """The item's place in its job, from 1."""
        return self._item.position

    @property
    def attempt(self) -> int:
        """Which try of this item it is: 1 for the first."""
        return self._item.attempt_count + 1

    @property
    def retries(self) -> int:
        """How often the item was tried again after an error."""
        return self._item.attempt_count

    @property
    def idempotency_key(self) -> str:
        """A key that is the same in every try of this item, for the outside world to know it by."""
        return f"{self.run_id}:{self._item.position}"

    @cached_property
    def log(self) -> Any:
        """A structured log that knows the run, the lane and the item."""
        return Context.log.func(self).bind(item=self._item.position)  # type: ignore[attr-defined]

    def _obey(self) -> None:
        """Leave in mid-item only when its time has passed or it is cancelled: what else is asked waits for its end."""
        self._check_over()
        self._check_time()
        if self.cancelled:
            self._go(CancelRequested())

    def _find(self, full: str, kind: str) -> None:
        """Find nothing: no try of an item leaves anything to the next."""

    def _write(self, *records: Record) -> None:
        """Keep what was spent for the statement that records the item."""
        for record in records:
            self.cost = (self.cost or Decimal(0)) + (record.cost or 0)
            self.tokens = (self.tokens or 0) + (record.tokens or 0)

    def _reserve(self, amount: Decimal, count: int) -> None:
        cost, tokens = self._unrecorded
        answer = ledger.reserve(
            self.step_id,
            self._claim.epoch,
            cost=amount + cost + (self.cost or 0),
            tokens=count + tokens + (self.tokens or 0),
        )
        self._follow(answer)
        if answer == "refused":
            self._park("budget", f"{amount} and {count} tokens more would pass the budget")


def _refused(verb: str) -> Callable[..., Never]:
    def refuse(self: ItemContext, *_: Any, **__: Any) -> Never:
        raise StepNeeded(
            f"ctx.{verb} needs a step of its own, and item {self.position} of a job has none: an item is done as a "
            f"whole, or again as a whole. Start a run for each, with runs.start_many, where ctx.{verb} is needed"
        )

    return refuse


for _verb in (
    "once", "aonce", "each", "append", "items", "save", "effect", "sleep", "wait_for", "callback", "call", "begin",
    "collect",
):  # fmt: skip
    setattr(ItemContext, _verb, _refused(_verb))
ItemContext.checkpoint = property(_refused("checkpoint"))  # type: ignore[assignment,method-assign]
