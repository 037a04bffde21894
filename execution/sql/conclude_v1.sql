-- End a step that nobody performs: it was replaced by a plain task that has ended, or will never start because the
-- step before it failed. Locks: run, step.
CREATE OR REPLACE FUNCTION execution_conclude_v1(p_step uuid, p_success boolean, p_output bytea, p_error jsonb)
RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_state text := CASE WHEN p_success THEN 'completed' ELSE 'failed' END;
    v_run uuid;
    v_agent uuid;
BEGIN
    SELECT s.run_id INTO v_run FROM execution_step s WHERE s.id = p_step;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM execution_hold_run_v1(v_run);
    UPDATE execution_step s SET state = v_state, waiting = '', output = p_output, error = p_error, rung_at = NULL,
           wake_at = NULL, changed_at = clock_timestamp(), ended_at = clock_timestamp()
    WHERE s.id = p_step AND (s.state = 'waiting' AND s.canvas ? 'replaced' OR s.state = 'ready' AND s.epoch = 0)
    RETURNING s.agent_id INTO v_agent;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM execution_log_v1('step.' || v_state, v_run, p_step, v_agent, NULL,
                             jsonb_strip_nulls(jsonb_build_object('error', p_error)));
    PERFORM execution_end_run_v1(v_run, v_state, p_error);
    RETURN true;
END $$;
