-- Remove timers that fired or were cancelled so many days ago, unless their run has not ended.
CREATE OR REPLACE FUNCTION execution_cleanup_timers_v1(p_days double precision DEFAULT 7, p_limit int DEFAULT 10000)
RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_rows bigint;
BEGIN
    DELETE FROM execution_timer t WHERE t.id IN (
        SELECT x.id FROM execution_timer x
        WHERE coalesce(x.fired_at, x.cancelled_at) < clock_timestamp() - make_interval(secs => p_days * 86400)
          AND NOT EXISTS (SELECT 1 FROM execution_run r WHERE r.id = x.run_id AND r.state NOT IN ('completed', 'failed', 'cancelled'))
        LIMIT p_limit);
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_rows;
END $$;
