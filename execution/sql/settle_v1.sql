-- Settle a step's reservation when its attempt ends: what was spent is booked, the rest is released, or charged too.
CREATE OR REPLACE FUNCTION execution_settle_v1(p_step uuid, p_attempt uuid, p_charge_all boolean DEFAULT false)
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    s record;
    v_cost numeric;
    v_count bigint;
BEGIN
    SELECT x.run_id, x.agent_id, x.reserved_cost, x.reserved_tokens, x.unsettled_cost, x.unsettled_tokens INTO s
    FROM execution_step x WHERE x.id = p_step;
    IF s.reserved_cost = 0 AND s.reserved_tokens = 0 AND s.unsettled_cost = 0 AND s.unsettled_tokens = 0 THEN
        RETURN;
    END IF;
    v_cost := CASE WHEN p_charge_all THEN greatest(s.reserved_cost, s.unsettled_cost) ELSE s.unsettled_cost END;
    v_count := CASE WHEN p_charge_all THEN greatest(s.reserved_tokens, s.unsettled_tokens) ELSE s.unsettled_tokens END;
    UPDATE execution_run r SET
        reserved_cost = r.reserved_cost - CASE WHEN r.budget_cost IS NULL AND r.budget_tokens IS NULL THEN 0 ELSE s.reserved_cost END,
        reserved_tokens = r.reserved_tokens - CASE WHEN r.budget_cost IS NULL AND r.budget_tokens IS NULL THEN 0 ELSE s.reserved_tokens END,
        spent_cost = r.spent_cost + v_cost, spent_tokens = r.spent_tokens + v_count
    WHERE r.id = s.run_id;
    UPDATE execution_agent a SET
        reserved_cost = a.reserved_cost - s.reserved_cost, reserved_tokens = a.reserved_tokens - s.reserved_tokens,
        spent_cost = a.spent_cost + v_cost, spent_tokens = a.spent_tokens + v_count
    WHERE a.id = s.agent_id AND (a.budget_cost IS NOT NULL OR a.budget_tokens IS NOT NULL);
    UPDATE execution_attempt t SET cost = v_cost, tokens = v_count WHERE t.id = p_attempt;
    UPDATE execution_step x SET reserved_cost = 0, reserved_tokens = 0, unsettled_cost = 0, unsettled_tokens = 0
    WHERE x.id = p_step;
END $$;
