-- Owe a parent's step the news that its child run has ended, by an errand, when nothing of the child is performed any more:
-- what its steps still spend is booked by then. The caller holds the run alone, so that the last two steps cannot miss each other.
CREATE OR REPLACE FUNCTION execution_owe_parent_v1(p_run uuid) RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO execution_errand (id, kind, payload)
    SELECT execution_uuid7_v1(), 'child', jsonb_build_object('run', r.id, 'parent', r.parent_step_id, 'state', r.state)
    FROM execution_run r
    WHERE r.id = p_run AND r.parent_step_id IS NOT NULL AND r.state IN ('completed', 'failed', 'cancelled')
      AND NOT EXISTS (SELECT 1 FROM execution_step x WHERE x.run_id = p_run AND x.state = 'running')
      AND NOT EXISTS (SELECT 1 FROM execution_errand e WHERE e.kind = 'child' AND e.payload ->> 'run' = p_run::text
                      AND NOT e.payload ? 'late')
$$;
