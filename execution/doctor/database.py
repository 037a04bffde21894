"""The doctor's look at PostgreSQL: reached or not, durability, pooler, clock, schema against code, partitions."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection, connections

from execution import words
from execution.doctor.findings import Finding, error, first_line, ok, warning

OLDEST = 150000
CLOCK_SECONDS = 2.0
DAYS_AHEAD = 14
HORIZON_SECONDS = 600
OTHER_VERSION = "Deploy one version everywhere and migrate; a database of development is best made anew."
START = "python -m config.substrate start (any manage.py or celery command does it by itself)"
_OBJECT = re.compile(r"CREATE (?:OR REPLACE )?(FUNCTION|VIEW|TABLE) (execution_\w+)", re.IGNORECASE)
_BODY = re.compile(r"\bAS \$(\w*)\$(.*)\$\1\$;", re.DOTALL)
_BOUND = re.compile(r"TO \('([0-9a-f-]{36})'\)")


def rows(sql: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
    """Ask the ledger's database."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def reachable() -> Iterator[Finding]:
    """Connect to the database."""
    if connection.vendor != "postgresql":
        return
    which = f"{'embedded' if is_embedded('postgres') else 'external'} PostgreSQL at {_where()}"
    try:
        connection.close()
        version = rows("SELECT current_setting('server_version_num')::int, current_setting('server_version')")[0]
    except Exception as problem:  # noqa: BLE001 - whatever the driver raises, the database is not there
        mend = START if is_embedded("postgres") else "Start it, or correct DATABASE_URL (DATABASES['default'])."
        is_down = "is not running" if is_embedded("postgres") and _is_absent(problem) else "does not answer"
        yield error("database.reachable", f"{which} {is_down}: {first_line(problem)}", mend)
        return
    yield ok("database.reachable", f"{which} answers")
    if version[0] < OLDEST:
        yield error("database.version", f"PostgreSQL is {version[1]}", "Use PostgreSQL 15 or newer.")
    else:
        yield ok("database.version", f"PostgreSQL {version[1]}")


def is_embedded(name: str) -> bool:
    """Tell whether a server is one that this project starts by itself."""
    return bool(getattr(getattr(settings, "ADDRESSES", None), f"embeds_{name}", False))


def _where() -> str:
    given = connection.settings_dict
    port = f":{given['PORT']}" if given["PORT"] else ""
    return f"{given['HOST'] or 'the default socket'}{port}, database {given['NAME']}"


def _is_absent(problem: BaseException) -> bool:
    text = str(problem)
    return "No such file" in text or "Connection refused" in text


def durability() -> Iterator[Finding]:
    """Read the settings on which durability rests."""
    found = dict(
        rows(
            "SELECT name, setting FROM pg_settings WHERE name IN "
            "('fsync', 'synchronous_commit', 'full_page_writes', 'max_connections')"
        )
    )
    for name in ("fsync", "full_page_writes"):
        if found[name] == "off":
            text = f"{name} is off: a crash of the machine can destroy the ledger"
            yield error(f"database.{name}", text, f"ALTER SYSTEM SET {name} = on; then restart PostgreSQL.")
    if found["synchronous_commit"] == "off":
        yield error(
            "database.synchronous_commit",
            "synchronous_commit is off: a crash of the machine loses the latest commits, checkpoints among them",
            "ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf();",
        )
    if "off" not in (found["fsync"], found["full_page_writes"], found["synchronous_commit"]):
        yield ok("database.durable", f"what is committed is on disk (synchronous_commit {found['synchronous_commit']})")
    yield _connections(int(found["max_connections"]))


def _connections(most: int) -> Finding:
    used = int(rows("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")[0][0])
    text = f"{used} of {most} connections are used"
    if used < most * 0.8:
        return ok("database.connections", text)
    return warning("database.connections", text, "Raise max_connections, use fewer pool processes, or add a pooler.")


def pooler() -> Iterator[Finding]:
    """Find out whether a session keeps its server process, by two sessions that take turns."""
    from execution import conf

    wants_locks = conf.current().session_locks
    is_pooled = shares_backends(*(_connect() for _ in range(2)))
    if is_pooled and wants_locks:
        yield error(
            "database.pooler",
            "a connection pooler in transaction mode stands before PostgreSQL: session locks get lost",
            "Connect directly or by a session pool; or set CELERIAC['session_locks'] = False and "
            "CELERIAC['prepare_statements'] = False: leases alone decide then.",
        )
    elif is_pooled:
        yield ok("database.pooler", "a connection pooler in transaction mode; leases alone decide, as the settings say")
    elif not wants_locks:
        yield warning(
            "database.pooler",
            "sessions keep their server process, and yet CELERIAC['session_locks'] is False",
            "Set it to True: a dead worker's steps then come back within seconds.",
        )
    else:
        yield ok("database.pooler", "sessions keep their server process: session locks hold")


def _connect() -> Any:
    parameters = connections["default"].get_connection_params()
    for unwanted in ("context", "cursor_factory", "server_side_binding", "prepare_threshold", "isolation_level"):
        parameters.pop(unwanted, None)
    return psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)


def shares_backends(first: Any, second: Any) -> bool:
    """Tell whether two open sessions are given the same server process in turn, as a transaction pooler does."""
    with first, second:
        before = _backend(first)
        second.execute("BEGIN")
        meanwhile = _backend(second)
        after = _backend(first)
        second.execute("COMMIT")
        return meanwhile in (before, after) or before != after


def _backend(session: Any) -> int:
    return int(session.execute("SELECT pg_backend_pid()").fetchone()[0])


