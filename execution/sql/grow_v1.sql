-- Grow a step's reservation, on the step and on every budget that it draws from.
CREATE OR REPLACE FUNCTION execution_grow_v1(p_step uuid, p_run uuid, p_agent uuid, p_cost numeric, p_count bigint)
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF p_cost = 0 AND p_count = 0 THEN
        RETURN;
    END IF;
    UPDATE execution_run r SET reserved_cost = r.reserved_cost + p_cost, reserved_tokens = r.reserved_tokens + p_count
    WHERE r.id = p_run AND (r.budget_cost IS NOT NULL OR r.budget_tokens IS NOT NULL);
    UPDATE execution_agent a SET reserved_cost = a.reserved_cost + p_cost, reserved_tokens = a.reserved_tokens + p_count
    WHERE a.id = p_agent AND (a.budget_cost IS NOT NULL OR a.budget_tokens IS NOT NULL);
    UPDATE execution_step x SET reserved_cost = x.reserved_cost + p_cost, reserved_tokens = x.reserved_tokens + p_count
    WHERE x.id = p_step;
END $$;
