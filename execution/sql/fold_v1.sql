-- Mend what a crash between two transactions can leave: keys with room and waiters, breakers and lockouts that are over; and, in a
-- deep pass, runs whose last steps ended side by side, and workers long gone. It waits for no lock.
CREATE OR REPLACE FUNCTION execution_fold_v1(p_limit int DEFAULT 200, p_deep boolean DEFAULT true)
RETURNS int LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $$
DECLARE
    v_count int := 0;
    v_rows int;
    v_key text := '';
    v record;
BEGIN
    FOR i IN 1..100 LOOP
        SELECT min(s.key) INTO v_key FROM execution_step s WHERE s.state = 'waiting' AND s.waiting = 'key' AND s.key > v_key;
        EXIT WHEN v_key IS NULL;
        PERFORM 1 FROM execution_concurrencykey k WHERE k.name = v_key FOR NO KEY UPDATE SKIP LOCKED;
        IF FOUND THEN
            v_count := v_count + cardinality(execution_free_key_v1(v_key));
        END IF;
    END LOOP;
    UPDATE execution_step s SET state = 'ready', waiting = 'capacity', wake_at = NULL, changed_at = clock_timestamp()
    WHERE s.id IN (
        SELECT w.id FROM execution_step w WHERE w.state = 'waiting' AND w.waiting = 'lockout' AND NOT EXISTS (
            SELECT 1 FROM execution_capabilitylockout l WHERE l.capability = w.capability AND l.lifted_at IS NULL
            AND (l.agent_id IS NULL OR l.agent_id = w.agent_id) AND (l.until IS NULL OR l.until > clock_timestamp()))
        LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_count := v_count + v_rows;
    UPDATE execution_step s SET state = 'ready', waiting = 'capacity', wake_at = NULL, changed_at = clock_timestamp()
    WHERE s.id IN (
        SELECT w.id FROM execution_step w WHERE w.state = 'waiting' AND w.waiting = 'breaker' AND NOT EXISTS (
            SELECT 1 FROM execution_breaker b WHERE b.name = w.breaker AND b.state <> 'closed')
        LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_count := v_count + v_rows;
    IF p_deep THEN
        FOR v IN SELECT r.id FROM execution_run r
                 WHERE r.state = 'running' AND r.step_count > 1 AND NOT EXISTS (
                    SELECT 1 FROM execution_step s WHERE s.run_id = r.id
                    AND s.state IN ('blocked', 'ready', 'running', 'waiting', 'parked'))
                 LIMIT p_limit LOOP
            IF pg_try_advisory_xact_lock(uuid_hash_extended(v.id, 7001)) AND execution_close_run_v1(v.id) THEN
                v_count := v_count + 1;
            END IF;
        END LOOP;
        DELETE FROM execution_worker w WHERE w.gone_at < clock_timestamp() - interval '7 days';
    END IF;
    RETURN v_count;
END $$;
