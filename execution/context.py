"""What a skill holds while it is performed: the verbs that record, spend, act outside and wait.

Everything that a verb records has a token, and a token recorded is never computed again: on waking the function runs
from the top and is served from the ledger. Each verb is one guarded write; a stale one ends the pass (`Fenced`). An
iteration of `each` is one scope: its appends, spends and cursor are written together when it ends.
"""

from __future__ import annotations

import contextlib
import inspect
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import psycopg
import structlog
from psycopg.types.json import Jsonb

from execution import board as boards
from execution import ids, ledger, replay, values
from execution.amounts import money, token_count
from execution.durations import Duration, seconds
from execution.exceptions import (
    CancelRequested,
    ChildFailed,
    EffectUnknown,
    NotDone,
    NotJson,
    NotPossible,
    OptionInvalid,
    PriceUnknown,
    ReplayDiverged,
    RunUnknown,
    SessionEnded,
    Suspend,
    TokenMissing,
    ValueTooLarge,
    WaitTimeout,
)
from execution.ledger import Claim, Record
from execution.passes import Pass, Scope, aside
from execution.replay import Items

if TYPE_CHECKING:
    from execution.memory import Entry, Recollection
    from execution.memory import Held as Remembering
    from execution.sessions import Changes, Held

T = TypeVar("T")
EFFECT_POLICIES = ("retry", "ask", "fail")
LONGEST_NAME = 200
_AS_THEY_ARE = frozenset({str, int, float, bool, type(None)})
_LENGTHS = ("seconds", "minutes", "hours", "days", "weeks", "milliseconds", "microseconds")


@dataclass(frozen=True, slots=True)
class Saved:
    """The latest plain checkpoint: its token and its data."""

    token: str | None
    data: Any

    def __bool__(self) -> bool:
        """Tell whether there is one."""
        return self.token is not None


