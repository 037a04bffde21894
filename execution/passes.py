"""A pass: one run of a skill's function from its top, and what lies below the verbs of its context.

It names tokens, refuses one that is used for two things, serves what was recorded, and writes what is new: one guarded
write at a time, and nothing after its end. A loop's iteration is a scope: what it collects is written with its cursor.
An order to leave (suspend, park, cancel) is remembered, so that a skill that catches everything cannot stay.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn

from execution import board as boards
from execution import ledger, values
from execution.exceptions import (
    CancelRequested,
    Fenced,
    Leave,
    Park,
    Suspend,
    TimeboxPassed,
    TokenMissing,
    TokenReused,
)
from execution.ledger import Claim, Record
from execution.replay import Found, Replay

LONGEST_TOKEN = 200
LONGEST_FULL_TOKEN = 480
_MANY_TOKENS = 10_000
_ASK_EVERY_SECONDS = 1.0
_MODULES = frozenset({
    "execution.passes", "execution.context", "execution.memory", "execution.sessions", "execution.plain", "contextlib",
})  # fmt: skip

Place = tuple[str, int]


@dataclass(slots=True)
class Scope:
    """One iteration of a loop: what it will write when it ends."""

    prefix: str
    mark: dict[str, Any]
    open_token: str
    is_announced: bool
    """Whether the ledger knows that this iteration is open; what it recorded then is looked for."""
    behind: Record | None = None
    """The cursor of the iterations before it, where that is not written yet."""
    pending: list[Record] = field(default_factory=list)
    ordinals: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.is_replayed = self.is_announced

    is_replayed: bool = field(init=False)

    def next_token(self, name: str) -> str:
        """Return the token of the next value appended to a list in this iteration."""
        number = self.ordinals.get(name, 0)
        self.ordinals[name] = number + 1
        return f"{self.prefix}{name}#{number}"


class Pass:
    """One pass of a skill over its step."""

    def __init__(self, claim: Claim, *, board: boards.Board | None = None, slot: int | None = None) -> None:
        self._claim = claim
        self._board, self._slot = board, slot
        self._base = ""
        self._count = 0
        self._scopes: list[Scope] = []
        self._left: list[Record] = []
        self._seen: dict[str, tuple[str, Place]] = {}
        self._replay = Replay(claim.step_id, is_empty=not claim.is_resumed)
        self._withheld: Record | None = None
        self._is_over = False
        self._asked_at = 0.0
        self._clock = (claim.claimed_at, time.monotonic())
        timebox = claim.options.get("timebox")
        self._ends_at = claim.first_started_at + timedelta(seconds=timebox) if timebox else None
        self.is_fresh = True
        self.leaving: Leave | None = None
        """Why this pass was told to end, whatever the skill made of that."""

    @property
    def now(self) -> datetime:
        """The database's time, whatever this host's clock says."""
        claimed_at, started = self._clock
        return claimed_at + timedelta(seconds=time.monotonic() - started)

    @property
    def cancelled(self) -> bool:
        """Whether the run was cancelled: a loop without context calls looks here."""
        self._touch()
        if self._board is not None and self._slot is not None:
            return boards.NAMES.get(self._board.asked(self._slot)) in ("cancel", "lost")
        return self._control() == "cancel"

    def _control(self) -> str:
        """Ask the ledger, where there is no keeper to tell; at most once a second."""
        if time.monotonic() - self._asked_at < _ASK_EVERY_SECONDS:
            return ""
        self._asked_at = time.monotonic()
        rows = ledger.ask("SELECT epoch, control FROM execution_step WHERE id = %s", [self._claim.step_id])
        return "cancel" if not rows or rows[0].epoch != self._claim.epoch else str(rows[0].control)

    # Tokens

    def _begin(self, token: str, verb: str) -> str:
        """Return the full token of a verb's call; twice in one pass is an error that names both places."""
        full = self._full(token, verb)
        self._see(full, token, verb)
        self._touch()
        self._obey()
        return full

    def _full(self, token: Any, verb: str) -> str:
        """Return a token with its verb and its place in the loops around it."""
        if not isinstance(token, str) or not 0 < len(token) <= LONGEST_TOKEN or "\0" in token:
            raise TokenMissing(f"{verb} needs a token of 1 to {LONGEST_TOKEN} characters, not {token!r:.80}")
        full = self._scoped(token if verb == "once" else f"{verb}:{token}")
        if verb == "save":
            full = self._base + token  # it moves forward, in a loop as well
        if len(full) > LONGEST_FULL_TOKEN:
            raise TokenMissing(
                f"the token {token!r:.80} of {verb} is too long with the loops around it ({len(full)} characters, "
                f"{LONGEST_FULL_TOKEN} at most): shorten it, or the names of the loops"
            )
        return full

    def _scoped(self, token: str) -> str:
        return (self._scopes[-1].prefix if self._scopes else self._base) + token

    def _see(self, full: str, token: str, verb: str) -> None:
        place = _place()
        before = self._seen.get(full)
        if before is not None and not before[0] == verb == "save":
            raise TokenReused(
                f"the token {token!r} is used twice in one pass: by {before[0]} at {_named(before[1])}, and by {verb} "
                f"at {_named(place)}; give each call a token of its own"
            )
        self._seen[full] = (verb, place)
        if self._scopes and len(self._seen) > _MANY_TOKENS:
            self._forget_ended_iterations()

    def _forget_ended_iterations(self) -> None:
        """Keep the memory of a long loop bounded: tokens of iterations that have ended cannot be used again."""
        open_prefixes = tuple(scope.prefix for scope in self._scopes)
        self._seen = {
            token: place for token, place in self._seen.items() if "]/" not in token or token.startswith(open_prefixes)
        }

    # What was recorded

    def _find(self, full: str, kind: str) -> Found | None:
        """Return what an earlier pass recorded under a token."""
        if self._scopes:
            found = self._replay.look_up(full) if self._scopes[-1].is_replayed else None
        else:
            found = self._replay.take(full)
        if found is not None and found.kind != kind:
            raise TokenReused(
                f"the token {full!r} was recorded by {found.kind} in an earlier pass, and {kind} uses it now: "
                "a token stands for one thing for as long as its run lives"
            )
        return found

    # Writing

    def _next_position(self) -> int:
        self._count += 1
        return (self._claim.epoch << 32) + self._count

    def _record(self, token: str, kind: str, packed: values.Packed | None = None, **more: Any) -> Record:
        return Record(
            token=token, kind=kind, position=self._next_position(), packed=packed, is_scoped="]/" in token, **more
        )

    def _note(self, token: str, kind: str, value: Any) -> Record:
        """Return a record of something small of our own."""
        return self._record(token, kind, values.pack(value, place=token))

    def _write(self, *records: Record) -> Any:
        """Write records now, behind what left loops collected and the marks of the iterations they stand in."""
        self._touch()
        self._check_over()
        together = (*self._left, *self._marks(), *records)
        self._left.clear()
        answer = ledger.record(self._claim.step_id, self._claim.epoch, together)
        if answer.verdict == "stale":
            charge_late(self._claim, together)
            self._go(Fenced())
        if answer.conflict:
            raise TokenReused(
                f"the token {answer.conflict!r} was recorded with another meaning in an earlier pass: "
                "a token stands for one thing for as long as its run lives"
            )
        self._follow(answer.verdict, answer.control)
        return answer

    def _marks(self) -> list[Record]:
        """Return the marks of open iterations that the ledger does not know: a resumed pass must know where to look."""
        found = []
        for scope in self._scopes:
            if not scope.is_announced:
                scope.is_announced = True
                found.append(self._note(scope.open_token, "each", scope.mark))
        return found

    def _announce(self) -> None:
        """Write the marks of the open iterations before a verb that writes in its own way."""
        self._check_over()
        if any(not scope.is_announced for scope in self._scopes):
            self._write()

    # Leaving

    def _go(self, leave: Leave) -> NoReturn:
        """End the pass; the first order to leave is the one that counts."""
        self.leaving = self.leaving or leave
        raise self.leaving

    def _check_over(self) -> None:
        if self.leaving is not None:
            raise self.leaving
        if self._is_over:
            raise Fenced

    def _follow(self, verdict: str, control: str = "") -> None:
        """Do as the ledger answers."""
        if verdict == "stale":
            self._go(Fenced())
        if control == "cancel":
            self._go(CancelRequested())
        if control == "pause":
            self._go(Suspend("paused"))

    def _obey(self) -> None:
        """Do what the keeper or the clock asks, without asking the database."""
        self._check_over()
        self._check_time()
        if self._board is None or self._slot is None:
            return
        asked = boards.NAMES.get(self._board.asked(self._slot), "")
        if asked == "lost":
            self._go(Fenced())
        self._follow("", asked)
        if self._board.is_draining:
            self._go(Suspend("capacity"))

    def _check_time(self) -> None:
        if self._ends_at is not None and self.now > self._ends_at:
            raise TimeboxPassed(f"the skill's timebox of {self._claim.options['timebox']:.0f} s has passed")

    @property
    def _is_called_away(self) -> bool:
        """Whether the keeper or a shutdown asks this pass to leave."""
        if self._board is None or self._slot is None:
            return False
        return self._board.is_draining or self._board.asked(self._slot) != 0

    def _park(self, waiting: str, reason: str) -> NoReturn:
        self._go(Park(waiting, reason))

    def _touch(self) -> None:
        if self._board is not None and self._slot is not None:
            self._board.touch(self._slot)

    def _leave_loop(self, scope: Scope) -> None:
        """Keep what a loop left in mid-iteration has collected for the next write; its cursor stays."""
        if scope in self._scopes:
            at = self._scopes.index(scope)
            self._left += self._collected(self._scopes[at:])
            del self._scopes[at:]

    def _collected(self, scopes: Iterable[Scope]) -> list[Record]:
        """Return what open iterations have collected, with the marks that let a resumed pass find it."""
        found: list[Record] = []
        for scope in scopes:
            if scope.behind is not None:
                found.append(scope.behind)
            if scope.pending and not scope.is_announced:
                found.append(self._note(scope.open_token, "each", scope.mark))
            found += scope.pending
        return found

    def close(self, records: Iterable[Record] = (), *, has_failed: bool = False) -> tuple[Record, ...]:
        """End the pass: nothing more is written through it. Returns what its ending must write.

        An iteration that failed is done again as a whole: what it appended is dropped, what it spent is not.
        """
        collected = [*self._left, *self._collected(self._scopes)]
        if has_failed:
            collected = [record for record in collected if record.kind != "append"]
        self._left, self._scopes, self._is_over = [], [], True
        withheld = [self._withheld] if self._withheld is not None else []
        return (*collected, *records, *withheld)

    def fall_back(self) -> None:
        """Begin again for the fallback: its tokens are its own, and a resumed pass goes straight to it."""
        self._left += self._collected(self._scopes)
        self._scopes.clear()
        self._write(self._note("[fallback]", "once", True))
        self._base = "fallback/"

    @property
    def has_fallen_back(self) -> bool:
        """Whether an earlier pass has gone over to the fallback."""
        if not self._base and self._claim.is_resumed and self._replay.look_up("[fallback]") is not None:
            self._base = "fallback/"
        return bool(self._base)


def charge_late(claim: Claim, records: Iterable[Record]) -> None:
    """Record what a fenced pass had spent: spent money is real, and the next claim sees it."""
    for record in records:
        if record.cost or record.tokens:
            ledger.overdraw(
                claim.step_id,
                claim.attempt_id,
                record.token,
                cost=record.cost or Decimal(0),
                tokens=record.tokens or 0,
            )


def _place() -> Place:
    """Return where in the skill the context was called."""
    frame = sys._getframe(1)  # noqa: SLF001 - the cheap way to a caller's line
    while frame.f_globals.get("__name__") in _MODULES and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _named(place: Place) -> str:
    return f"{place[0].rpartition('/')[2]}:{place[1]}"


def aside(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call what Django refuses beside a running event loop: there, in a thread of its own."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connections

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function(*args, **kwargs)

    def call() -> Any:
        try:
            return function(*args, **kwargs)
        finally:
            ledger.close()
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()
