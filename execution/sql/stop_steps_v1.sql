-- Cancel what a run has not started and ask what it performs to stop; answers how many are still performed.
CREATE OR REPLACE FUNCTION execution_stop_steps_v1(p_run uuid) RETURNS int LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_running int;
    v record;
BEGIN
    UPDATE execution_step s SET control = 'cancel'
    WHERE s.id IN (SELECT x.id FROM execution_step x WHERE x.run_id = p_run AND x.state = 'running' ORDER BY x.id FOR NO KEY UPDATE);
    GET DIAGNOSTICS v_running = ROW_COUNT;
    UPDATE execution_step s SET state = 'cancelled', waiting = '', ended_at = clock_timestamp(), changed_at = clock_timestamp()
    WHERE s.id IN (SELECT x.id FROM execution_step x WHERE x.run_id = p_run
                   AND x.state IN ('blocked', 'ready', 'waiting', 'parked') ORDER BY x.id FOR NO KEY UPDATE);
    RETURN v_running;
END $$;
