"""Lanes: the steps that carry out a job, each a loop that takes items, performs them and records what became of them.

A lane is claimed, kept alive, paused and given back like any step; what it records is refused once its epoch is stale.
One statement records a chunk's outcomes and takes the next chunk. A lane that has not been heard of for a quarter of a
second speaks before it begins another item, so that little is done again after a crash, and so that others may take
from a lane which is held up by a long item what it has not begun. A lane with nothing left to take ends; where items
are due again later it frees its slot until then.
"""

# ruff: noqa: SLF001 - a lane is a pass of our own, below the verbs of its context

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import close_old_connections

from execution import conf, ledger, performing, retries, skills, values
from execution.context import Context
from execution.exceptions import JobUnknown, Leave, PoisonItem, Suspend
from execution.items import Item, ItemContext
from execution.passes import charge_late
from execution.skills import SkillTask, skill

SKILL = "execution.job_lane"
_SPEAK_EVERY_SECONDS = 0.25
_WAIT_SECONDS = 0.1
_PATIENCE_SECONDS = 2.0
_CRASHES = 2


class Outcome(NamedTuple):
    """What became of one item, in the order in which `ledger.record_items` takes it."""

    position: int
    state: str
    output: bytes | None = None
    error: str | None = None
    delay_seconds: float | None = None
    cost: Decimal | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a lane works by: the job, and how the lane's last attempt left it."""

    job_id: Any
    skill: str
    options: dict[str, Any]
    reserve_cost: Decimal
    reserve_tokens: int
    crash_count: int
    at: int | None


@skill(SKILL, breaker="")
def perform(ctx: Context) -> None:
    """Perform items of a job until there are none to take."""
    lane = Lane(ctx)
    try:
        lane.work()
    except (Leave, SystemExit, KeyboardInterrupt):
        lane.speak()
        raise


