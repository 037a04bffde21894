"""The guarded writes: one Python verb per SQL function, on a connection of the worker's own.

Each verb is one autocommit statement, never part of what the skill does with Django's connection. Each may be
repeated, because the answer to a COMMIT can be lost: when the database goes away a verb waits for it, connects again
and asks again.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import uuid
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, LiteralString

import psycopg
import structlog
from django.db import connections
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb, JsonbLoader

from execution import conf, values
from execution.exceptions import LedgerAway

log = structlog.get_logger(__name__)
_local = threading.local()

_shapes: dict[str, Callable[[Sequence[Any]], Any]] = {}

Connection = psycopg.Connection[TupleRow]
Cursor = psycopg.Cursor[TupleRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One checkpoint on its way into the ledger."""

    token: str
    kind: str
    position: int
    packed: values.Packed | None = None
    name: str | None = None
    is_scoped: bool = False
    cost: Decimal | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a worker holds while it performs a step."""

    step_id: uuid.UUID
    attempt_id: uuid.UUID
    run_id: uuid.UUID
    agent_id: uuid.UUID
    agent_name: str
    skill: str
    step_name: str
    version: str
    epoch: int
    is_resumed: bool
    correlation_id: str
    root_run_id: uuid.UUID | None
    parent_step_id: uuid.UUID | None
    is_limited: bool
    reserved_cost: Decimal
    reserved_tokens: int
    lease_seconds: int
    retry_count: int
    use_fallback: bool
    options: dict[str, Any]
    canvas: dict[str, Any] | None
    input: bytes | None
    is_input_left_out: bool
    queue: str
    priority: int
    claimed_at: datetime
    deadline_at: datetime | None
    first_started_at: datetime

    @property
    def is_of_graph(self) -> bool:
        """Whether the step is one of a workflow's run; a single step has its run's id."""
        return self.step_id != self.run_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a step could not be claimed: refused, later, nothing or unknown, with a reason."""

    verdict: str
    reason: str = ""


def address(application: str = "celeriac") -> dict[str, Any]:
    """Return the words with which psycopg connects to the ledger."""
    parameters = connections["default"].get_connection_params()
    for unwanted in ("context", "cursor_factory", "server_side_binding", "prepare_threshold", "isolation_level"):
        parameters.pop(unwanted, None)
    return parameters | {"application_name": application, "connect_timeout": 5, "tcp_user_timeout": 15000}


def connect(application: str = "celeriac", *, patience_seconds: float | None = None) -> Connection:
    """Open a connection to the ledger, waiting for a database that is away."""
    settings = conf.current()
    patience = settings.database_patience_seconds if patience_seconds is None else patience_seconds
    parameters = address(application)
    deadline = time.monotonic() + patience
    pause = 0.05
    while True:
        try:
            connection: Connection = psycopg.connect(**parameters, autocommit=True)
        except psycopg.OperationalError as error:
            if time.monotonic() + pause > deadline:
                raise LedgerAway(f"the database has been away for {patience:.0f} s: {error}") from error
            time.sleep(pause)
            pause = min(pause * 2, 1.0)
        else:
            return _prepared(connection)


def _prepared(connection: Connection) -> Connection:
    settings = conf.current()
    connection.prepare_threshold = 1 if settings.prepare_statements else None
    milliseconds = int(settings.lock_timeout_seconds * 1000)
    connection.execute(
        f"SET lock_timeout = {milliseconds}; SET client_connection_check_interval = 1000; "
        "SET idle_in_transaction_session_timeout = 30000; "
        # The functions look rows up by their keys: planning anew for each value costs more than it can win.
        "SET plan_cache_mode = force_generic_plan; "
        # Compiling a short statement costs more than running it: before PostgreSQL 18 a tenth of a core, idle.
        "SET jit = off"
    )
    return connection


def hold(connection: Connection) -> None:
    """Make a connection that is open already this thread's own."""
    _local.held = (os.getpid(), _prepared(connection))


def connection() -> Connection:
    """Return this thread's connection; a forked child never uses its parent's."""
    held: tuple[int, Connection] | None = getattr(_local, "held", None)
    if held is None or held[0] != os.getpid() or held[1].closed:
        held = (os.getpid(), connect())
        _local.held, _local.parting = held, _Parting(held[1])
    return held[1]


