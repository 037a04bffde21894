-- Keep one memory of an agent: under a key that is there already it takes the other's place. What is pinned stays pinned until
-- it is kept again otherwise.
CREATE OR REPLACE FUNCTION execution_keep_memory_v1(
    p_agent uuid, p_kind text, p_key text, p_value bytea, p_text text, p_ttl interval, p_pinned boolean, p_run uuid
) RETURNS uuid LANGUAGE sql VOLATILE AS $$
    INSERT INTO execution_memory AS m (id, agent_id, kind, key, value, text, is_pinned, run_id, expires_at, created_at, updated_at)
    VALUES (execution_uuid7_v1(), p_agent, p_kind, p_key, p_value, p_text, coalesce(p_pinned, false), p_run,
            clock_timestamp() + p_ttl, clock_timestamp(), clock_timestamp())
    ON CONFLICT (agent_id, kind, key) DO UPDATE SET
        value = excluded.value, text = excluded.text, run_id = excluded.run_id, expires_at = excluded.expires_at,
        is_pinned = coalesce(p_pinned, m.is_pinned), updated_at = excluded.updated_at
    RETURNING m.id
$$;
