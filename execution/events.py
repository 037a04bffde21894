"""The log: written in the transaction in which a thing happened, read gap-safe by cursor.

A cursor holds the snapshot up to which everything was handed out: what was still being written then is handed out once
it is committed, however late, and nothing twice. A batch that is not the whole is paged in the order of transactions.
The generation names the database itself: after a dump and a restore transaction ids begin anew, and readers go on by
the old order up to the seam, then by the new.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from django.db import connection, transaction
from django.utils import timezone
from psycopg.types.json import Jsonb

from execution import ledger
from execution.models import CycleState, Event, EventReader

log = structlog.get_logger(__name__)

_LOG = "execution.log"
_FIRST = uuid.UUID(int=0)
_LAST = uuid.UUID(int=2**128 - 1)
_EVERYTHING = f"{2**62 - 1}:{2**62 - 1}:"
_MOVE_SECONDS = 5
_OF_KINDS = (
    "SELECT * FROM (SELECT *, count(*) OVER () AS read_count, row_number() OVER () AS place FROM ({}) b) w "
    "WHERE kind = ANY(%s::text[]) OR place = read_count"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far a reader has got; JSON by `stored` and `of`."""

    generation: str = ""
    seen: str = ""
    """The snapshot of which all was handed out; empty: of nothing."""
    target: str = ""
    """The snapshot that is being paged through; empty: none."""
    xid: int = 0
    event_id: uuid.UUID = _FIRST
    """The transaction and the id of the event handed out last."""

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Cursor:
        """Read a cursor as it was stored."""
        return cls(**(stored | {"event_id": uuid.UUID(stored["event_id"])})) if stored else cls()

    def stored(self) -> dict[str, Any]:
        """Return the cursor as JSON."""
        return {
            "generation": self.generation,
            "seen": self.seen,
            "target": self.target,
            "xid": self.xid,
            "event_id": str(self.event_id),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some events in order, how many were read to find them, and the cursor to store with what was made of them."""

    events: list[Event]
    read_count: int
    cursor: Cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class Era:
    """The events between two seams; its names are the database's identities meanwhile, the latest last."""

    names: list[str]
    start: uuid.UUID
    end: uuid.UUID


def read(after: Cursor | None = None, *, limit: int = 1000, kinds: Collection[str] = ()) -> Batch:
    """Return the next events that are committed and were not handed out: in the order of transactions, once each.

    With `kinds`, those of them that are of these kinds; the cursor goes past the others.
    """
    cursor, eras = after or Cursor(), _eras()
    place = _place(cursor, eras)
    era = eras[place]
    cursor = replace(cursor, generation=era.names[-1])
    rows, read_count, now = _rows(cursor, era, limit, kinds)
    is_last = place == len(eras) - 1
    if not rows and cursor.target:
        return read(replace(cursor, seen=cursor.target, target=""), limit=limit, kinds=kinds)
    if not rows and not is_last:
        return read(Cursor(generation=eras[place + 1].names[-1]), limit=limit, kinds=kinds)
    moved = _moved(cursor, rows, now if is_last else _EVERYTHING, is_all=read_count < limit)
    return Batch(events=[row for row in rows if not kinds or row.kind in kinds], read_count=read_count, cursor=moved)


def _place(cursor: Cursor, eras: list[Era]) -> int:
    """Return the era in which a cursor stands; one of an unknown generation stands in the last but one."""
    if not cursor.generation:
        return 0
    found = [place for place, era in enumerate(eras) if cursor.generation in era.names]
    return found[0] if found else max(len(eras) - 2, 0)


def _moved(cursor: Cursor, rows: list[Event], now: str, *, is_all: bool) -> Cursor:
    if rows:
        cursor = replace(cursor, xid=rows[-1].xid, event_id=rows[-1].id)
    target = cursor.target or now
    return replace(cursor, seen=target, target="") if is_all else replace(cursor, target=target)


def _unread(cursor: Cursor) -> tuple[str, list[Any]]:
    """Return the condition that says which events of its era a cursor has not been handed."""
    conditions, parameters = ["true"], []
    if cursor.seen:
        conditions += ["xid >= %s", "NOT pg_visible_in_snapshot(xid::text::xid8, %s::pg_snapshot)"]
        parameters += [int(cursor.seen.split(":")[0]), cursor.seen]
    if cursor.target:
        conditions += ["((xid, id) > (%s, %s) OR NOT pg_visible_in_snapshot(xid::text::xid8, %s::pg_snapshot))"]
        parameters += [cursor.xid, cursor.event_id, cursor.target]
    return " AND ".join(conditions), parameters


def _rows(cursor: Cursor, era: Era, limit: int, kinds: Collection[str]) -> tuple[list[Event], int, str]:
    """Return the next rows by the index on (xid, id), how many they are, and the snapshot that saw them.

    With kinds, only the rows of these, and the last one of all: a reader that wants few is not given the others.

    The planner believes that nothing lies beyond the newest transaction it has statistics of, and would sort a slow
    reader's whole backlog for each batch: it is kept to the index's order. What this transaction itself will write
    is not seen yet, although its own snapshot does not say so.
    """
    condition, parameters = _unread(cursor)
    if cursor.target:
        condition += " AND (xid, id) > (%s, %s) AND pg_visible_in_snapshot(xid::text::xid8, %s::pg_snapshot)"
        parameters += [cursor.xid, cursor.event_id, cursor.target]
    wanted = f"SELECT * FROM execution_event WHERE {condition} AND id >= %s AND id < %s ORDER BY xid, id LIMIT %s"  # noqa: S608 - ours
    parameters += [era.start, era.end, limit]
    if kinds:
        wanted = _OF_KINDS.format(wanted)
        parameters.append(list(kinds))
    with transaction.atomic(), connection.cursor() as settings:
        settings.execute("SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off")
        found: list[Any] = list(
            Event.objects.raw(
                "SELECT s.now, s.own, e.* FROM (SELECT pg_current_snapshot()::text AS now, "  # noqa: S608 - ours
                "pg_current_xact_id_if_assigned()::text::bigint AS own) s "
                f"LEFT JOIN LATERAL ({wanted}) e ON true",
                parameters,
            )
        )
        settings.execute("SET LOCAL enable_sort TO DEFAULT; SET LOCAL enable_bitmapscan TO DEFAULT")
    rows = [row for row in found if row.id is not None]
    read_count = rows[-1].read_count if rows and kinds else len(rows)
    return rows, read_count, _without(found[0].now, found[0].own)


def _without(snapshot: str, own: int | None) -> str:
    """Return a snapshot in which the own transaction is still being written, as for anybody else."""
    low, high, running = snapshot.split(":")
    if own is None or own >= int(high):
        return snapshot
    listed = sorted({own, *(int(one) for one in running.split(",") if one)})
    return f"{min(int(low), own)}:{high}:{','.join(str(one) for one in listed)}"


def lag_seconds(cursor: Cursor) -> float:
    """Return the age of the oldest event that a cursor has not been handed; 0 where it has been handed all."""
    oldest = 0.0
    for condition, parameters in _unread_by_era(cursor):
        rows = ledger.ask_in_transaction(
            "SELECT extract(epoch FROM clock_timestamp() - at)::float8 AS age "  # noqa: S608 - ours
            f"FROM execution_event WHERE {condition} ORDER BY xid, id LIMIT 1",
            parameters,
        )
        oldest = max(oldest, *(float(row.age) for row in rows)) if rows else oldest
    return oldest


def _unread_by_era(cursor: Cursor) -> list[tuple[str, list[Any]]]:
    """Return, for each era from the cursor's on, the condition of what it has not been handed."""
    eras = _eras()
    place = _place(cursor, eras)
    found = []
    for era in eras[place:]:
        condition, parameters = _unread(cursor if era is eras[place] else Cursor())
        found.append((f"{condition} AND id >= %s AND id < %s", [*parameters, era.start, era.end]))
    return found


# The database's identity


def _eras() -> list[Era]:
    """Return the database's identities so far, with the ids of the events written under each."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.system_identifier::text || ':' || d.oid FROM pg_control_system() s, pg_database d "
            "WHERE d.datname = current_database()"
        )
        identity = str(cursor.fetchone()[0])
    state = CycleState.objects.filter(pk=_LOG).values_list("state", flat=True).first() or {}
    known = state.get("eras", [])
    if not known or known[-1]["names"][-1] != identity:
        known = _note_identity(identity)
    starts = [uuid.UUID(era["start"]) for era in known]
    return [
        Era(names=era["names"], start=start, end=end)
        for era, start, end in zip(known, starts, [*starts[1:], _LAST], strict=True)
    ]


def note_generation() -> None:
    """Notice a restored database: called after each migration, by each reading and by the daily clean-up."""
    _eras()


@transaction.atomic
def _note_identity(identity: str) -> list[dict[str, Any]]:
    """Store a new identity; where transaction ids go on, as in a copy of the files, readers go on as well."""
    CycleState.objects.get_or_create(pk=_LOG)
    row = CycleState.objects.select_for_update().get(pk=_LOG)
    known: list[dict[str, Any]] = row.state.get("eras", [])
    if known and known[-1]["names"][-1] == identity:
        return known
    seam = _seam() if known else _FIRST
    if seam is None:
        known[-1]["names"].append(identity)
    else:
        known.append({"names": [identity], "start": str(seam)})
    row.state = {"eras": known}
    row.save(update_fields=["state"])
    return known


def _seam() -> uuid.UUID | None:
    """Return the id after the last event that was restored, or None where the events are the same rows still.

    A row that this database wrote itself bears the transaction id that its event names; a restored one does not.
    """
    rows = ledger.ask_in_transaction(
        "SELECT id FROM execution_event WHERE xmin::text::bigint <> xid & 4294967295 ORDER BY id DESC LIMIT 1"
    )
    if not rows:
        return None
    earlier = "SELECT 1 FROM execution_event WHERE xmin::text::bigint = xid & 4294967295 AND id < %s LIMIT 1"
    if ledger.ask_in_transaction(earlier, [rows[0].id]):
        return None
    return uuid.UUID(int=rows[0].id.int + 1)


def first_id_at(moment: datetime) -> uuid.UUID:
    """Return the least id that an event of this moment can have."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80)


def moment_of(event_id: uuid.UUID) -> datetime:
    """Return the moment at which an id was made."""
    return datetime.fromtimestamp((event_id.int >> 80) / 1000, tz=UTC)


def consume(name: str, handle: Callable[[list[Event]], None], *, limit: int = 1000, kinds: Collection[str] = ()) -> int:
    """Hand a registered reader its next events, and store its cursor in the same transaction as what it made of them.

    With `kinds` it is handed only events of these. Side by side only one reads; the other returns at once with 0.
    Returns how many events were read.
    """
    EventReader.objects.get_or_create(name=name)
    with transaction.atomic():
        reader = EventReader.objects.select_for_update(skip_locked=True).filter(name=name).first()
        if reader is None:
            return 0
        batch = read(Cursor.of(reader.cursor), limit=limit, kinds=kinds)
        if batch.events:
            handle(batch.events)
        stored = batch.cursor.stored()
        if stored != reader.cursor:
            reader.cursor = stored
            reader.save(update_fields=["cursor", "updated_at"])
        return batch.read_count


def consume_for(
    name: str,
    handle: Callable[[list[Event]], None],
    *,
    seconds: float,
    limit: int = 1000,
    kinds: Collection[str] = (),
) -> int:
    """Let a registered reader read on to the end, or for so long; returns how many events were read."""
    ends_at, total = time.monotonic() + seconds, 0
    while count := consume(name, handle, limit=limit, kinds=kinds):
        total += count
        if time.monotonic() > ends_at:
            break
    return total


def note(
    kind: str,
    data: dict[str, Any],
    *,
    run_id: uuid.UUID | str | None = None,
    step_id: uuid.UUID | None = None,
    agent_id: uuid.UUID | None = None,
) -> None:
    """Write one event, in the caller's transaction."""
    ledger.ask_in_transaction(
        "SELECT execution_log_v1(%s, %s, %s, %s, NULL, %s)", [kind, run_id, step_id, agent_id, Jsonb(data)]
    )


def horizon() -> dict[str, Any]:
    """Return how far the horizon lags behind, and who holds it back: the oldest transaction that is still writing.

    Readers go on above it. It counts for what waits for old transactions, and for vacuum.
    """
    rows = ledger.ask_in_transaction(
        "SELECT * FROM ("
        "SELECT pid, datname::text, application_name AS application, xact_start AS since, backend_xid AS xid "
        "FROM pg_stat_activity WHERE backend_xid IS NOT NULL "
        "UNION ALL SELECT NULL, database::text, 'prepared transaction ' || gid, prepared, transaction "
        "FROM pg_prepared_xacts) w, extract(epoch FROM clock_timestamp() - w.since) AS lag "
        "ORDER BY age(w.xid) DESC LIMIT 1"
    )
    if not rows:
        return {"lag_seconds": 0.0, "blocker": None}
    oldest = rows[0]
    blocker = {"pid": oldest.pid, "database": oldest.datname, "application": oldest.application}
    return {"lag_seconds": float(oldest.lag or 0), "blocker": blocker}


# Partitions


def _month(moment: datetime, ahead: int = 0) -> datetime:
    number = moment.year * 12 + moment.month - 1 + ahead
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)