class Context(Pass):
    """The hold of one pass of a skill on its step."""

    def __init__(self, claim: Claim, *, board: boards.Board | None = None, slot: int | None = None) -> None:
        super().__init__(claim, board=board, slot=slot)
        self._saved_at = 0.0
        self._saved: Saved | None = None
        self._lists: dict[str, list[bytes]] = {}
        self._caps: list[tuple[Decimal, int]] = []
        self._begun: list[uuid.UUID] = []

    # What it is

    @cached_property
    def log(self) -> Any:
        """A structured log that knows the run, the step and the attempt."""
        claim = self._claim
        return structlog.get_logger("celeriac.skill").bind(
            run=str(claim.run_id), step=str(claim.step_id), attempt=claim.epoch, skill=claim.skill
        )

    @property
    def run_id(self) -> uuid.UUID:
        """The run's id."""
        return self._claim.run_id

    @property
    def step_id(self) -> uuid.UUID:
        """The step's id, which is its Celery id."""
        return self._claim.step_id

    @property
    def attempt(self) -> int:
        """The epoch of this claim: 1 for the first attempt."""
        return self._claim.epoch

    @property
    def retries(self) -> int:
        """How often the step was tried again after an error."""
        return self._claim.retry_count

    @property
    def agent(self) -> str:
        """The name of the agent on whose behalf this is done."""
        return self._claim.agent_name

    @property
    def correlation_id(self) -> str:
        """What ties this run to others, here and outside."""
        return self._claim.correlation_id or str(self._claim.root_run_id or self._claim.run_id)

    @property
    def idempotency_key(self) -> str:
        """A key that is the same in every attempt, for the outside world to know this work by."""
        return str(self.step_id)

    # Recording

    def once(self, token: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call a function and record what it returns; recorded, it is never called again."""
        full = self._begin(token, "once")
        found = self._find(full, "once")
        if found is not None:
            return found.value()  # type: ignore[no-any-return]
        result = function(*args, **kwargs)
        if inspect.iscoroutine(result):
            result.close()
            raise OptionInvalid(
                f"once({token!r}, ...) was given an async function: write `await ctx.aonce({token!r}, ...)`"
            )
        return self._keep(full, token, result)  # type: ignore[no-any-return]

    async def aonce(self, token: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Do the same for a coroutine function."""
        full = self._begin(token, "once")
        found = self._find(full, "once")
        if found is not None:
            return found.value()
        result = function(*args, **kwargs)
        if inspect.isawaitable(result):
            result = await result
        return self._keep(full, token, result)

    def _keep(self, full: str, token: str, result: Any) -> Any:
        """Record a result, and return it as every later pass will see it."""
        packed = values.pack(result, place=f"the result of {token!r}")
        self._write(self._record(full, "once", packed))
        return result if type(result) in _AS_THEY_ARE else packed.value()

    def each(self, name: str, items: Iterable[T], *, every: int = 1) -> Iterator[T]:
        """Go through items with a cursor that survives a crash; what an iteration collects is written with it.

        With `every=n` the cursor is written after n iterations that recorded nothing: a crash repeats at most those.
        """
        if every < 1:
            raise OptionInvalid(f"every is {every!r} in the loop {name!r}; it counts iterations, so 1 or more")
        return self._each(self._begin(name, "each"), name, items, every)

    def _each(self, full: str, name: str, items: Iterable[T], every: int) -> Iterator[T]:
        cursor, opened = self._cursor(full), self._cursor(f"{full}[open]")
        done, index, unwritten = cursor["index"], -1, 0
        mark: Record | None = None
        for index, item in _from(items, done):
            digest = values.digest(item, place=f"item {index} of {name!r}").hex()[:12]
            for known in (cursor, opened):
                if index == known["index"] and digest != known["digest"]:
                    raise _diverged(name, index, f"is not the one that was recorded (now {item!r:.120})")
            if index == done:
                continue
            scope = Scope(
                prefix=f"{full}[{index}:{digest}]/",
                mark={"index": index, "digest": digest},
                open_token=f"{full}[open]",
                is_announced=index == opened["index"],
                behind=mark if unwritten else None,
            )
            self._scopes.append(scope)
            try:
                yield item
            except GeneratorExit:
                self._leave_loop(scope)
                raise
            self._end_iteration(scope)
            unwritten += 1
            mark = self._note(full, "each", scope.mark)
            if scope.pending or scope.is_announced or unwritten >= every or self._is_called_away:
                self._write(*scope.pending, mark)
                self._obey()
                unwritten = 0
        if index < done:
            raise _diverged(name, done, f"was recorded, and now the loop has {index + 1} items")
        if unwritten and mark is not None:
            self._write(mark)

    def _cursor(self, full: str) -> dict[str, Any]:
        found = self._find(full, "each")
        return found.value() if found is not None else {"index": -1, "digest": ""}

    def _end_iteration(self, scope: Scope) -> None:
        """Close an iteration, and what loops inside it have left open."""
        at = self._scopes.index(scope) if scope in self._scopes else len(self._scopes)
        self._left += self._collected(self._scopes[at + 1 :])
        del self._scopes[at:]
        self._touch()

    def append(self, name: str, value: Any, *, token: str | None = None) -> None:
        """Append one value to a list that grows by one row a value; inside `each` it is written with the iteration."""
        _check_list(name)
        packed = values.pack(value, place=f"the value appended to {name!r}")
        if self._scopes and token is None:
            self._obey()
            full = self._scopes[-1].next_token(name)
            is_recorded = self._find(full, "append") is not None
        elif token is None:
            raise TokenMissing(
                f"append({name!r}, ...) stands outside ctx.each, so it needs a token of its own: "
                f"ctx.append({name!r}, value, token='...')"
            )
        else:
            full = self._begin(f"{name}/{token}", "append")
            is_recorded = self._is_appended(name, full)
        if is_recorded:
            return
        record = self._record(full, "append", packed, name=name)
        if name in self._lists:
            self._lists[name].append(packed.data)
        if self._scopes:
            self._scopes[-1].pending.append(record)
        else:
            self._write(record)

    def _is_appended(self, name: str, full: str) -> bool:
        if self._scopes:
            return self._find(full, "append") is not None
        return self._replay.take_appended(name, full)

    def items(self, name: str) -> Items:
        """Return what was appended to a list, in order."""
        _check_list(name)
        self._obey()
        if name not in self._lists:
            pending = [*self._left, *(record for scope in self._scopes for record in scope.pending)]
            self._lists[name] = replay.appended(self.step_id, name) + [
                record.packed.data for record in pending if record.name == name and record.packed is not None
            ]
        return Items(tuple(self._lists[name]))

    def save(self, token: str, data: Any = None, *, throttle: Duration = 0) -> bool:
        """Save a plain checkpoint, which moves forward under its token; with a throttle at most one in so long.

        Tells whether it was written now. The newest that was withheld is written when the pass ends.
        """
        full = self._full(token, "save")
        self._see(full, token, "save")
        record = self._record(full, "save", values.pack(data, place=f"the checkpoint {token!r}"))
        pause = seconds(throttle, name="throttle")
        self._saved = Saved(token, data)
        if pause and self._saved_at and time.monotonic() - self._saved_at < pause:
            self._withheld = record
            self._obey()
            return False
        self._withheld = None
        self._saved_at = time.monotonic()
        self._write(record)
        self._obey()
        return True

    @property
    def checkpoint(self) -> Saved:
        """The latest checkpoint that `save` has made: `token` and `data`; false where there is none."""
        if self._saved is None:
            found = replay.latest_saved(self.step_id) if self._claim.is_resumed else None
            self._saved = Saved(found[0].removeprefix(self._base), found[1]) if found else Saved(None, None)
        return self._saved

    # Money

    def spend(
        self,
        token: str,
        *,
        cost: Decimal | float | str | None = 0,
        tokens: int | None = 0,
        model: str | None = None,
    ) -> None:
        """Charge what was spent, once per token; an unknown price (None) is charged as what is reserved around it.

        The model that it was spent on stands in the step's provenance.
        """
        _check_model(token, model)
        amount = self._cap(token, "cost", 0) if cost is None else money(cost, token)
        count = self._cap(token, "tokens", 1) if tokens is None else token_count(tokens, token)
        full = self._begin(token, "spend")
        if self._find(full, "spend") is not None:
            return
        record = self._record(full, "spend", cost=amount, tokens=count, name=model)
        if self._scopes:
            self._scopes[-1].pending.append(record)
        else:
            self._write(record)

    def _cap(self, token: str, what: str, part: int) -> Any:
        """Return what an unknown price is charged as; where nothing caps it, it is refused."""
        amount = self._caps[-1][part] if self._caps else 0
        if not amount:
            raise PriceUnknown(
                f"the {what} of {token!r} is unknown, and an unknown price is never free: give {what}=, or spend "
                f"inside ctx.reserving({what}=...), which then is what it is charged as"
            )
        return amount

    @contextlib.contextmanager
    def reserving(self, *, cost: Decimal | float | str = 0, tokens: int = 0) -> Iterator[None]:
        """Make sure that the budget holds what comes next; where it does not, the run parks until it is topped up."""
        amount, count = money(cost, "reserving"), token_count(tokens, "reserving")
        self._obey()
        if self._claim.is_limited:
            self._reserve(amount, count)
        self._caps.append((amount, count))
        try:
            yield
        finally:
            self._caps.pop()

    def _reserve(self, amount: Decimal, count: int) -> None:
        """Reserve so much beside what open iterations have spent and not written, and what is reserved around this."""
        unwritten = [*self._left, *(record for scope in self._scopes for record in scope.pending)]
        answer = ledger.reserve(
            self.step_id,
            self.attempt,
            cost=amount + sum((record.cost or Decimal(0) for record in unwritten), Decimal(0)),
            tokens=count + sum(record.tokens or 0 for record in unwritten),
        )
        self._follow(answer)
        if answer == "refused":
            self._park("budget", f"{amount} and {count} tokens more would pass the budget")

    # What it shares and remembers

    @cached_property
    def session(self) -> Held:
        """The session that the run belongs to: its `state`, and `update` to change it."""
        from execution import sessions

        session_id = self._session_id
        return sessions.Held(
            session_id, lambda: sessions.look(session_id, asking=ledger.ask).data, self._update_session
        )

    @cached_property
    def _session_id(self) -> uuid.UUID:
        rows = ledger.ask("SELECT session_id FROM execution_run WHERE id = %s", [self.run_id])
        if not rows or rows[0].session_id is None:
            raise NotPossible(f"run {self.run_id} belongs to no session: start it with session=...")
        return rows[0].session_id  # type: ignore[no-any-return]

    def _update_session(self, token: str, changes: Changes) -> None:
        """Change the session's state once per token; when another writer is faster, from what that has made of it."""
        from execution import sessions

        full = self._begin(token, "session")
        if self._find(full, "session") is not None:
            return
        self._announce()
        verdict = "changed"
        while verdict == "changed":
            seen = sessions.look(self._session_id, asking=ledger.ask)
            packed = sessions.pack(sessions.after(seen, changes).data)
            row = ledger.update_session(
                self.step_id, self.attempt, full, self._next_position(), self._session_id, seen.version, packed
            )
            verdict = row.verdict
        self._follow(verdict, row.control)
        if verdict == "ended":
            raise SessionEnded(self._session_id, "no longer open", "be changed")

    @cached_property
    def memory(self) -> Remembering:
        """What the agent remembers: `recall` and `remember`."""
        from execution import memory

        return memory.Held(self._recall, self._remember)

    def _recall(self, token: str, query: str, kinds: list[str] | None, limit: int) -> list[Recollection]:
        """Recall once per token; a memory that is slow or away recalls nothing, and says so in the log."""
        from execution import memory

        full = self._begin(token, "recall")
        found = self._find(full, "recall")
        if found is None:
            recalled: list[Recollection] = []
            try:
                recalled = memory.recall_in_time(self._claim.agent_id, query, kinds, limit)
            except (psycopg.Error, LookupError) as error:
                self._note_unavailable(full, self._warn_away(full, error))
            packed = values.pack(recalled, place=f"what {token!r} recalls")
            self._write(self._record(full, "recall", packed))
            return recalled
        return [memory.Recollection(**one) for one in found.value()]

    def _remember(self, token: str, made: Entry) -> None:
        """Remember once per token; what a memory that is slow or away cannot take is owed, and kept later."""
        from execution import memory

        full = self._begin(token, "remember")
        if self._find(full, "remember") is not None:
            return
        self._announce()
        try:
            row = memory.remember_in_time(self.step_id, self.attempt, full, self._next_position(), made)
        except psycopg.Error as error:
            said = self._warn_away(full, error)
            row = memory.owe(self.step_id, self.attempt, full, self._next_position(), made, said)
        self._follow(row.verdict, row.control)

    def _warn_away(self, full: str, error: Exception) -> str:
        """Say that the memory is slow or away; returns what was said."""
        said = str(error).strip().partition("\n")[0][:500]
        self.log.warning("memory.unavailable", token=full, error=said)
        return said

    def _note_unavailable(self, full: str, said: str) -> None:
        claim, told = self._claim, Jsonb({"token": full, "error": said})
        ledger.ask(
            "SELECT execution_log_v1('memory.unavailable', %s, %s, %s, %s, %s)",
            [claim.run_id, claim.step_id, claim.agent_id, claim.epoch, told],
        )

    # The outside world

    def effect(
        self,
        token: str,
        function: Callable[..., T],
        *args: Any,
        on_unknown: str = "ask",
        key: str | None = None,
        **kwargs: Any,
    ) -> T:
        """Do something to the outside world: intent first, then the receipt.

        The function is handed `idempotency_key` where it takes one. After a crash in between nobody knows whether it
        was done: `retry` does it again under the same key, `ask` parks the run for a person, `fail` raises
        EffectUnknown.
        """
        _check_policy(on_unknown)
        full = self._begin(token, "effect")
        self._announce()
        row = ledger.intend(
            self.step_id,
            self.attempt,
            ids.new(),
            token=full,
            key=_effect_key(key, f"{self.step_id}:{full}"),
            policy=on_unknown,
            intent=values.pack({"args": _shown(args), "kwargs": _shown(kwargs)}, place=f"the intent of {token!r}"),
        )
        self._follow(row.verdict)
        if row.verdict == "done":
            return ledger.unpack(row.receipt)  # type: ignore[no-any-return]
        if row.verdict == "unknown":
            self._unknown(token, on_unknown, "an earlier attempt ended before its receipt")
        given = {"idempotency_key": row.key, **kwargs} if _takes(function, "idempotency_key") else kwargs
        try:
            result = function(*args, **given)
        except Exception as error:
            self._effect_raised(token, row.effect_id, on_unknown, error)
            raise
        return self._keep_receipt(token, row.effect_id, result)  # type: ignore[no-any-return]

    def _keep_receipt(self, token: str, effect_id: uuid.UUID, result: Any) -> Any:
        """Record that an effect was done; what cannot be its receipt is an error, but never done again."""
        place = f"the receipt of {token!r}"
        try:
            packed = values.pack(result, place=place)
        except (NotJson, ValueTooLarge):
            shown = values.pack(repr(result)[:2000], place=place)
            ledger.receipt(self.step_id, self.attempt, effect_id, state="done", receipt=shown)
            raise
        answer = ledger.receipt(self.step_id, self.attempt, effect_id, state="done", receipt=packed)
        self._follow(answer.verdict, answer.control)
        return packed.value()

    def _effect_raised(self, token: str, effect_id: uuid.UUID, policy: str, error: Exception) -> None:
        """Only who says so for sure has done nothing; after any other error nobody knows."""
        from execution import retries

        if isinstance(error, NotDone) or retries.is_refusal(error):
            answer = ledger.receipt(self.step_id, self.attempt, effect_id, state="failed", receipt=None)
            self._follow(answer.verdict)
        elif policy != "retry":
            self.log.warning("effect.unknown", token=token, error=repr(error))
            self._unknown(token, policy, repr(error), error)

    def _unknown(self, token: str, policy: str, why: str, error: Exception | None = None) -> NoReturn:
        if policy == "fail":
            raise EffectUnknown(token) from error
        self._park("effect", f"{token}: {why}")

    # Waiting

    def sleep(self, token: str, *, until: datetime | None = None, **length: float) -> None:
        """Free the worker for a time given in `timedelta`'s words, or until a moment."""
        wanted = self._waking_time(token, until, length)
        full = self._begin(token, "sleep")
        found = self._find(full, "sleep")
        if found is None:
            record = self._note(full, "sleep", {"until": wanted.isoformat()})
            self._go(Suspend("timer", wake_at=wanted.isoformat(), timer="sleep", records=[record]))
        due = datetime.fromisoformat(found.value()["until"])
        if self.now < due:
            self._go(Suspend("timer", wake_at=due.isoformat(), timer="sleep"))

    def _waking_time(self, token: str, until: datetime | None, length: dict[str, float]) -> datetime:
        for word in length:
            if word not in _LENGTHS:
                near = get_close_matches(word, ["until", *_LENGTHS], n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; it knows until, {', '.join(_LENGTHS)}"
                raise OptionInvalid(f"sleep({token!r}) has no option {word!r}{hint}")
        if (until is None) == (not length):
            raise OptionInvalid(f"sleep({token!r}) wants either until=... or a length such as hours=6")
        if until is None:
            return self.now + timedelta(**length)
        if until.tzinfo is None:
            raise OptionInvalid(f"sleep({token!r}) until {until!r}, which has no time zone; use django.utils.timezone")
        return until

    def wait_for(self, name: str, *, timeout: Duration | None = None, token: str | None = None) -> Any:
        """Free the worker until a signal of this name comes; early ones are kept. Raises WaitTimeout."""
        patience = None if timeout is None else seconds(timeout, name="timeout")
        full = self._begin(token or name, "wait")
        found = self._find(f"{full}:got", "wait")
        if found is not None:
            return found.value()
        late = self._find(f"{full}:late", "wait")
        if late is not None:
            raise WaitTimeout(name, late.value())
        self._announce()
        row = ledger.take_signal(self.step_id, self.attempt, name, f"{full}:got", self._next_position())
        self._follow(row.verdict)
        if row.verdict == "taken":
            return ledger.unpack(row.data)
        self._wait(full, name, patience)
        return None

    def _wait(self, full: str, name: str, patience: float | None) -> None:
        """Suspend until the signal or its deadline, which counts from the first pass that waited."""
        intent = self._find(full, "wait")
        records = []
        if intent is not None:
            deadline = intent.value()["deadline"]
        else:
            deadline = None if patience is None else (self.now + timedelta(seconds=patience)).isoformat()
            records = [self._note(full, "wait", {"deadline": deadline})]
        if deadline is not None and self.now >= datetime.fromisoformat(deadline):
            self._write(*records, self._note(f"{full}:late", "wait", deadline))
            raise WaitTimeout(name, deadline)
        wake = {"wake_at": deadline, "timer": "timeout"} if deadline else {}
        self._go(Suspend("signal", awaits=[name], records=records, **wake))

    def callback(self, name: str, *, expires: Duration = "24h", token: str | None = None) -> str:
        """Return a signed address to which anybody may POST the signal once, until it expires."""
        from execution import signals

        nonce = f"{self.step_id}:{self._full(token or name, 'wait')}"
        return signals.address(self.run_id, name, expires=expires, nonce=nonce)

    # Children

    def call(
        self,
        skill: Any,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - as in runs.start
        /,
        *,
        token: str | None = None,
        budget: Any = None,
        **wishes: Any,
    ) -> Any:
        """Start a child run, free the worker, and return the child's result; raises ChildFailed."""
        return self.collect(self.begin(skill, input, token=token, budget=budget, **wishes))

    def begin(
        self,
        skill: Any,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - as in runs.start
        /,
        *,
        token: str | None = None,
        budget: Any = None,
        **wishes: Any,
    ) -> uuid.UUID:
        """Start a child run and go on; `collect` waits for it."""
        from execution import openings

        task = openings.task_of(skill)
        full = self._begin(token or task.name, "call")
        found = self._find(full, "call")
        if found is not None:
            return uuid.UUID(str(found.value()))
        template, packed = aside(openings.child_template, self._claim, task, wishes, given=input, budget=budget)
        self._announce()
        row = ledger.call(self.step_id, self.attempt, full, self._next_position(), template, ids.new(), packed)
        self._follow(row.verdict)
        if row.verdict == "cancelled":
            self._go(CancelRequested())
        if row.verdict == "refused":
            self._park("budget", f"the child {task.name!r} wants more than the budget holds")
        if row.verdict == "already":
            child = self._replay.look_up(full)
            return uuid.UUID(str(child.value() if child else None))
        self._begun.append(row.child)
        return row.child  # type: ignore[no-any-return]

    def collect(self, *children: uuid.UUID) -> Any:
        """Wait for child runs without holding a worker; returns one result, or a list of them in order."""
        from execution import doorbell

        self._obey()
        begun, self._begun = self._begun, []
        doorbell.ring_for_runs(begun)
        found = self._endings(children)
        for child in children:
            if found[child].state in ("failed", "cancelled"):
                raise ChildFailed(child, found[child].state, _shortened(found[child].error))
        waiting = [child for child in children if found[child].state != "completed"]
        if waiting:
            self._go(Suspend("children", awaits=[f"child:{child}" for child in waiting]))
        results = [ledger.unpack(found[child].output) for child in children]
        return results[0] if len(children) == 1 else results

    @staticmethod
    def _endings(children: Sequence[uuid.UUID]) -> dict[uuid.UUID, Any]:
        rows = ledger.ask(
            "SELECT r.id, r.state, r.error, s.output FROM execution_run r "
            "LEFT JOIN LATERAL (SELECT x.output FROM execution_step x WHERE x.run_id = r.id "
            "ORDER BY x.position DESC LIMIT 1) s ON true WHERE r.id = ANY(%s)",
            [list(children)],
        )
        found = {row.id: row for row in rows}
        for child in children:
            if child not in found:
                raise RunUnknown(f"collect was given {child!r}, which is no run that ctx.begin has started")
        return found


def _shortened(error: dict[str, Any] | None) -> dict[str, Any]:
    """Return the words of a child's error; the rest stands with the child."""
    return {name: (error or {}).get(name) for name in ("kind", "type", "message")}


def _from(items: Iterable[T], done: int) -> Iterator[tuple[int, T]]:
    """Go through items from the last one done; a sequence is entered there, an iterator is walked."""
    if isinstance(items, Sequence) and not isinstance(items, (str, bytes)):
        if done >= len(items):
            yield from enumerate(items[-1:], len(items) - 1)
        for index in range(max(done, 0), len(items)):
            yield index, items[index]
        return
    for index, item in enumerate(items):
        if index >= done:
            yield index, item


def _diverged(name: str, index: int, how: str) -> ReplayDiverged:
    return ReplayDiverged(
        f"item {index} of the loop {name!r} {how}: make the items the same on every pass, for instance with ctx.once"
    )


def _check_list(name: Any) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or "\0" in name:
        raise TokenMissing(f"a list needs a name of 1 to {LONGEST_NAME} characters, not {name!r:.80}")


def _check_model(token: str, model: Any) -> None:
    if model is not None and (not isinstance(model, str) or not 0 < len(model) <= LONGEST_NAME or "\0" in model):
        raise OptionInvalid(f"the model of {token!r} is a name of 1 to {LONGEST_NAME} characters, not {model!r:.80}")


def _check_policy(policy: str) -> None:
    if policy not in EFFECT_POLICIES:
        near = get_close_matches(str(policy), EFFECT_POLICIES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise OptionInvalid(f"on_unknown is {policy!r}, not one of {', '.join(EFFECT_POLICIES)}{hint}")


def _effect_key(given: str | None, own: str) -> str:
    """Return the idempotency key that the other side is given: the caller's, or one made of step and token."""
    import hashlib

    key = given or own
    return key if len(key) <= 255 else hashlib.sha256(key.encode()).hexdigest()


def _takes(function: Callable[..., Any], name: str) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _shown(value: Any) -> Any:
    """Return arguments as they can be shown to a person: as JSON where they are, else by their repr."""
    try:
        values.encode(value, place="")
    except Exception:  # noqa: BLE001 - whatever cannot be written is shown instead
        return repr(value)[:2000]
    return value


__all__ = ["Context", "Items", "Saved", "money"]
