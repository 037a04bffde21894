-- End a phase before its steps have ended: what is performed is asked to stop at its next context call, what is not is
-- cancelled, how far each had come is kept, and what needs them goes on. Answers whether it was still open, and what became
-- ready. Locks: run, steps by id.
CREATE OR REPLACE FUNCTION execution_close_phase_v1(p_phase uuid, p_reason text)
RETURNS TABLE (is_closed boolean, ready uuid[]) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    p execution_phase%ROWTYPE;
    v_reached jsonb;
    v_error jsonb;
    v_step uuid;
BEGIN
    is_closed := false; ready := '{}';
    SELECT * INTO p FROM execution_phase x WHERE x.id = p_phase;
    IF NOT FOUND THEN
        RETURN NEXT; RETURN;
    END IF;
    PERFORM execution_hold_run_v1(p.run_id);
    UPDATE execution_timer t SET fired_at = clock_timestamp()
    WHERE t.run_id = p.run_id AND t.kind = 'phase' AND t.name = p_phase::text AND t.fired_at IS NULL;
    PERFORM 1 FROM execution_step s WHERE s.phase_id = p_phase AND s.state IN ('blocked', 'ready', 'running', 'waiting', 'parked')
        ORDER BY s.id FOR NO KEY UPDATE;
    IF NOT FOUND OR EXISTS (SELECT 1 FROM execution_run r WHERE r.id = p.run_id AND r.state IN ('completed', 'failed', 'cancelled')) THEN
        RETURN NEXT; RETURN;
    END IF;
    SELECT jsonb_object_agg(s.name, jsonb_strip_nulls(jsonb_build_object('state', s.state, 'checkpoints', c.count, 'latest', c.latest)))
    INTO v_reached FROM execution_step s CROSS JOIN LATERAL (
        SELECT count(*) AS count, (array_agg(k.token ORDER BY k.position DESC))[1] AS latest
        FROM execution_checkpoint k WHERE k.step_id = s.id AND k.kind <> 'late') c
    WHERE s.phase_id = p_phase AND s.position >= 0;
    UPDATE execution_phase x SET closed_at = clock_timestamp(), closed_reason = p_reason, reached = v_reached
    WHERE x.id = p_phase AND x.closed_at IS NULL;
    IF NOT FOUND THEN
        RETURN NEXT; RETURN;
    END IF;
    v_error := jsonb_build_object('kind', 'permanent', 'type', 'PhaseClosed', 'message',
                                  format('phase %s was closed: %s', p.name, p_reason));
    UPDATE execution_step s SET control = 'cancel' WHERE s.phase_id = p_phase AND s.state = 'running';
    FOR v_step IN
        UPDATE execution_step s SET state = 'cancelled', waiting = '', error = v_error, wake_at = NULL, rung_at = NULL,
               ended_at = clock_timestamp(), changed_at = clock_timestamp()
        WHERE s.phase_id = p_phase AND s.state IN ('blocked', 'ready', 'waiting', 'parked') RETURNING s.id
    LOOP
        ready := ready || execution_release_v1(v_step);
    END LOOP;
    PERFORM execution_log_v1('phase.closed', p.run_id, NULL, NULL, NULL,
                             jsonb_build_object('phase', p.name, 'reason', p_reason, 'reached', v_reached));
    PERFORM execution_close_run_v1(p.run_id);
    is_closed := true;
    RETURN NEXT;
END $$;