def partitions() -> list[str]:
    """Return the names of the log's monthly partitions, oldest first."""
    rows = ledger.ask(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'execution_event'::regclass AND c.relname ~ '_[0-9]{4}_[0-9]{2}$' ORDER BY c.relname"
    )
    return [row.relname for row in rows]


def make_partitions(months: int = 3) -> list[str]:
    """Make the partitions of this month and the next; what the default one has caught for them is moved over."""
    made = []
    existing = set(partitions())
    for ahead in range(months + 1):
        start, end = (first_id_at(_month(timezone.now(), more)) for more in (ahead, ahead + 1))
        name = f"execution_event_{_month(timezone.now(), ahead):%Y_%m}"
        if name not in existing and _change_partitions(_making(name, start, end)):
            made.append(name)
    return made


def _making(name: str, start: uuid.UUID, end: uuid.UUID) -> str:
    """Return the SQL that makes a partition; what the default one has caught for it is moved."""
    within = f"FROM ('{start}') TO ('{end}')"
    caught = f"execution_event_default WHERE id >= '{start}' AND id < '{end}'"
    if not ledger.ask_in_transaction(f"SELECT 1 FROM {caught} LIMIT 1"):  # noqa: S608 - ours
        return f"CREATE TABLE {name} PARTITION OF execution_event FOR VALUES {within}"
    return (
        f"SET LOCAL statement_timeout = {_MOVE_SECONDS * 1000}; "  # noqa: S608 - ours
        "LOCK TABLE execution_event_default IN ACCESS EXCLUSIVE MODE; "
        f"CREATE TABLE {name} (LIKE execution_event INCLUDING ALL); "
        f"WITH moved AS (DELETE FROM {caught} RETURNING *) INSERT INTO {name} SELECT * FROM moved; "
        f"ALTER TABLE execution_event ATTACH PARTITION {name} FOR VALUES {within}"
    )


