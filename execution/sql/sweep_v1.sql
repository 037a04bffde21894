-- Find what its worker will not finish: steps whose lease has run out, and steps of workers whose lock was missing in two sweeps.
-- Nothing is found while a restart of the database, or an interruption of the sweep itself, is younger than the grace of one lease.
-- It gives nothing back: each step is given back in a transaction of its own, because the locks of two runs have no order here.
CREATE OR REPLACE FUNCTION execution_sweep_v1(p_resumed_at timestamptz, p_grace interval, p_limit int DEFAULT 500)
RETURNS TABLE (step_id uuid, epoch int, reason text) LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    WITH locks AS MATERIALIZED (
        SELECT l.objid::bigint AS number FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 7003 AND l.objsubid = 2
          AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
    ), seen AS (
        SELECT w.id, w.lock_number IN (SELECT k.number FROM locks k) AS has_lock, w.missing_count
        FROM execution_worker w WHERE w.gone_at IS NULL AND w.holds_lock
    ), changed AS (
        SELECT x.id FROM execution_worker x JOIN seen n ON n.id = x.id
        WHERE NOT n.has_lock OR n.missing_count > 0 ORDER BY x.id FOR NO KEY UPDATE OF x SKIP LOCKED
    )
    UPDATE execution_worker w SET
        missing_count = CASE WHEN n.has_lock THEN 0 ELSE least(w.missing_count + 1, 1000000) END,
        missing_since = CASE WHEN n.has_lock THEN NULL ELSE coalesce(w.missing_since, v_now) END
    FROM seen n JOIN changed c ON c.id = n.id WHERE w.id = n.id;

    IF pg_postmaster_start_time() > v_now - p_grace OR p_resumed_at > v_now - p_grace THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT s.id, s.epoch, 'worker died'::text FROM execution_worker w
        JOIN execution_step s ON s.worker_id = w.id AND s.state = 'running'
        WHERE w.gone_at IS NULL AND w.missing_count >= 2
           OR w.gone_at BETWEEN v_now - interval '1 hour' AND v_now - interval '2 seconds'
        ORDER BY s.id LIMIT p_limit;
    RETURN QUERY
        SELECT s.id, s.epoch, 'its lease ran out'::text FROM execution_step s
        WHERE s.state = 'running' AND s.lease_until < v_now ORDER BY s.lease_until LIMIT p_limit;
    PERFORM execution_bury_v1(ARRAY(
        SELECT w.id FROM execution_worker w
        WHERE w.gone_at IS NULL AND (w.missing_count >= 2 OR NOT w.holds_lock AND w.seen_at < v_now - interval '5 minutes')
          AND NOT EXISTS (SELECT 1 FROM execution_step s WHERE s.worker_id = w.id AND s.state = 'running')
        ORDER BY w.id));
END $$;
