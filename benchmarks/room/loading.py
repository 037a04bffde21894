# ruff: noqa: S608 - the SQL is put together from constants of this file
"""A ledger of many runs, written straight by SQL: what a busy project has after a month.

Nine of ten runs are a single skill, the tenth is a graph of five steps. One in forty has failed and one in a hundred
has not ended: running, waiting for each of the reasons, or parked. A part of the failures has candidates. Ids lie in
time as the ledger's own do.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from django.db import connection, transaction

DAYS = 30
AGENTS = 40
WORKFLOWS = 24
PATTERNS = 60


def _id(at: str, seed: str) -> str:
    """Return the SQL of an id that lies in time as the ledger's own do, and is the same each time."""
    return (
        f"(lpad(to_hex((extract(epoch FROM {at}) * 1000)::bigint), 12, '0') || '7' || substr(md5({seed}), 1, 3) || '8' "
        f"|| substr(md5({seed}), 4, 15))::uuid"
    )


_REASONS = "'{timer,signal,children,retry,key,breaker,lockout}'::text[]"
_PARKED = "'{budget,autonomy,effect,version}'::text[]"


def load(runs: int) -> None:
    """Fill an empty, migrated ledger."""
    with connection.cursor() as cursor:
        for name, statement in statements(runs):
            began = time.monotonic()
            with transaction.atomic():
                cursor.execute(statement)
            print(f"  {name}: {max(cursor.rowcount, 0):,} in {time.monotonic() - began:.1f} s", file=sys.stderr)
        cursor.execute("VACUUM ANALYZE")


def statements(runs: int) -> Iterator[tuple[str, str]]:
    """Yield what is executed, by the name of what it makes."""
    yield "agents", _AGENTS
    yield "workers", _WORKERS
    yield "workflows", _WORKFLOWS_SQL
    yield "plan", _plan(runs)
    yield "runs", _RUNS
    yield "steps of one", _SINGLE_STEPS
    yield "steps of graphs", _GRAPH_STEPS
    yield "attempts", _ATTEMPTS
    yield "events", _EVENTS
    yield "breakers", _BREAKERS
    yield "sessions", _SESSIONS
    yield "patterns", _PATTERNS_SQL
    yield "failures", _FAILURES
    yield "candidates", _CANDIDATES
    yield "incidents", _INCIDENTS
    yield "objectives", _OBJECTIVES
    yield "end of plan", "DROP TABLE bench_run"


_AGENTS = f"""
INSERT INTO execution_agent (id, name, level, budget_cost, spent_cost, created_at)
SELECT {_id("now() - interval '40 days'", "'agent' || i")}, 'agent-' || lpad(i::text, 3, '0'), i % 5,
       CASE WHEN i % 3 = 0 THEN 1000 END, CASE WHEN i % 3 = 0 THEN i * 23.5 ELSE 0 END, now() - interval '40 days'
FROM generate_series(1, {AGENTS}) i
"""
_WORKERS = """
INSERT INTO execution_worker (id, hostname, pid, pool, queues, slot_count, free_count, lock_number, started_at, seen_at)
SELECT gen_random_uuid(), 'worker-' || i || '@bench', 1000 + i, 'prefork', '{default}', 8, i % 8, i,
       now() - interval '3 days', now() + interval '1 hour'
FROM generate_series(1, 12) i
"""
_WORKFLOWS_SQL = f"""
INSERT INTO execution_workflow (id, name, version, digest, definition)
SELECT gen_random_uuid(), 'workflow-' || lpad(i::text, 2, '0'), 1, md5(i::text),
       to_jsonb('{{"name": "bench", "steps": {{"part_0": {{"skill": "skill-0"}}}}}}'::text)
FROM generate_series(1, {WORKFLOWS}) i
"""


def _plan(runs: int) -> str:
    """Return what decides, for each run, when it was, whose it is and how it stands."""
    at = f"now() - interval '{DAYS} days' * (1 - i::float8 / {runs})"
    return f"""
CREATE UNLOGGED TABLE bench_run AS
SELECT i, {_id("at", "'run' || i")} AS id, at, (1 + i % 90) * interval '1 second' AS took,
       'workflow-' || lpad((1 + i % {WORKFLOWS})::text, 2, '0') AS workflow, a.id AS agent_id, i % 10 = 0 AS is_graph,
       CASE WHEN i % 40 = 7 THEN 'failed' WHEN i % 500 = 3 THEN 'cancelled' WHEN i % 1000 = 11 THEN 'parked'
            WHEN i % 100 = 13 THEN 'running' WHEN i % 10000 = 17 THEN 'paused' ELSE 'completed' END AS state,
       CASE WHEN i % 1000 = 11 THEN ({_PARKED})[1 + i / 1000 % 4] WHEN i % 10000 = 17 THEN 'paused' ELSE '' END
       AS waiting
FROM (SELECT i, {at} AS at FROM generate_series(1, {runs}) i) x
JOIN (SELECT id, row_number() OVER (ORDER BY name) AS n FROM execution_agent) a ON a.n = 1 + i % {AGENTS}
"""


