-- Note that a phase has begun, once, and set the timer that ends its timebox. The caller's claim holds run and step.
CREATE OR REPLACE FUNCTION execution_begin_phase_v1(p_phase uuid, p_now timestamptz) RETURNS void LANGUAGE sql VOLATILE AS $$
    WITH begun AS (
        UPDATE execution_phase p SET started_at = p_now WHERE p.id = p_phase AND p.started_at IS NULL
        RETURNING p.id, p.run_id, p.timebox_seconds
    )
    INSERT INTO execution_timer (id, kind, name, due_at, run_id, created_at)
    SELECT execution_uuid7_v1(), 'phase', b.id::text, p_now + make_interval(secs => b.timebox_seconds), b.run_id, p_now
    FROM begun b WHERE b.timebox_seconds IS NOT NULL
$$;
