-- Write one event, in the transaction in which it happened.
CREATE OR REPLACE FUNCTION execution_log_v1(
    p_kind text, p_run uuid, p_step uuid, p_agent uuid, p_epoch int, p_data jsonb
) RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO execution_event (id, xid, at, kind, run_id, step_id, agent_id, epoch, data)
    VALUES (execution_uuid7_v1(), pg_current_xact_id()::text::bigint, clock_timestamp(),
            p_kind, p_run, p_step, p_agent, p_epoch, p_data)
$$;