class Lane:
    """One pass of a lane over the items that it takes."""

    def __init__(self, ctx: Context) -> None:
        """Read what is to be done; the skill must be known here."""
        self.ctx = ctx
        self.claim = ctx._claim
        self.orders = _orders(ctx)
        self.task = skills.named(self.orders.skill)
        self.policy = retries.Policy.of(self.orders.options)
        self.item_ctx = ItemContext(
            self.claim,
            skill=self.orders.skill,
            options=self.orders.options,
            board=ctx._board,
            slot=ctx._slot,
        )
        self.held: frozenset[int] = frozenset()
        self.done: list[Outcome] = []
        self.unrecorded = (Decimal(0), 0)
        self.paid_count = 0
        self.is_careful = self.orders.crash_count > 0
        self.suspect = self.orders.at if self.orders.crash_count >= _CRASHES else None
        self.began_at = self.spoke_at = time.monotonic()

    def work(self) -> None:
        """Perform chunk after chunk."""
        while self._take():
            for item in self._load():
                if self._may_begin(item):
                    self._perform(item)
            self.is_careful = False

    # Speaking with the ledger

    def speak(self, at: int | None = None, *, takes: bool = False) -> float | None:
        """Record what is done and learn what is held; with nothing to take, return when to look again."""
        done, self.done, self.unrecorded = self.done, [], (Decimal(0), 0)
        self.spoke_at = time.monotonic()
        answer = ledger.record_items(self.claim.step_id, self.claim.epoch, done, at=at, takes=takes)
        if answer.verdict == "stale":
            charge_late(self.claim, [_late(one.position, one.cost, one.tokens) for one in done])
        self.held = frozenset(answer.open or ())
        self.ctx._follow(answer.verdict, answer.control or "")
        return answer.wake_seconds  # type: ignore[no-any-return]

    def _take(self) -> bool:
        """Take the next chunk; false when nothing is left, and not before it is sure."""
        patience = time.monotonic() + _PATIENCE_SECONDS
        while True:
            wake_seconds = self.speak(takes=True)
            if self.held:
                self._give_way()
                return True
            if wake_seconds is None:
                return False
            self.ctx._obey()
            if wake_seconds > _PATIENCE_SECONDS or time.monotonic() > patience:
                self._sleep(wake_seconds)
            time.sleep(min(wake_seconds, _WAIT_SECONDS))

    def _sleep(self, wake_seconds: float) -> None:
        """Free the slot until something is due."""
        due = self.ctx.now + timedelta(seconds=max(wake_seconds, _PATIENCE_SECONDS))
        self.ctx._go(Suspend("timer", wake_at=due.isoformat(), timer="sleep"))

    def _give_way(self) -> None:
        """Line up again behind what else waits for a slot, once this lane has had its time; what it holds stays its."""
        if time.monotonic() - self.began_at > conf.current().lane_seconds:
            self.ctx._go(Suspend("capacity"))

    def _load(self) -> list[Item]:
        rows = ledger.ask(
            "SELECT position, attempt_count, input FROM execution_jobitem WHERE job_id = %s AND position = ANY(%s) "
            "ORDER BY position",
            [self.orders.job_id, list(self.held)],
        )
        return [Item(*row) for row in rows]

    # Performing

    def _may_begin(self, item: Item) -> bool:
        """Speak where it is time to, leave where that is asked; tell whether the item is still this lane's."""
        if self.is_careful or time.monotonic() - self.spoke_at > _SPEAK_EVERY_SECONDS:
            self.speak(item.position)
            self._give_way()
        self.ctx._obey()
        self.ctx._touch()
        if item.position not in self.held:
            return False
        if self.claim.is_limited:
            self._ensure_money(item)
        return True

    def _ensure_money(self, item: Item) -> None:
        """Reserve for as much of the chunk as the budget holds; where it does not hold one item, the run parks."""
        if self.paid_count > 0:
            self.paid_count -= 1
            return
        self.speak(item.position)
        count = len(self.held)
        while count > 0 and not self._is_reserved(count):
            count //= 2
        if count == 0:
            self.ctx._park("budget", f"item {item.position} would pass the budget")
        self.paid_count = count - 1

    def _is_reserved(self, count: int) -> bool:
        answer = ledger.reserve(
            self.claim.step_id,
            self.claim.epoch,
            cost=self.orders.reserve_cost * count,
            tokens=self.orders.reserve_tokens * count,
        )
        self.ctx._follow(answer)
        return answer == "reserved"

    def _perform(self, item: Item) -> None:
        """Call the skill with one item: whatever it raises is the item's ending, and not the lane's."""
        self.item_ctx.enter(item, self.unrecorded)
        if item.position == self.suspect:
            self.suspect = None
            self._add(_failed(item.position, PoisonItem(item.position, _CRASHES), retries.PERMANENT))
            return
        try:
            outcome = self._outcome_of(item)
        except Leave:
            charge_late(self.claim, [_late(item.position, self.item_ctx.cost, self.item_ctx.tokens)])
            raise
        self._add(outcome)

    def _outcome_of(self, item: Item) -> Outcome:
        given = ledger.unpack(item.input)
        try:
            packed = self._call(item, given)
        except Exception as error:  # noqa: BLE001 - whatever a skill raises is its item's ending
            close_old_connections()
            kind, delay = retries.kind_of(error, self.policy.kinds), self._delay_of(item, error)
            outcome = _failed(item.position, error, kind, delay)
        else:
            ledger.keep_blobs([packed])
            outcome = Outcome(item.position, "completed", packed.data if packed else None)
        if self.item_ctx.leaving is not None:
            raise self.item_ctx.leaving
        return outcome

    def _call(self, item: Item, given: dict[str, Any]) -> values.Packed | None:
        """Call the skill; where it fails for good, the fallback that it names."""
        fallback = self.orders.options.get("fallback")
        try:
            return self._output_of(self.task, given)
        except Exception as error:
            if not fallback or self._delay_of(item, error) is not None:
                raise
        return self._output_of(skills.named(fallback), given)

    def _output_of(self, task: SkillTask, given: dict[str, Any]) -> values.Packed | None:
        value = task.invoke(self.item_ctx, given["args"], given["kwargs"])
        return None if value is None else values.pack(value, place=f"what {task.name!r} returned")

    def _delay_of(self, item: Item, error: Exception) -> float | None:
        return retries.delay_of(error, self.policy, item.attempt_count)

    def _add(self, outcome: Outcome) -> None:
        cost, tokens = self.item_ctx.cost, self.item_ctx.tokens
        if cost is not None or tokens is not None:
            if (cost or 0) > self.orders.reserve_cost or (tokens or 0) > self.orders.reserve_tokens:
                self.paid_count = 0  # it has spent what was reserved for those behind it
            outcome = outcome._replace(cost=cost, tokens=tokens)
            self.unrecorded = (self.unrecorded[0] + (cost or 0), self.unrecorded[1] + (tokens or 0))
        self.done.append(outcome)


def _orders(ctx: Context) -> Orders:
    rows = ledger.ask(
        "SELECT j.run_id AS job_id, j.skill, j.options, j.reserve_cost, j.reserve_tokens, s.crash_count, l.at "
        "FROM execution_joblane l JOIN execution_job j ON j.run_id = l.job_id "
        "JOIN execution_step s ON s.id = l.step_id WHERE l.step_id = %s",
        [ctx.step_id],
    )
    if not rows:
        raise JobUnknown(f"step {ctx.step_id} is no lane of a job: jobs.spawn opens lanes, and nothing else does")
    return Orders(**rows[0]._asdict())


def _failed(position: int, error: BaseException, kind: str, delay_seconds: float | None = None) -> Outcome:
    """Return a failure as its item keeps it; the traceback of one that is tried again is not kept."""
    said = performing.described(error, kind)
    kept = {name: said[name] for name in ("kind", "type", "module", "message")}
    if delay_seconds is None:
        kept["traceback"] = said["traceback"][-2000:]
    text = values.encode(kept, place="an item's error").decode()
    return Outcome(position, "failed" if delay_seconds is None else "pending", None, text, delay_seconds)


def _late(position: int, cost: Decimal | None, tokens: int | None) -> ledger.Record:
    """Return what was spent on an item that is not recorded, as a charge that is never refused."""
    return ledger.Record(token=f"item:{position}", kind="late", position=0, cost=cost, tokens=tokens)