class _Parting:
    """Closes a thread's connection when the thread ends: a server of pages may make a thread for each request."""

    def __init__(self, connection: Connection) -> None:
        self._process, self._connection = os.getpid(), connection

    def __del__(self) -> None:
        if self._process == os.getpid() and not sys.is_finalizing():
            self._connection.close()


def close() -> None:
    """Close this thread's connection."""
    held: tuple[int, Connection] | None = getattr(_local, "held", None)
    if held is not None and held[0] == os.getpid():
        held[1].close()
    _local.held = None


def ask(sql: LiteralString, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
    """Run one statement and return its rows; a lost connection is replaced and the statement asked again."""
    deadline = time.monotonic() + conf.current().database_patience_seconds
    while True:
        try:
            cursor = _cursor()
            cursor.execute(sql, parameters)
            return _rows(sql, cursor)
        except (psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable, psycopg.errors.SerializationFailure):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if not _is_away(error) or time.monotonic() > deadline:
                raise
            log.warning("ledger.away", error=str(error).strip())
            close()


def ask_in_time(sql: LiteralString, parameters: Sequence[Any], *, seconds: float) -> list[Any]:
    """Run one statement, once and for so long at most; raises whatever stands in its way as a psycopg.Error."""
    asked = connection()
    with asked.transaction():
        asked.execute(
            "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)",
            [str(max(int(seconds * 1000), 1))] * 2,
        )
        cursor = _cursor()
        cursor.execute(sql, parameters)
        return _rows(sql, cursor)


def _cursor() -> Cursor:
    """Return the cursor with which this thread's connection asks: to make one for each question costs a tenth of it."""
    asked = connection()
    cursor: Cursor | None = getattr(_local, "cursor", None)
    if cursor is None or cursor.connection is not asked:
        cursor = _local.cursor = asked.cursor(binary=True)
    return cursor


def _rows(sql: str, cursor: Cursor) -> list[Any]:
    """Return the rows of an answer, named by its columns; their names are looked at once for each statement."""
    if cursor.pgresult is None or not cursor.pgresult.nfields:
        return []
    row = _shapes.get(sql)
    if row is None:
        row = _shapes[sql] = _named([column.name for column in cursor.description or ()])
    return [row(values) for values in cursor.fetchall()]


def _named(columns: list[str]) -> Callable[[Sequence[Any]], Any]:
    make: Any = namedtuple  # noqa: PYI024 - the columns are known when the statement has been asked
    row: Callable[[Sequence[Any]], Any] = make("Row", columns, rename=True)._make
    return row


def ask_in_transaction(sql: LiteralString, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
    """Run one statement on Django's connection, inside whatever transaction the caller has open."""
    django = connections["default"]
    django.ensure_connection()
    with django.wrap_database_errors:
        cursor = _own_cursor(django.connection)
        cursor.execute(sql, parameters)
        return _rows(sql, cursor)


def _own_cursor(asked: Connection) -> Cursor:
    """Return the cursor with which Django's connection of this thread asks the ledger."""
    cursor: Cursor | None = getattr(_local, "own_cursor", None)
    if cursor is None or cursor.connection is not asked:
        cursor = _local.own_cursor = psycopg.Cursor(asked)
        cursor.adapters.register_loader("jsonb", JsonbLoader)  # Django's own leaves JSON as text
    return cursor


def _is_away(error: psycopg.Error) -> bool:
    """Tell whether asking again on a new connection can help."""
    state = error.sqlstate or ""
    return getattr(_local, "held", None) is None or connection_is_broken() or state[:2] == "08" or state[:3] == "57P"


def connection_is_broken() -> bool:
    """Tell whether this thread's connection can no longer be used."""
    held: tuple[int, Connection] | None = getattr(_local, "held", None)
    return held is None or held[1].closed or held[1].broken


def blob(digest: bytes) -> bytes:
    """Return a blob's data."""
    rows = ask("SELECT data FROM execution_blob WHERE hash = %b", [digest])
    if not rows:
        raise LookupError(f"the blob {digest.hex()} is missing from the ledger")
    return bytes(rows[0].data)


def unpack(data: bytes | memoryview | None) -> Any:
    """Return a stored value."""
    return values.unpack(data, blob)


def keep_blobs(packed: Sequence[values.Packed | None], *, asking: Callable[..., list[Any]] = ask) -> None:
    """Store the blobs of large values, once by content; before the row that refers to them."""
    for value in packed:
        if value is not None and value.blob is not None:
            asking(
                "INSERT INTO execution_blob (hash, data, size, created_at) VALUES (%b, %b, %s, clock_timestamp()) "
                "ON CONFLICT (hash) DO UPDATE SET created_at = excluded.created_at",
                [value.blob[0], value.blob[1], value.size],
            )


def claim(
    step_id: uuid.UUID, attempt_id: uuid.UUID, *, worker_id: uuid.UUID, pid: int, alone: bool = True
) -> Claim | Refusal:
    """Claim a step for one attempt, or learn why not."""
    row = ask("SELECT * FROM execution_claim_v1(%s, %s, %s, %s, %s)", [step_id, attempt_id, worker_id, pid, alone])[0]
    return _claimed(row)


def _claimed(row: Any) -> Claim | Refusal:
    if row.verdict != "claimed":
        return Refusal(verdict=row.verdict, reason=row.reason or "")
    held = row._asdict()
    del held["verdict"], held["reason"]
    return Claim(**held)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a worker would go on with, in the same process, when a step has ended.

    `further` are attempts for what waits behind it, if that and all of these are steps of `quick` skills.
    """

    queue: str
    skills: list[str]
    agent_id: uuid.UUID
    attempt_id: uuid.UUID
    worker_id: uuid.UUID
    pid: int
    further: list[uuid.UUID] = field(default_factory=list)
    quick: list[str] = field(default_factory=list)


def claim_next(wish: Wish) -> Claim | None:
    """Claim the step that is next in turn and that no message was sent for, if there is one."""
    rows = ask(
        "SELECT * FROM execution_claim_next_v1(%s, %s, %s, %s, %s, %s)",
        _of(wish),
    )
    claimed = _claimed(rows[0]) if rows else None
    return claimed if isinstance(claimed, Claim) else None


def _of(wish: Wish) -> list[Any]:
    return [wish.queue, wish.skills, wish.agent_id, wish.attempt_id, wish.worker_id, wish.pid]


def load_input(step_id: uuid.UUID) -> Any:
    """Return a step's input: its own, or its run's."""
    rows = ask(
        "SELECT coalesce(s.input, r.input) AS input FROM execution_step s JOIN execution_run r ON r.id = s.run_id "
        "WHERE s.id = %s",
        [step_id],
    )
    return unpack(rows[0].input) if rows else None


def record(step_id: uuid.UUID, epoch: int, records: Sequence[Record]) -> Any:
    """Save checkpoints and charge spends; answers verdict, control and conflict."""
    keep_blobs([item.packed for item in records])
    charges = any(item.cost is not None or item.tokens is not None for item in records)
    if len(records) == 1 and not charges:
        return ask(
            "SELECT * FROM execution_save_v1(%s, %s, %s, %s, %s, %s, %s, %b, %s)",
            [step_id, epoch, *(column[0] for column in _columns(records))],
        )[0]
    return ask(
        "SELECT * FROM execution_record_v1(%s, %s, %s, %s, %s, %s, %s, %b, %s, %s, %s)",
        [step_id, epoch, *_columns(records), *(_charges(records) if charges else (None, None))],
    )[0]


def _columns(records: Sequence[Record]) -> tuple[list[Any], ...]:
    return (
        [item.token for item in records],
        [item.kind for item in records],
        [item.position for item in records],
        [item.name for item in records],
        [item.is_scoped for item in records],
        [item.packed.data if item.packed else None for item in records],
        [item.packed.size if item.packed else 0 for item in records],
    )


def _charges(records: Sequence[Record]) -> tuple[list[Any], list[Any]]:
    return [item.cost for item in records], [item.tokens for item in records]


def record_items(
    step_id: uuid.UUID, epoch: int, outcomes: Sequence[tuple[Any, ...]], *, at: int | None, takes: bool
) -> Any:
    """Record what became of items and take more; answers verdict, control, what is held, when to look again."""
    columns: list[Any] = [list(column) for column in zip(*outcomes, strict=True)] or [[] for _ in range(7)]
    charges = any(cost is not None for cost in columns[5]) or any(count is not None for count in columns[6])
    return ask(
        "SELECT * FROM execution_record_items_v1(%s, %s, %s, %s, %s::int[], %s::text[], %b::bytea[], %s::text[], "
        "%s::float8[], %s::numeric[], %s::bigint[])",
        [step_id, epoch, at, takes, *columns[:5], *(columns[5:] if charges else (None, None))],
    )[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """What became of an ending that was written, or refused."""

    verdict: str
    state: str
    ready: list[uuid.UUID]
    errands: list[uuid.UUID]
    following: list[Claim] = field(default_factory=list)


_FINISH: LiteralString = "execution_finish_v1(%s, %s, %s, %s, %b, %s)"
_FINISH_RECORDING: LiteralString = "execution_finish_v1(%s, %s, %s, %s, %b, %s, %s, %s, %s, %s, %s, %b, %s, %s, %s)"
# Volatile functions in a join are called for every row of its left side: what must not be claimed has no queue.
_FOLLOW: LiteralString = (
    "execution_claim_next_v1(CASE f.verdict WHEN 'done' THEN %s END, %s, %s, %s, %s, %s, true, f.ready, %s, %s)"
)


def finish(
    claim: Claim,
    ending: str,
    *,
    output: values.Packed | None = None,
    details: dict[str, Any] | None = None,
    records: Sequence[Record] = (),
    wish: Wish | None = None,
) -> Finish:
    """Write the ending of an attempt; with a wish, claim the step to go on with in the same transaction."""
    keep_blobs([output, *(item.packed for item in records)])
    charges = any(item.cost is not None or item.tokens is not None for item in records)
    parameters = [
        claim.step_id,
        claim.epoch,
        claim.attempt_id,
        ending,
        output.data if output else None,
        Jsonb(_with_breaker(claim, details or {}), dumps=_dumped),
    ]
    function = _FINISH
    if records:
        function = _FINISH_RECORDING
        parameters += [*_columns(records), *(_charges(records) if charges else (None, None))]
    while (written := _finish(function, parameters, wish)).verdict == "again":
        log.debug("ledger.finish_again", step=str(claim.step_id))
    return written


def _dumped(details: Any) -> bytes:
    """Write an ending's details as JSON, with whatever an error's arguments are: an ending must not fail over them."""
    return values.encode(details, place="the details of an ending")


def _with_breaker(claim: Claim, details: dict[str, Any]) -> dict[str, Any]:
    """Add how many failures open the breaker, and for how long, where one is counted."""
    if details.get("breaker") != "failed":
        return details
    settings = conf.current()
    return {
        "breaker_threshold": claim.options.get("breaker_threshold") or settings.breaker_threshold,
        "breaker_cooldown": int(claim.options.get("breaker_cooldown") or settings.breaker_cooldown_seconds),
        **details,
    }


def _finish(function: LiteralString, parameters: list[Any], wish: Wish | None) -> Finish:
    if wish is None:
        row = ask(f"SELECT * FROM {function}", parameters)[0]  # noqa: S608 - literal parts
        return Finish(verdict=row.verdict, state=row.state or "", ready=row.ready or [], errands=row.errands or [])
    rows = ask(
        f"SELECT f.verdict AS f_verdict, f.state AS f_state, f.ready AS f_ready, f.errands AS f_errands, n.* "  # noqa: S608
        f"FROM {function} f LEFT JOIN LATERAL {_FOLLOW} n ON true",
        [*parameters, *_of(wish), wish.further, wish.quick],
    )
    return Finish(
        verdict=rows[0].f_verdict,
        state=rows[0].f_state or "",
        ready=rows[0].f_ready or [],
        errands=rows[0].f_errands or [],
        following=[_following(row) for row in rows if row.verdict == "claimed"],
    )


def _following(row: Any) -> Claim:
    held = row._asdict()
    for name in ("verdict", "reason", "f_verdict", "f_state", "f_ready", "f_errands"):
        del held[name]
    return Claim(**held)


def reserve(step_id: uuid.UUID, epoch: int, *, cost: Decimal, tokens: int) -> str:
    """Make sure that so much more may be spent: reserved, refused or stale."""
    return str(ask("SELECT execution_reserve_v1(%s, %s, %s, %s) AS v", [step_id, epoch, cost, tokens])[0].v)


def overdraw(step_id: uuid.UUID, attempt_id: uuid.UUID, token: str, *, cost: Decimal, tokens: int) -> bool:
    """Record what a fenced worker had spent."""
    sql: LiteralString = "SELECT execution_overdraw_v1(%s, %s, %s, %s, %s) AS v"
    return bool(ask(sql, [step_id, attempt_id, token, cost, tokens])[0].v)


def take_signal(step_id: uuid.UUID, epoch: int, name: str, token: str, position: int) -> Any:
    """Take the oldest signal of a name, recorded under its wait's token."""
    return ask("SELECT * FROM execution_take_signal_v1(%s, %s, %s, %s, %s)", [step_id, epoch, name, token, position])[0]


def call(
    step_id: uuid.UUID,
    epoch: int,
    token: str,
    position: int,
    template: dict[str, Any],
    child: uuid.UUID,
    data: values.Packed,
) -> Any:
    """Open a child run for a step that is being performed, once per token."""
    keep_blobs([data])
    return ask(
        "SELECT * FROM execution_call_v1(%s, %s, %s, %s, %s, %s, %b)",
        [step_id, epoch, token, position, Jsonb(template), child, data.data],
    )[0]


def update_session(
    step_id: uuid.UUID, epoch: int, token: str, position: int, session_id: uuid.UUID, seen: int, state: values.Packed
) -> Any:
    """Change a session's state for a step, once per token, from the version that was seen."""
    keep_blobs([state])
    return ask(
        "SELECT * FROM execution_update_session_v1(%s, %s, %s, %s, %s, %s, %b)",
        [step_id, epoch, token, position, session_id, seen, state.data],
    )[0]


def intend(
    step_id: uuid.UUID, epoch: int, effect_id: uuid.UUID, *, token: str, key: str, policy: str, intent: values.Packed
) -> Any:
    """Store the intent of an effect before it is performed."""
    keep_blobs([intent])
    return ask(
        "SELECT * FROM execution_intend_v1(%s, %s, %s, %s, %s, %s, %b)",
        [step_id, epoch, effect_id, token, key, policy, intent.data],
    )[0]


def receipt(step_id: uuid.UUID, epoch: int, effect_id: uuid.UUID, *, state: str, receipt: values.Packed | None) -> Any:
    """Store the ending of an effect."""
    keep_blobs([receipt])
    return ask(
        "SELECT * FROM execution_receipt_v1(%s, %s, %s, %s, %b)",
        [step_id, epoch, effect_id, state, receipt.data if receipt else None],
    )[0]


def unring(step_id: uuid.UUID) -> bool:
    """Forget a message that its worker could not answer; returns whether the ledger knows the step."""
    rows = ask(
        "WITH unrung AS (UPDATE execution_step SET rung_at = NULL WHERE id = %s AND state = 'ready') "
        "SELECT 1 FROM execution_step WHERE id = %s",
        [step_id, step_id],
    )
    return bool(rows)


def give_back(step_id: uuid.UUID, epoch: int, *, ending: str, reason: str, doom: dict[str, str] | None = None) -> str:
    """Give back a step whose performer is gone; a doomed one is failed with that error by who claims it next."""
    parameters = [step_id, epoch, ending, reason, Jsonb(doom) if doom else None]
    return str(ask("SELECT execution_give_back_v1(%s, %s, %s, %s, %s) AS v", parameters)[0].v)


def turn(step_id: uuid.UUID, last_agent: uuid.UUID, skills: list[str]) -> uuid.UUID | None:
    """Return the step that goes before the one that a message names, if there is one."""
    found: uuid.UUID | None = ask("SELECT execution_turn_v1(%s, %s, %s) AS v", [step_id, last_agent, skills])[0].v
    return found


def once_connected(action: Callable[[], Any]) -> Any:
    """Run an action that uses this thread's connection, then close it: for processes that will fork."""
    try:
        return action()
    finally:
        close()
