-- Change the state of a session on behalf of a step that is being performed, once per token, and only from the version that
-- was seen: else `changed`. `ended`: the session is not open. Locks: session, step.
CREATE OR REPLACE FUNCTION execution_update_session_v1(
    p_step uuid, p_epoch int, p_token text, p_position bigint, p_session uuid, p_seen int, p_state bytea
) RETURNS TABLE (verdict text, control text) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    s record;
    h record;
BEGIN
    SELECT x.status, x.version INTO h FROM execution_session x WHERE x.id = p_session FOR NO KEY UPDATE;
    SELECT x.epoch, x.state, x.control, x.run_id, x.agent_id INTO s FROM execution_step x WHERE x.id = p_step FOR SHARE;
    control := s.control;
    IF s.epoch IS DISTINCT FROM p_epoch OR s.state <> 'running' THEN
        verdict := 'stale'; RETURN NEXT; RETURN;
    END IF;
    IF EXISTS (SELECT 1 FROM execution_checkpoint c WHERE c.step_id = p_step AND c.token = p_token) THEN
        verdict := 'already'; RETURN NEXT; RETURN;
    END IF;
    verdict := CASE WHEN h.status IS DISTINCT FROM 'open' THEN 'ended' WHEN h.version <> p_seen THEN 'changed' ELSE 'saved' END;
    IF verdict = 'saved' THEN
        UPDATE execution_session x SET state = p_state, version = x.version + 1,
            touched_at = clock_timestamp(), expires_at = clock_timestamp() + x.ttl
        WHERE x.id = p_session;
        INSERT INTO execution_checkpoint (step_id, token, kind, position, epoch, data, size, saved_at, is_scoped)
        VALUES (p_step, p_token, 'session', p_position, p_epoch, convert_to('j' || (p_seen + 1), 'UTF8'),
                length((p_seen + 1)::text), clock_timestamp(), strpos(p_token, ']/') > 0);
        PERFORM execution_log_v1('session.updated', s.run_id, p_step, s.agent_id, p_epoch,
                                 jsonb_build_object('session', p_session, 'version', p_seen + 1));
    END IF;
    RETURN NEXT;
END $$;
