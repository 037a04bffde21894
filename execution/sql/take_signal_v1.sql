-- Take the oldest signal of a name for a step that is being performed, recorded under the wait's token in one transaction.
-- Asking again, because the answer was lost, answers with what was taken.
CREATE OR REPLACE FUNCTION execution_take_signal_v1(p_step uuid, p_epoch int, p_name text, p_token text, p_position bigint)
RETURNS TABLE (verdict text, data bytea) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    s record;
    v_signal uuid;
    v_data bytea;
BEGIN
    SELECT x.epoch, x.state, x.run_id INTO s FROM execution_step x WHERE x.id = p_step FOR SHARE;
    IF NOT FOUND OR s.epoch <> p_epoch OR s.state <> 'running' THEN
        verdict := 'stale'; RETURN NEXT; RETURN;
    END IF;
    SELECT c.data INTO v_data FROM execution_checkpoint c WHERE c.step_id = p_step AND c.token = p_token;
    IF FOUND THEN
        verdict := 'taken'; data := v_data; RETURN NEXT; RETURN;
    END IF;
    SELECT g.id, g.data INTO v_signal, v_data FROM execution_signal g
    WHERE g.run_id = s.run_id AND g.name = p_name AND g.consumed_at IS NULL ORDER BY g.id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        verdict := 'none'; RETURN NEXT; RETURN;
    END IF;
    UPDATE execution_signal g SET consumed_by = p_step, consumed_at = clock_timestamp() WHERE g.id = v_signal;
    INSERT INTO execution_checkpoint (step_id, token, kind, position, epoch, data, size, saved_at, is_scoped)
    VALUES (p_step, p_token, 'wait', p_position, p_epoch, v_data, coalesce(octet_length(v_data), 0), clock_timestamp(),
            strpos(p_token, ']/') > 0);
    verdict := 'taken'; data := v_data;
    RETURN NEXT;
END $$;
