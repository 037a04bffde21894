-- Hold an agent alone: for who changes its level, lockouts or budget.
CREATE OR REPLACE FUNCTION execution_hold_agent_v1(p_agent uuid) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock(uuid_hash_extended(p_agent, 7002))
$$;
