-- Record what a fenced worker had spent: never refused, once per attempt and token; the next claim sees it.
CREATE OR REPLACE FUNCTION execution_overdraw_v1(p_step uuid, p_attempt uuid, p_token text, p_cost numeric, p_count bigint)
RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    s record;
    v_new boolean;
BEGIN
    SELECT x.run_id, x.agent_id, x.epoch INTO s FROM execution_step x WHERE x.id = p_step;
    PERFORM 1 FROM execution_run r WHERE r.id = s.run_id FOR NO KEY UPDATE;
    PERFORM 1 FROM execution_agent a WHERE a.id = s.agent_id AND (a.budget_cost IS NOT NULL OR a.budget_tokens IS NOT NULL)
        FOR NO KEY UPDATE;
    INSERT INTO execution_checkpoint (step_id, token, kind, position, epoch, size, cost, tokens, saved_at)
    VALUES (p_step, 'late:' || p_attempt || ':' || p_token, 'late', 0, s.epoch, 0, p_cost, p_count, clock_timestamp())
    ON CONFLICT (step_id, token) DO NOTHING;
    v_new := FOUND;
    IF v_new THEN
        UPDATE execution_run r SET spent_cost = r.spent_cost + p_cost, spent_tokens = r.spent_tokens + p_count WHERE r.id = s.run_id;
        UPDATE execution_agent a SET spent_cost = a.spent_cost + p_cost, spent_tokens = a.spent_tokens + p_count
        WHERE a.id = s.agent_id AND (a.budget_cost IS NOT NULL OR a.budget_tokens IS NOT NULL);
        UPDATE execution_attempt t SET cost = t.cost + p_cost, tokens = t.tokens + p_count WHERE t.id = p_attempt;
        PERFORM execution_pass_on_v1(s.run_id, p_cost, p_count);
        PERFORM execution_log_v1('budget.overdrawn', s.run_id, p_step, s.agent_id, s.epoch,
                                 jsonb_build_object('token', p_token, 'cost', p_cost, 'tokens', p_count));
    END IF;
    RETURN v_new;
END $$;
