-- Make sure that so much more may be spent, before it is: answers reserved, refused (the budget does not hold it) or stale.
CREATE OR REPLACE FUNCTION execution_reserve_v1(p_step uuid, p_epoch int, p_cost numeric, p_count bigint)
RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    s record;
    v_cost numeric;
    v_count bigint;
BEGIN
    PERFORM execution_hold_budgets_v1(p_step);
    SELECT * INTO s FROM execution_step x WHERE x.id = p_step FOR NO KEY UPDATE;
    IF s.epoch <> p_epoch OR s.state <> 'running' THEN
        RETURN 'stale';
    END IF;
    v_cost := greatest(s.unsettled_cost + p_cost - s.reserved_cost, 0);
    v_count := greatest(s.unsettled_tokens + p_count - s.reserved_tokens, 0);
    IF EXISTS (SELECT 1 FROM execution_run r WHERE r.id = s.run_id
               AND (r.spent_cost + r.reserved_cost + v_cost > r.budget_cost
                    OR r.spent_tokens + r.reserved_tokens + v_count > r.budget_tokens))
       OR EXISTS (SELECT 1 FROM execution_agent a WHERE a.id = s.agent_id
               AND (a.spent_cost + a.reserved_cost + v_cost > a.budget_cost
                    OR a.spent_tokens + a.reserved_tokens + v_count > a.budget_tokens)) THEN
        -- A top-up that comes before the step has parked finds this mark, and lets the step go on.
        UPDATE execution_step x SET waiting = 'budget' WHERE x.id = p_step;
        RETURN 'refused';
    END IF;
    PERFORM execution_grow_v1(p_step, s.run_id, s.agent_id, v_cost, v_count);
    RETURN 'reserved';
END $$;