def clock() -> Iterator[Finding]:
    """Compare this host's clock with the database's."""
    before = datetime.now(UTC)
    there = rows("SELECT clock_timestamp()")[0][0]
    after = datetime.now(UTC)
    seconds = (there - (before + (after - before) / 2)).total_seconds()
    text = f"this host's clock is {abs(seconds):.1f} s {'behind' if seconds > 0 else 'ahead of'} the database's"
    if abs(seconds) <= CLOCK_SECONDS:
        yield ok("database.clock", "this host's clock and the database's agree")
    else:
        yield warning(
            "database.clock",
            f"{text}; leases and timers go by the database's, logs by this one",
            "Let both hosts follow the same time servers (chrony, systemd-timesyncd).",
        )


# Schema against code


def migrations() -> Iterator[Finding]:
    """Compare the migrations of the database with those of the code."""
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    ours = {"execution", "recovery", "graduation"}
    known = set(executor.loader.disk_migrations)
    unknown = sorted(one for one in executor.loader.applied_migrations if one[0] in ours and one not in known)
    if pending:
        names = ", ".join(f"{one.app_label}.{one.name}" for one, _ in pending[:5])
        more = f" and {len(pending) - 5} more" if len(pending) > 5 else ""
        yield error("schema.migrations", f"migrations are pending: {names}{more}", "manage.py migrate")
    if unknown:
        names = ", ".join(".".join(one) for one in unknown)
        yield error(
            "schema.newer",
            f"the database is newer than this code: it has {names}",
            "Deploy the version that brought these migrations, or go on with the newer one everywhere.",
        )
    if not pending and not unknown:
        yield ok("schema.migrations", "every migration is applied")


def functions() -> Iterator[Finding]:
    """Compare the functions and views of the database with those that this code ships."""
    wanted = shipped()
    if not rows("SELECT 1 FROM pg_class WHERE oid = to_regclass('execution_step')"):
        return
    bodies: dict[str, list[str]] = {}
    for name, body in rows("SELECT proname, prosrc FROM pg_proc WHERE proname LIKE 'execution\\_%%'"):
        bodies.setdefault(name, []).append(body)
    relations = {name for (name,) in rows("SELECT relname FROM pg_class WHERE relname LIKE 'execution\\_%%'")}
    missing = sorted(name for name in wanted if name not in bodies and name not in relations)
    other = sorted(name for name, body in wanted.items() if body and name in bodies and body not in bodies[name])
    if missing:
        yield error("schema.functions", f"the database lacks {', '.join(missing)}", OTHER_VERSION)
    if other:
        yield error(
            "schema.versions",
            f"the database's {', '.join(other)} {'is' if len(other) == 1 else 'are'} not what this code ships",
            OTHER_VERSION,
        )
    if not missing and not other:
        yield ok("schema.functions", f"the {len(wanted)} functions and views are those of this code")


def shipped() -> dict[str, str]:
    """Return the SQL objects that this code ships, each with its body where it is a function with one text."""
    found: dict[str, str] = {}
    for file in files("execution.sql").iterdir():
        if not file.name.endswith(".sql"):
            continue
        text = file.read_text(encoding="utf-8")
        objects = _OBJECT.findall(text)
        body = _BODY.search(text)
        is_single = len(objects) == 1 and objects[0][0].upper() == "FUNCTION"
        for _, name in objects:
            found[name] = body[2] if body and is_single else ""
    return found


def partitions() -> Iterator[Finding]:
    """Look how far ahead the log has partitions, and whether its default one is empty."""
    if not rows("SELECT 1 FROM pg_class WHERE oid = to_regclass('execution_event')"):
        return
    bounds = rows(
        "SELECT pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'execution_event'::regclass"
    )
    ends = [moment_of(match[1]) for (bound,) in bounds if (match := _BOUND.search(bound or ""))]
    now = rows("SELECT clock_timestamp()")[0][0]
    ahead = (max(ends) - now).days if ends else -1
    mend = "Let beat and a worker for the queue celeriac run. manage.py migrate makes three months of them at once."
    if ahead < DAYS_AHEAD:
        reach = f"end in {ahead} days" if ahead >= 0 else "end before today"
        yield warning("log.partitions", f"the log's partitions {reach}", mend)
    else:
        yield ok("log.partitions", f"the log has partitions for the next {ahead} days")
    if rows("SELECT 1 FROM execution_event_default LIMIT 1"):
        yield warning(
            "log.default_partition",
            "the log's default partition holds events: a partition was missing when they were written",
            "Nothing is lost and readers see them, but retention cannot drop them. In a quiet hour detach it, put its "
            "rows into execution_event, and attach it again, empty.",
        )


def moment_of(event_id: str) -> datetime:
    """Return the moment at which an id of version 7 was made."""
    return datetime.fromtimestamp((uuid.UUID(event_id).int >> 80) / 1000, tz=UTC)


REACHING = (reachable,)


def horizon() -> Iterator[Finding]:
    """Look whether an old transaction that still writes holds back vacuum, and what waits for old transactions."""
    from execution import events

    found = events.horizon()
    if found["lag_seconds"] > HORIZON_SECONDS:
        blocker = found["blocker"]
        who = f"{blocker['application'] or 'a client'} in the database {blocker['database']}"
        yield warning(
            "database.horizon",
            f"a transaction of {who} has been writing for {words.length(found['lag_seconds'])}: vacuum waits for it",
            f"Commit or roll it back. SELECT pg_terminate_backend({blocker['pid']}) ends it."
            if blocker["pid"]
            else "COMMIT PREPARED or ROLLBACK PREPARED ends it.",
        )


LOOKS = (durability, pooler, clock, migrations, functions, partitions, horizon)
