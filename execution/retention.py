"""Retention: what leaves the ledger, and when. Nothing of a run that has not ended is ever touched."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, LiteralString

from execution import conf, events, ledger, records
from execution.cycles import Cycle

_BATCH = 10_000

# What is removed in batches, each statement saying for itself what is old enough.
_KEYS: LiteralString = """
    UPDATE execution_run SET key = NULL WHERE id IN (
        SELECT id FROM execution_run WHERE key IS NOT NULL AND NOT starts_with(key, 'plan:')
        AND state IN ('completed', 'failed', 'cancelled')
        AND ended_at < clock_timestamp() - make_interval(secs => %s * 3600) LIMIT %s)
    RETURNING 1"""
# A reference has 33 bytes: looking at lengths first leaves large values where they are. The blob's own age stands
# outside, so that one which is stored again at this moment is looked at again.
_BLOBS: LiteralString = """
    DELETE FROM execution_blob b WHERE b.created_at < clock_timestamp() - interval '1 day' AND b.hash IN (
        SELECT x.hash FROM execution_blob x, LATERAL (SELECT '\\x62'::bytea || x.hash AS here) v
        WHERE x.created_at < clock_timestamp() - interval '1 day'
        AND NOT EXISTS (SELECT 1 FROM execution_checkpoint c WHERE octet_length(c.data) = 33 AND c.data = v.here)
        AND NOT EXISTS (SELECT 1 FROM execution_run r WHERE octet_length(r.input) = 33 AND r.input = v.here)
        AND NOT EXISTS (SELECT 1 FROM execution_step s WHERE octet_length(s.input) = 33 AND s.input = v.here)
        AND NOT EXISTS (SELECT 1 FROM execution_step s WHERE octet_length(s.output) = 33 AND s.output = v.here)
        AND NOT EXISTS (SELECT 1 FROM execution_signal g WHERE octet_length(g.data) = 33 AND g.data = v.here)
        AND NOT EXISTS (SELECT 1 FROM execution_effect e WHERE octet_length(e.intent) = 33 AND e.intent = v.here)
        AND NOT EXISTS (SELECT 1 FROM execution_effect e WHERE octet_length(e.receipt) = 33 AND e.receipt = v.here)
        AND NOT EXISTS (SELECT 1 FROM execution_chordpart p WHERE octet_length(p.result) = 33 AND p.result = v.here)
        AND NOT EXISTS (SELECT 1 FROM execution_jobitem i WHERE octet_length(i.input) = 33 AND i.input = v.here)
        AND NOT EXISTS (SELECT 1 FROM execution_jobitem i WHERE octet_length(i.output) = 33 AND i.output = v.here)
        AND NOT EXISTS (SELECT 1 FROM execution_session s WHERE octet_length(s.state) = 33 AND s.state = v.here)
        AND NOT EXISTS (SELECT 1 FROM execution_sessioncheckpoint c WHERE octet_length(c.state) = 33
                        AND c.state = v.here)
        AND NOT EXISTS (SELECT 1 FROM execution_memory m WHERE octet_length(m.value) = 33 AND m.value = v.here)
        AND NOT EXISTS (SELECT 1 FROM execution_timer t WHERE t.opening IS NOT NULL AND t.fired_at IS NULL
                        AND t.cancelled_at IS NULL AND t.opening ->> 'input' = encode(v.here, 'base64'))
        LIMIT %s)
    RETURNING 1"""
_SIGNALS: LiteralString = """
    DELETE FROM execution_signal WHERE id IN (
        SELECT g.id FROM execution_signal g JOIN execution_run r ON r.id = g.run_id
        WHERE r.state IN ('completed', 'failed', 'cancelled')
        AND r.ended_at < clock_timestamp() - make_interval(secs => %s * 86400) LIMIT %s)
    RETURNING 1"""
_ITEMS: LiteralString = """
    DELETE FROM execution_jobitem i USING (
        SELECT x.job_id, x.position FROM execution_job j JOIN execution_run r ON r.id = j.run_id
        JOIN execution_jobitem x ON x.job_id = j.run_id
        WHERE r.state IN ('completed', 'failed', 'cancelled')
        AND r.ended_at < clock_timestamp() - make_interval(secs => %s * 86400) LIMIT %s) d
    WHERE i.job_id = d.job_id AND i.position = d.position RETURNING 1"""
_CHORDS: LiteralString = """
    WITH old AS (
        DELETE FROM execution_chord WHERE group_id IN (
            SELECT group_id FROM execution_chord
            WHERE fired_at < clock_timestamp() - make_interval(secs => %s * 86400) LIMIT %s)
        RETURNING group_id)
    DELETE FROM execution_chordpart p USING old WHERE p.group_id = old.group_id RETURNING 1"""
_MEMORY_UPDATES: LiteralString = """
    DELETE FROM execution_memoryupdate WHERE id IN (
        SELECT u.id FROM execution_memoryupdate u
        WHERE u.at < clock_timestamp() - make_interval(secs => %s * 86400) LIMIT %s)
    RETURNING 1"""
_WORKERS: LiteralString = """
    DELETE FROM execution_worker WHERE id IN (
        SELECT w.id FROM execution_worker w
        WHERE w.gone_at < clock_timestamp() - make_interval(secs => %s * 86400) LIMIT %s)
    RETURNING 1"""


def clean_up(_: dict[str, Any] | None = None) -> int:
    """Remove what is old, in batches; keep the log's partitions three months ahead."""
    settings = conf.current()
    events.note_generation()
    touched = len(events.make_partitions()) + len(events.drop_partitions(settings.event_days))
    touched += _all("SELECT execution_cleanup_checkpoints_v1(%s, %s) AS n", settings.checkpoint_days)
    touched += _all("SELECT execution_cleanup_timers_v1(%s, %s) AS n", settings.timer_days)
    touched += _batches(_KEYS, settings.key_hours)
    touched += _batches(_SIGNALS, settings.checkpoint_days)
    touched += _batches(_ITEMS, settings.item_days)
    touched += _batches(_CHORDS, settings.checkpoint_days)
    touched += _batches(_MEMORY_UPDATES, settings.event_days)
    touched += _batches(_WORKERS, 1)
    touched += records.forget()
    return touched + _batches(_BLOBS)


def _all(sql: LiteralString, days: float) -> int:
    total = 0
    while (removed := int(ledger.ask(sql, [days, _BATCH])[0].n)) > 0:
        total += removed
    return total


def _batches(sql: LiteralString, *parameters: float) -> int:
    total = 0
    while removed := len(ledger.ask(sql, [*parameters, _BATCH])):
        total += removed
    return total


CLEAN_UP = Cycle(name="execution.clean_up", period=timedelta(hours=24), step=clean_up, is_atomic=False)
