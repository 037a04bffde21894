-- Charge a step. Its unsettled spending never passes what it holds reserved: a charge beyond it grows the reservation,
-- past the budget if need be, because spent money is real; the next claim then sees it.
CREATE OR REPLACE FUNCTION execution_charge_v1(p_step uuid, p_run uuid, p_agent uuid, p_cost numeric, p_count bigint)
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_cost numeric;
    v_count bigint;
BEGIN
    UPDATE execution_step x SET
        unsettled_cost = x.unsettled_cost + p_cost,
        unsettled_tokens = x.unsettled_tokens + p_count
    WHERE x.id = p_step
    RETURNING x.unsettled_cost - x.reserved_cost, x.unsettled_tokens - x.reserved_tokens INTO v_cost, v_count;
    PERFORM execution_grow_v1(p_step, p_run, p_agent, greatest(v_cost, 0), greatest(v_count, 0));
END $$;
