-- Keep a memory on behalf of a step that is being performed, once per token, in the transaction of its checkpoint; refused when
-- the epoch is stale. Locks: step, memory.
CREATE OR REPLACE FUNCTION execution_remember_v1(
    p_step uuid, p_epoch int, p_token text, p_position bigint,
    p_kind text, p_key text, p_value bytea, p_text text, p_ttl interval, p_pinned boolean
) RETURNS TABLE (verdict text, control text) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    s record;
    v_memory uuid;
BEGIN
    SELECT x.epoch, x.state, x.control, x.run_id, x.agent_id INTO s FROM execution_step x WHERE x.id = p_step FOR SHARE;
    control := s.control;
    IF s.epoch IS DISTINCT FROM p_epoch OR s.state <> 'running' THEN
        verdict := 'stale'; RETURN NEXT; RETURN;
    END IF;
    IF EXISTS (SELECT 1 FROM execution_checkpoint c WHERE c.step_id = p_step AND c.token = p_token) THEN
        verdict := 'already'; RETURN NEXT; RETURN;
    END IF;
    v_memory := execution_keep_memory_v1(s.agent_id, p_kind, p_key, p_value, p_text, p_ttl, p_pinned, s.run_id);
    INSERT INTO execution_checkpoint (step_id, token, kind, position, epoch, data, size, saved_at, is_scoped)
    VALUES (p_step, p_token, 'remember', p_position, p_epoch, convert_to('j{"memory":"' || v_memory || '"}', 'UTF8'), 49,
            clock_timestamp(), strpos(p_token, ']/') > 0);
    PERFORM execution_log_v1('memory.updated', s.run_id, p_step, s.agent_id, p_epoch,
                             jsonb_build_object('operation', 'remember', 'outcome', 'applied', 'key', p_key));
    verdict := 'saved';
    RETURN NEXT;
END $$;
