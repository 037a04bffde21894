"""What a claim, a feed and a wake cost beside a million ready steps and timers, over what they cost beside few.

Two databases, one with a thousand ready steps, sleeping ones and finished ones, the other with as many as asked of
each. The same call is timed in both in turn, so that a busy machine weighs on both alike: right after the bulk
insert, when the planner's statistics are stale, and again after ANALYZE. Each call is rolled back, so that every one
meets the same rows. The values are the ratios of medians; the worst of them is the figure.
"""

import contextlib
import statistics
import time
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from benchmarks import command
from benchmarks.ours import project

FEW = 1000
REPEATS = 60

STEPS: LiteralString = """
INSERT INTO execution_step (id, run_id, agent_id, name, skill, state, waiting, queue, priority, key, breaker, epoch,
                            wake_at, ended_at, created_at, changed_at)
SELECT i.id, i.id, a.id, 'bench.work', 'bench.work', %(state)s::text, 'capacity', 'bench', (g.n %% 3)::smallint,
       CASE WHEN g.n %% 10 = 0 THEN 'bench-key' END, 'bench.work', 1,
       CASE WHEN %(state)s::text = 'waiting' THEN now() + interval '1 hour' END,
       CASE WHEN %(state)s::text = 'completed' THEN now() END, now(), now()
FROM generate_series(1, %(count)s::int) AS g(n)
CROSS JOIN LATERAL (SELECT execution_uuid7_v1() AS id, g.n) i
JOIN bench_agent a ON a.n = i.n %% 50
"""
RUNS: LiteralString = """
INSERT INTO execution_run (id, workflow, state, agent_id, created_at, input)
SELECT s.id, 'bench.work', CASE WHEN s.state = 'completed' THEN 'completed' ELSE 'pending' END, s.agent_id,
       s.created_at, '\\x00'
FROM execution_step s WHERE NOT EXISTS (SELECT 1 FROM execution_run r WHERE r.id = s.id)
"""
TIMERS: LiteralString = """
INSERT INTO execution_timer (id, kind, due_at, step_id, run_id, epoch, fired_at, created_at)
SELECT execution_uuid7_v1(), 'sleep', s.wake_at + random() * interval '1 hour', s.id, s.id, 1, NULL, now()
FROM execution_step s WHERE s.state = 'waiting' AND NOT EXISTS (SELECT 1 FROM execution_timer t WHERE t.step_id = s.id)
"""
DUE: LiteralString = """
UPDATE execution_timer SET due_at = now() - interval '1 second' WHERE id IN (
    SELECT id FROM execution_timer WHERE fired_at IS NULL AND cancelled_at IS NULL ORDER BY due_at DESC LIMIT 100)
"""
CALLS: dict[str, LiteralString] = {
    "claim": "SELECT * FROM execution_claim_v1(%(step)s, gen_random_uuid(), gen_random_uuid(), 1)",
    "claim_next": "SELECT * FROM execution_claim_next_v1("
    "'bench', ARRAY['bench.work'], %(agent)s, gen_random_uuid(), gen_random_uuid(), 1)",
    "turn": "SELECT execution_turn_v1(%(step)s, %(agent)s, ARRAY['bench.work'])",
    "feed": "SELECT * FROM execution_feed_v1(ARRAY['bench'], ARRAY[2], 500)",
    "wake": "SELECT * FROM execution_wake_v1(1000)",
    "sweep": "SELECT * FROM execution_sweep_v1(NULL, interval '30 seconds')",
}


def measure(load: command.Load) -> command.Measured:
    """Time the calls beside few rows and beside many."""
    project.open_for(load)
    from django.db import connections

    from execution import ledger

    with ledger.connect("bench") as connection:
        prepare(connection)
        fill(connection, FEW)
        connection.execute(DUE)
    connections.close_all()
    ledger.close()
    with copy_of_the_database() as few, ledger.connect("bench") as many:
        fill(many, load.count - FEW)
        stale = ratios(few, many)
        for table in ("execution_step", "execution_run", "execution_timer"):
            many.execute(f"VACUUM ANALYZE {table}")  # type: ignore[call-overload]
        fresh = ratios(few, many)
    also = {name: [max(stale[name], fresh[name])] for name in CALLS}
    also |= {f"{name}_stale_and_fresh": [stale[name], fresh[name]] for name in CALLS}
    return command.Measured(values=[max(also[name][0] for name in CALLS)], also=also)


@contextlib.contextmanager
def copy_of_the_database() -> Iterator[psycopg.Connection[Any]]:
    """Connect to a copy of the database, for as long as the block lasts."""
    from execution import ledger

    address = ledger.address("bench")
    source, copy = sql.Identifier(address["dbname"]), sql.Identifier(address["dbname"] + "_few")
    with psycopg.connect(**address | {"dbname": "postgres"}, autocommit=True) as server:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(copy))
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(copy, source))
        try:
            ledger.hold(psycopg.connect(**address | {"dbname": address["dbname"] + "_few"}, autocommit=True))
            yield ledger.connection()
        finally:
            ledger.close()
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(copy))


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Make the agents, the key and the worker that the calls look at."""
    connection.execute(
        "INSERT INTO execution_agent (id, name) SELECT execution_uuid7_v1(), 'bench-' || n "
        "FROM generate_series(0, 49) n"
    )
    connection.execute(
        "CREATE TABLE bench_agent AS SELECT id, row_number() OVER (ORDER BY name) - 1 AS n FROM execution_agent "
        "WHERE name LIKE 'bench-%'"
    )
    connection.execute("INSERT INTO execution_concurrencykey (name, limit_count) VALUES ('bench-key', 10)")
    connection.execute(
        "INSERT INTO execution_worker (id, hostname, pid, queues, slot_count, free_count, lock_number, holds_lock) "
        "SELECT gen_random_uuid(), 'bench', 1, ARRAY['bench'], 8, 4, 1, false FROM generate_series(1, 4)"
    )


def fill(connection: psycopg.Connection[Any], count: int) -> None:
    """Add ready steps, sleeping ones with their timers, and finished ones."""
    for state in ("ready", "waiting", "completed"):
        connection.execute(STEPS, {"state": state, "count": count})
    connection.execute(RUNS)
    connection.execute(TIMERS)
    connection.execute("CHECKPOINT")


def ratios(few: psycopg.Connection[Any], many: psycopg.Connection[Any]) -> dict[str, float]:
    """Return how many times as long each call takes beside many."""
    choose: LiteralString = "SELECT id, agent_id FROM execution_step WHERE state = 'ready' AND key IS NULL LIMIT %s"
    ready = few.execute(choose, [REPEATS]).fetchall()
    found = {}
    for name, call in CALLS.items():
        pairs = [(timed(few, call, row), timed(many, call, row)) for row in ready]
        found[name] = statistics.median(many for _, many in pairs) / statistics.median(few for few, _ in pairs)
    return found


def timed(connection: psycopg.Connection[Any], call: LiteralString, row: tuple[Any, Any]) -> float:
    """Return the milliseconds of one call, which is rolled back; the copied rows stand in both databases."""
    with connection.transaction(force_rollback=True):
        began = time.perf_counter()
        connection.execute(call, {"step": row[0], "agent": row[1]}).fetchall()
        return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    command.main(measure)
