-- End a run whose steps have all ended, or which is halted by a failed step; owe its parent the news.
CREATE OR REPLACE FUNCTION execution_end_run_v1(p_run uuid, p_state text, p_error jsonb) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    r record;
BEGIN
    UPDATE execution_run x SET state = p_state, waiting = '', ended_at = clock_timestamp(), error = p_error
    WHERE x.id = p_run AND x.state NOT IN ('completed', 'failed', 'cancelled')
    RETURNING x.parent_step_id, x.agent_id, x.workflow, x.correlation_id INTO r;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM execution_log_v1('run.' || p_state, p_run, NULL, r.agent_id, NULL,
                             jsonb_strip_nulls(jsonb_build_object('workflow', r.workflow, 'correlation_id', nullif(r.correlation_id, ''))) || coalesce(jsonb_build_object('error', p_error), '{}'));
    IF r.workflow LIKE 'job:%' THEN
        PERFORM execution_end_job_v1(p_run, p_state);
    END IF;
    IF p_state <> 'completed' THEN
        PERFORM execution_owe_v1(p_run);
    END IF;
    IF r.parent_step_id IS NOT NULL THEN
        PERFORM execution_owe_parent_v1(p_run);
    END IF;
END $$;
