-- Pass on to its parent what is booked on a child run after the parent was told of its end: the late costs of a fenced worker,
-- or of a grandchild, and what a grandchild gives back. The caller holds the run's row, which the telling locks as well.
CREATE OR REPLACE FUNCTION execution_pass_on_v1(
    p_run uuid, p_cost numeric, p_count bigint, p_back_cost numeric DEFAULT 0, p_back_count bigint DEFAULT 0
) RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO execution_errand (id, kind, payload)
    SELECT execution_uuid7_v1(), 'child', jsonb_build_object(
        'run', r.id, 'parent', r.parent_step_id, 'late', true, 'cost', p_cost, 'tokens', p_count,
        'back_cost', CASE WHEN r.carved_cost IS NULL THEN 0 ELSE p_back_cost END,
        'back_tokens', CASE WHEN r.carved_tokens IS NULL THEN 0 ELSE p_back_count END)
    FROM execution_run r
    WHERE r.id = p_run AND r.parent_step_id IS NOT NULL AND r.state IN ('completed', 'failed', 'cancelled')
      AND NOT EXISTS (SELECT 1 FROM execution_step x WHERE x.run_id = p_run AND x.state = 'running')
      AND NOT EXISTS (SELECT 1 FROM execution_errand e WHERE e.kind = 'child' AND e.payload ->> 'run' = p_run::text
                      AND NOT e.payload ? 'late')
$$;
