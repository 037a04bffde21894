-- Wake as many steps as fit that wait for a key, and answer them; the caller holds the key's row. Where only a rate
-- holds them back their timers wake them. Counting stops at the limit: a key may have a million ready steps.
CREATE OR REPLACE FUNCTION execution_free_key_v1(p_key text) RETURNS uuid[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_free int;
    v_woken uuid[];
BEGIN
    SELECT CASE WHEN k.limit_count IS NOT NULL THEN k.limit_count - (
                    SELECT count(*) FROM (SELECT 1 FROM execution_step x WHERE x.key = p_key AND x.state IN ('ready', 'running')
                                          LIMIT k.limit_count) o)
                WHEN k.rate_count IS NULL THEN 1000 ELSE 0 END
    INTO v_free FROM execution_concurrencykey k WHERE k.name = p_key;
    IF v_free <= 0 THEN
        RETURN '{}';
    END IF;
    -- Materialized: a subquery with a limit that skips what is locked may be asked again for each row, and find others then.
    WITH few AS MATERIALIZED (
        SELECT w.id FROM execution_step w WHERE w.state = 'waiting' AND w.waiting = 'key' AND w.key = p_key AND w.wake_at IS NULL
        ORDER BY w.priority DESC, w.id LIMIT coalesce(v_free, 1000) FOR UPDATE SKIP LOCKED
    ), woken AS (
        UPDATE execution_step x SET state = 'ready', waiting = 'capacity', wake_at = NULL, changed_at = clock_timestamp()
        FROM few f WHERE x.id = f.id RETURNING x.id
    )
    SELECT coalesce(array_agg(w.id ORDER BY w.id), '{}') INTO v_woken FROM woken w;
    RETURN v_woken;
END $$;
