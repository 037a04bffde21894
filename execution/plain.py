"""The context of a skill that is called directly, as in a unit test: it records in memory, and waits for nothing.

`report(topic="celery")` is enough for most tests; `report(PlainContext(signals={"approval": "yes"}), topic="celery")`
answers what the skill waits for, and shows afterwards what it recorded, appended and spent; `session` is the state that
it shares, `memories` is what it recalls, and `remembered` what it has remembered.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from execution import ids, values
from execution.context import Context, _check_policy, _takes
from execution.durations import Duration
from execution.exceptions import NotPossible, WaitTimeout
from execution.ledger import Claim, Record
from execution.replay import Items

if TYPE_CHECKING:
    from execution.memory import Entry, Recollection
    from execution.sessions import Changes, Held

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Answer:
    verdict: str = "saved"
    control: str = ""
    conflict: str | None = None


class PlainContext(Context):
    """A context without a ledger: `signals` answer what the skill waits for; an exception is raised there."""

    def __init__(
        self,
        skill: str = "",
        *,
        agent: str = "default",
        signals: Mapping[str, Any] | None = None,
        session: Mapping[str, Any] | None = None,
        memories: Iterable[Recollection] = (),
    ) -> None:
        super().__init__(_claim(skill, agent))
        self.signals = dict(signals or {})
        self.shared = dict(session or {})
        self.memories = list(memories)
        self.remembered: dict[str, Any] = {}
        self.records: list[Record] = []
        self.effects: dict[str, Any] = {}
        self._children: dict[uuid.UUID, Any] = {}

    @property
    def recorded(self) -> dict[str, Any]:
        """What `once` has recorded, by token."""
        return {r.token: r.packed.value() for r in self.records if r.kind == "once" and r.packed is not None}

    @property
    def spent(self) -> dict[str, Any]:
        """What was spent in all: `cost` and `tokens`."""
        return {
            "cost": sum((record.cost or Decimal(0) for record in self.records), Decimal(0)),
            "tokens": sum(record.tokens or 0 for record in self.records),
        }

    @property
    def cancelled(self) -> bool:
        """Nobody cancels a direct call."""
        return False

    def _write(self, *records: Record) -> Any:
        self.records += [*self._left, *records]
        self._left.clear()
        return _Answer()

    @cached_property
    def session(self) -> Held:
        """A session whose state is `shared`."""
        from execution import sessions

        return sessions.Held(ids.new(), lambda: dict(self.shared), self._update_session)

    def _update_session(self, token: str, changes: Changes) -> None:
        from execution import sessions

        self._begin(token, "session")
        seen = sessions.State(data=dict(self.shared), version=0)
        self.shared = sessions.pack(sessions.after(seen, changes).data).value()

    def _recall(self, token: str, query: str, kinds: list[str] | None, limit: int) -> list[Recollection]:
        self._begin(token, "recall")
        return [one for one in self.memories if kinds is None or one.kind in kinds][:limit]

    def _remember(self, token: str, made: Entry) -> None:
        self._begin(token, "remember")
        self.remembered[made.key] = made.packed.value()

    def items(self, name: str) -> Items:
        """Return what was appended."""
        pending = [record for scope in self._scopes for record in scope.pending]
        return Items([
            record.packed.data
            for record in (*self.records, *self._left, *pending)
            if record.name == name and record.packed is not None
        ])  # fmt: skip

    def effect(
        self,
        token: str,
        function: Callable[..., T],
        *args: Any,
        on_unknown: str = "ask",
        key: str | None = None,
        **kwargs: Any,
    ) -> T:
        """Do it at once."""
        _check_policy(on_unknown)
        full = self._begin(token, "effect")
        if _takes(function, "idempotency_key"):
            kwargs.setdefault("idempotency_key", key or full)
        receipt = values.pack(function(*args, **kwargs), place=f"the receipt of {token!r}").value()
        self.effects[token] = receipt
        return receipt  # type: ignore[no-any-return]

    def sleep(self, token: str, *, until: datetime | None = None, **length: float) -> None:
        """Go on at once."""
        self._waking_time(token, until, length)
        self._begin(token, "sleep")

    def wait_for(self, name: str, *, timeout: Duration | None = None, token: str | None = None) -> Any:
        """Return what `signals` says; without an answer a wait with a timeout has timed out."""
        self._begin(token or name, "wait")
        if name in self.signals:
            answer = self.signals[name]
            if isinstance(answer, BaseException):
                raise answer
            return values.pack(answer, place=f"the data of the signal {name!r}").value()
        if timeout is not None:
            raise WaitTimeout(name, self.now)
        raise NotPossible(
            f"the skill waits for the signal {name!r}, and a direct call has nobody who sends it: call it with "
            f"PlainContext(signals={{{name!r}: ...}}) as its first argument"
        )

    def begin(self, skill: Any, input: Mapping[str, Any] | None = None, /, **wishes: Any) -> uuid.UUID:  # noqa: A002 - as in Context
        """Call the child's function at once, with a context of its own."""
        from execution import openings
        from execution.skills import SkillTask

        task = openings.task_of(skill)
        if not isinstance(task, SkillTask):
            raise NotPossible(f"a direct call performs no graph of steps: start workflow {task.name!r} with runs.start")
        self._begin(wishes.pop("token", None) or task.name, "call")
        wishes.pop("budget", None)
        given, _ = openings.split_wishes(task, wishes)
        child = ids.new()
        self._children[child] = task(
            PlainContext(task.name, agent=self.agent, signals=self.signals), **(input or {}), **given
        )
        return child

    def collect(self, *children: uuid.UUID) -> Any:
        """Return what the children returned."""
        results = [self._children[child] for child in children]
        return results[0] if len(children) == 1 else results


def _claim(skill: str, agent: str) -> Claim:
    """Return a claim of nothing."""
    now = datetime.now(UTC)
    return Claim(
        step_id=ids.new(),
        attempt_id=ids.new(),
        run_id=ids.new(),
        agent_id=ids.new(),
        agent_name=agent,
        skill=skill,
        step_name=skill,
        version="",
        epoch=1,
        is_resumed=False,
        correlation_id="",
        root_run_id=None,
        parent_step_id=None,
        is_limited=False,
        reserved_cost=Decimal(0),
        reserved_tokens=0,
        lease_seconds=30,
        retry_count=0,
        use_fallback=False,
        options={},
        canvas=None,
        input=None,
        is_input_left_out=False,
        queue="",
        priority=0,
        claimed_at=now,
        deadline_at=None,
        first_started_at=now,
    )
