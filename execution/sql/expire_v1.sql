-- Fail a run whose deadline has passed, and mark the timer fired with it. Locks: run, steps by id.
CREATE OR REPLACE FUNCTION execution_expire_v1(p_timer uuid) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_run uuid;
BEGIN
    SELECT t.run_id INTO v_run FROM execution_timer t WHERE t.id = p_timer;
    PERFORM execution_hold_run_v1(v_run);
    UPDATE execution_timer t SET fired_at = clock_timestamp()
    WHERE t.id = p_timer AND t.fired_at IS NULL AND t.cancelled_at IS NULL;
    IF NOT FOUND OR NOT EXISTS (SELECT 1 FROM execution_run r WHERE r.id = v_run
                                AND r.state NOT IN ('completed', 'failed', 'cancelled')) THEN
        RETURN false;
    END IF;
    PERFORM execution_stop_steps_v1(v_run);
    PERFORM execution_end_run_v1(v_run, 'failed', jsonb_build_object(
        'kind', 'permanent', 'type', 'DeadlinePassed', 'message', 'the run''s deadline has passed'));
    RETURN true;
END $$;
