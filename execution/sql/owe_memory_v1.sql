-- Record that a step has remembered something that its memory could not take, and say so in the log: who reads that keeps it.
-- Refused when the epoch is stale.
CREATE OR REPLACE FUNCTION execution_owe_memory_v1(
    p_step uuid, p_epoch int, p_token text, p_position bigint, p_data bytea, p_size int, p_error text,
    OUT verdict text, OUT control text
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    SELECT r.verdict, r.control INTO verdict, control FROM execution_save_v1(
        p_step, p_epoch, p_token, 'remember', p_position, NULL, strpos(p_token, ']/') > 0, p_data, p_size) r;
    IF verdict = 'saved' THEN
        PERFORM execution_log_v1('memory.owed', x.run_id, p_step, x.agent_id, p_epoch,
                                 jsonb_build_object('token', p_token, 'error', p_error))
        FROM execution_step x WHERE x.id = p_step;
    END IF;
END $$;