def drop_partitions(days: float) -> list[str]:
    """Drop the partitions that are older, and what the default one has caught; mark the readers that lag so far."""
    dropped = []
    oldest = timezone.now() - timedelta(days=days)
    for name in partitions():
        year, month = (int(part) for part in name[-7:].split("_"))
        if _month(datetime(year, month, 1, tzinfo=UTC), 1) > oldest:
            break
        if _change_partitions(
            f"ALTER TABLE execution_event DETACH PARTITION {name}; {_marking(name, _LAST)}; DROP TABLE {name}"
        ):
            dropped.append(name)
    _empty_default(first_id_at(oldest))
    return dropped


def _empty_default(before: uuid.UUID, batch: int = 10_000) -> None:
    marking = _marking("execution_event_default", before)
    rows = f"SELECT id FROM execution_event_default WHERE id < '{before}' LIMIT {batch}"  # noqa: S608 - ours
    while ledger.ask(f"{rows.partition(' LIMIT')[0]} LIMIT 1"):
        if not _change_partitions(f"{marking}; DELETE FROM execution_event_default WHERE id IN ({rows})"):  # noqa: S608 - ours
            return


def _marking(table: str, before: uuid.UUID) -> str:
    """Return the SQL that marks the readers which have not been handed all of a table's events."""
    names = []
    for reader in EventReader.objects.filter(is_overrun=False):
        for condition, parameters in _unread_by_era(Cursor.of(reader.cursor)):
            sql = f"SELECT 1 FROM {table} WHERE {condition} AND id < %s LIMIT 1"  # noqa: S608 - ours
            if ledger.ask_in_transaction(sql, [*parameters, before]):
                names.append(reader.name)
                log.error("events.overrun", reader=reader.name, table=table)
                break
    if not names:
        return "SELECT 1"
    listed = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
    return f"UPDATE execution_eventreader SET is_overrun = true WHERE name IN ({listed})"  # noqa: S608 - quoted


def _change_partitions(sql: str) -> bool:
    """Change the partitions with a short wait for the lock: a reader in the way postpones it to the next pass.

    `DETACH ... CONCURRENTLY` is refused by PostgreSQL while there is a default partition, and the default one is what
    keeps a writer from failing.
    """
    try:
        with ledger.connect("celeriac-partitions", patience_seconds=5) as own:
            own.execute(f"BEGIN; SET LOCAL lock_timeout = 1000; {sql}; COMMIT")
    except Exception as error:  # noqa: BLE001 - the next pass tries again, and the doctor says so
        log.warning("events.partition_postponed", sql=sql, error=str(error).strip())
        return False
    return True