_RUNS = """
INSERT INTO execution_run (id, workflow, version, state, waiting, agent_id, key, key_digest, correlation_id, tags,
    input, step_count, budget_cost, spent_cost, spent_tokens, created_at, started_at, ended_at, error)
SELECT id, workflow, '1', state, waiting, agent_id, CASE WHEN i % 5 = 0 THEN 'order-' || i END,
       CASE WHEN i % 5 = 0 THEN decode(md5(i::text), 'hex') END, CASE WHEN i % 4 = 0 THEN 'trace-' || i ELSE '' END,
       CASE WHEN i % 50 = 0 THEN ARRAY['customer-' || i % 1000, 'nightly'] ELSE '{}' END,
       convert_to('j{"number":' || i || '}', 'UTF8'), CASE WHEN is_graph THEN 5 ELSE 1 END,
       CASE WHEN i % 3 = 0 THEN 5 END, i % 100 / 100.0, i % 5000, at, at + interval '100 ms',
       CASE WHEN state IN ('completed', 'failed', 'cancelled') THEN least(at + took, now()) END,
       CASE WHEN state = 'failed' THEN '{"kind": "transient", "type": "Timeout", "message": "no answer"}'::jsonb END
FROM bench_run ORDER BY i
"""
_STEP_COLUMNS = """
INSERT INTO execution_step (id, run_id, agent_id, name, skill, state, waiting, position, queue, epoch, attempt_id,
    worker_id, lease_until, wake_at, breaker, key, capability, output, created_at, changed_at, started_at, ended_at)
"""
_STANDING = f"""
    CASE WHEN state = 'parked' THEN 'parked' WHEN state = 'paused' THEN 'waiting'
         WHEN state <> 'running' THEN state WHEN i % 1000 < 20 THEN 'running' ELSE 'waiting' END AS step_state,
    CASE WHEN state IN ('parked', 'paused') THEN waiting WHEN state = 'running' THEN ({_REASONS})[1 + i / 100 % 7]
         ELSE 'capacity' END AS step_waiting
"""
_ATTEMPT_ID = _id("at", "'attempt' || i || '-' || p")
_STEP_ID = _id("at", "'step' || i || '-' || p")
_HOW_IT_STANDS = f"""
    step_state, step_waiting, p, 'default', 1, {_ATTEMPT_ID}, w.id,
    CASE WHEN step_state = 'running' THEN now() + interval '1 hour' END,
    CASE WHEN step_waiting IN ('timer', 'retry') THEN now() + interval '1 day' END,
    CASE WHEN step_waiting = 'breaker' THEN 'breaker-1' ELSE '' END, CASE WHEN step_waiting = 'key' THEN 'key-1' END,
    CASE WHEN step_waiting = 'lockout' THEN 'pay' ELSE '' END, convert_to('j' || i, 'UTF8'), at, at + took,
    at + interval '100 ms', CASE WHEN step_state IN ('completed', 'failed', 'cancelled') THEN at + took END
"""
_OF_PLAN = f"""
    FROM (SELECT *, {_STANDING} FROM bench_run) r
    JOIN (SELECT id, row_number() OVER () AS n FROM execution_worker) w ON w.n = 1 + i % 12
"""
_SINGLE_STEPS = f"""
{_STEP_COLUMNS} SELECT r.id, r.id, agent_id, workflow, workflow, {_HOW_IT_STANDS} {_OF_PLAN}
CROSS JOIN (SELECT 0 AS p) x WHERE NOT is_graph ORDER BY i
"""
_GRAPH_STEPS = f"""
{_STEP_COLUMNS} SELECT {_STEP_ID}, r.id, agent_id, 'part_' || p, 'skill-' || p, {_HOW_IT_STANDS} {_OF_PLAN}
CROSS JOIN generate_series(0, 4) p WHERE is_graph ORDER BY i, p
"""
_ATTEMPTS = """
INSERT INTO execution_attempt (id, step_id, run_id, epoch, worker_id, started_at, ended_at, ending, cost, tokens)
SELECT attempt_id, id, run_id, 1, worker_id, started_at, coalesce(ended_at, changed_at),
       CASE WHEN state IN ('completed', 'failed', 'cancelled') THEN state
            WHEN state = 'running' THEN '' ELSE 'suspended' END, 0.01, 100
FROM execution_step ORDER BY id
"""
_EVENTS = f"""
INSERT INTO execution_event (id, xid, at, kind, run_id, agent_id, data)
SELECT {_id("at", "'event' || i || kind")}, pg_current_xact_id()::text::bigint, at, kind, id, agent_id,
       jsonb_build_object('workflow', workflow)
FROM bench_run CROSS JOIN unnest('{{run.opened,run.completed}}'::text[]) kind
WHERE kind = 'run.opened' OR state = 'completed' ORDER BY i
"""
_BREAKERS = """
INSERT INTO execution_breaker (name, state, failure_count, opened_at, probe_at)
SELECT 'breaker-' || i, CASE WHEN i <= 2 THEN 'open' ELSE 'closed' END, i % 7, now(), now() + interval '1 minute'
FROM generate_series(1, 200) i
"""
_SESSIONS = """
INSERT INTO execution_session (id, name, ttl, expires_at, opened_at)
SELECT gen_random_uuid(), 'session-' || i, interval '1 hour', now() + interval '1 hour', now()
FROM generate_series(1, 5000) i
"""
_PATTERNS_SQL = f"""
INSERT INTO recovery_failurepattern (name, state, category, fingerprint, fingerprint_version, template, skill, count,
    cost, first_seen_at, last_seen_at)
SELECT 'pattern ' || i, CASE WHEN i % 3 = 0 THEN 'proposed' ELSE 'confirmed' END, 'transient', md5('kind' || i), 1,
       'no answer from <*> within ' || i || ' s', 'skill-' || i % 5, i * 10, i, now() - interval '{DAYS} days', now()
FROM generate_series(1, {PATTERNS}) i
"""
_FAILURES = f"""
INSERT INTO recovery_failurematch (id, attempt_id, step_id, run_id, agent_id, skill, ending, error_kind, error_type,
    message, fingerprint, fingerprint_version, pattern_id, how, confidence, is_final, failed_at, created_at)
SELECT {_id("b.at", "'failure' || b.i")}, s.attempt_id, s.id, s.run_id, s.agent_id, s.skill, 'failed',
       'transient', 'Timeout', 'no answer from host-' || b.i, md5('kind' || k), 1, p.id, 'fingerprint', 1, true,
       b.at + took, b.at + took
FROM bench_run b JOIN execution_step s ON s.run_id = b.id AND s.state = 'failed' AND s.position = 0
CROSS JOIN LATERAL (SELECT 1 + b.i / 40 % {PATTERNS + 10} AS k) x
LEFT JOIN recovery_failurepattern p ON p.fingerprint = md5('kind' || k)
WHERE b.state = 'failed' ORDER BY b.i
"""
_CANDIDATES = f"""
INSERT INTO recovery_recoverycandidate (id, failure_id, run_id, step_id, agent_id, skill, error_kind, fingerprint,
    fingerprint_version, pattern_id, state, action, verb, confidence, bound, ended_at, created_at, failed_at)
SELECT {_id("failed_at", "'candidate' || id::text")}, id, run_id, step_id, agent_id, skill, error_kind,
       fingerprint, 1, pattern_id,
       CASE WHEN n % 10 = 0 THEN 'waiting' WHEN n % 4 = 1 THEN 'rejected' ELSE 'recovered' END, 'retry', 'retry', 0.9,
       0.7, CASE WHEN n % 10 <> 0 THEN failed_at END, failed_at, failed_at
FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM recovery_failurematch) f ORDER BY n
"""
_INCIDENTS = """
INSERT INTO recovery_incident (id, title, state, severity, services, opened_at, ended_at)
SELECT gen_random_uuid(), 'Payments fail ' || i, CASE WHEN i <= 3 THEN 'open' ELSE 'resolved' END, 'critical',
       '{payments}', now() - interval '1 hour' * i, CASE WHEN i > 3 THEN now() - interval '1 minute' * i END
FROM generate_series(1, 2000) i
"""
_OBJECTIVES = """
INSERT INTO graduation_objective (name, subject, target)
SELECT 'objective-' || i, 'skill:skill-' || i % 5, 0.99 FROM generate_series(1, 200) i
"""
