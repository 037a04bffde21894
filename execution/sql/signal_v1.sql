-- Store a signal and wake the step that waits for it. Suspending shares the run's lock and looks for signals under it, so that
-- a signal is either seen by who suspends or sees who has suspended.
CREATE OR REPLACE FUNCTION execution_signal_v1(p_id uuid, p_run uuid, p_name text, p_data bytea, p_sender text)
RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_state text;
    v_agent uuid;
BEGIN
    PERFORM execution_hold_run_v1(p_run);
    SELECT r.state, r.agent_id INTO v_state, v_agent FROM execution_run r WHERE r.id = p_run;
    IF NOT FOUND THEN
        RETURN 'unknown';
    END IF;
    IF v_state IN ('completed', 'failed', 'cancelled') THEN
        RETURN v_state;
    END IF;
    INSERT INTO execution_signal (id, run_id, name, data, sender) VALUES (p_id, p_run, p_name, p_data, p_sender)
    ON CONFLICT (id) DO NOTHING;
    IF NOT FOUND THEN
        RETURN 'already';
    END IF;
    PERFORM execution_log_v1('signal.received', p_run, NULL, v_agent, NULL, jsonb_build_object('name', p_name, 'sender', p_sender));
    UPDATE execution_step s SET state = 'ready', waiting = 'capacity', wake_at = NULL, awaits = NULL, changed_at = clock_timestamp()
    WHERE s.id IN (SELECT x.id FROM execution_step x WHERE x.run_id = p_run AND x.state = 'waiting'
                   AND x.awaits @> ARRAY[p_name]::varchar[] ORDER BY x.id FOR NO KEY UPDATE);
    RETURN CASE WHEN FOUND THEN 'woken' ELSE 'kept' END;
END $$;
