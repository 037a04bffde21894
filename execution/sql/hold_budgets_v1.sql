-- Lock the run and the agent of a step where one of them has a budget; the first locks of every write that moves money. The run's
-- row goes first also where only the agent is limited, and always for who settles, because what is spent is written into it.
-- Sharing the agent's lock keeps it from getting or losing a budget meanwhile.
CREATE OR REPLACE FUNCTION execution_hold_budgets_v1(p_step uuid, p_settles boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_run uuid;
    v_agent uuid;
BEGIN
    SELECT x.run_id, x.agent_id INTO v_run, v_agent FROM execution_step x WHERE x.id = p_step;
    PERFORM pg_advisory_xact_lock_shared(uuid_hash_extended(v_agent, 7002));
    PERFORM 1 FROM execution_run r JOIN execution_agent a ON a.id = v_agent
        WHERE r.id = v_run AND (p_settles OR r.budget_cost IS NOT NULL OR r.budget_tokens IS NOT NULL
                                OR a.budget_cost IS NOT NULL OR a.budget_tokens IS NOT NULL) FOR NO KEY UPDATE OF r;
    PERFORM 1 FROM execution_agent a WHERE a.id = v_agent AND (a.budget_cost IS NOT NULL OR a.budget_tokens IS NOT NULL)
        FOR NO KEY UPDATE;
END $$;
