-- Remove checkpoints of runs that ended so many days ago; runs that have not ended are never touched.
CREATE OR REPLACE FUNCTION execution_cleanup_checkpoints_v1(p_days double precision DEFAULT 7, p_limit int DEFAULT 10000)
RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_rows bigint;
BEGIN
    DELETE FROM execution_checkpoint c USING (
        SELECT x.step_id, x.token FROM execution_run r
        JOIN execution_step s ON s.run_id = r.id
        JOIN execution_checkpoint x ON x.step_id = s.id
        WHERE r.state IN ('completed', 'failed', 'cancelled') AND r.ended_at < clock_timestamp() - make_interval(secs => p_days * 86400)
        LIMIT p_limit) d
    WHERE c.step_id = d.step_id AND c.token = d.token;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_rows;
END $$;
