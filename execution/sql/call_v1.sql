-- Open a child run for a step that is being performed, once per token, and carve its budget from its parent's.
-- Locks: run, agent, step.
CREATE OR REPLACE FUNCTION execution_call_v1(
    p_step uuid, p_epoch int, p_token text, p_position bigint, p_template jsonb, p_child uuid, p_input bytea
) RETURNS TABLE (verdict text, child uuid) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    s record;
    r record;
    v_cost numeric := (p_template ->> 'carved_cost')::numeric;
    v_count bigint := (p_template ->> 'carved_tokens')::bigint;
BEGIN
    PERFORM execution_hold_budgets_v1(p_step);
    IF v_cost > 0 OR v_count > 0 THEN
        PERFORM 1 FROM execution_run x WHERE x.id = (SELECT y.run_id FROM execution_step y WHERE y.id = p_step) FOR NO KEY UPDATE;
    END IF;
    SELECT x.epoch, x.state, x.run_id, x.control INTO s FROM execution_step x WHERE x.id = p_step FOR NO KEY UPDATE;
    IF NOT FOUND OR s.epoch <> p_epoch OR s.state <> 'running' THEN
        verdict := 'stale'; RETURN NEXT; RETURN;
    END IF;
    IF EXISTS (SELECT 1 FROM execution_checkpoint c WHERE c.step_id = p_step AND c.token = p_token) THEN
        verdict := 'already'; RETURN NEXT; RETURN;
    END IF;
    -- Under the step's lock: a cancel either sees the child, or is seen here.
    IF s.control = 'cancel' THEN
        verdict := 'cancelled'; RETURN NEXT; RETURN;
    END IF;
    SELECT * INTO r FROM execution_run x WHERE x.id = s.run_id;
    IF r.budget_cost IS NOT NULL AND r.spent_cost + r.reserved_cost + coalesce(v_cost, 0) > r.budget_cost
       OR r.budget_tokens IS NOT NULL AND r.spent_tokens + r.reserved_tokens + coalesce(v_count, 0) > r.budget_tokens THEN
        UPDATE execution_step x SET waiting = 'budget' WHERE x.id = p_step;
        verdict := 'refused'; RETURN NEXT; RETURN;
    END IF;
    INSERT INTO execution_checkpoint (step_id, token, kind, position, epoch, data, size, saved_at, is_scoped)
    VALUES (p_step, p_token, 'call', p_position, p_epoch, convert_to('j"' || p_child || '"', 'UTF8'), 38, clock_timestamp(),
            strpos(p_token, ']/') > 0);
    PERFORM 1 FROM execution_open_v1(p_template, ARRAY[p_child], ARRAY[p_input]);
    UPDATE execution_run x SET reserved_cost = x.reserved_cost + coalesce(v_cost, 0),
                               reserved_tokens = x.reserved_tokens + coalesce(v_count, 0)
    WHERE x.id = s.run_id AND (coalesce(v_cost, 0) > 0 OR coalesce(v_count, 0) > 0);
    verdict := 'opened'; child := p_child;
    RETURN NEXT;
END $$;
