-- Share an agent's lock: no lockout or level changes between a claim's checks and its commit.
CREATE OR REPLACE FUNCTION execution_share_agent_v1(p_agent uuid) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock_shared(uuid_hash_extended(p_agent, 7002))
$$;
