-- All steps that these came from, or, forwards, all that came from them; each once, and none of the first unless another leads
-- there. It ends on a circle too.
CREATE OR REPLACE FUNCTION execution_lineage_v1(p_steps uuid[], p_forwards boolean) RETURNS TABLE (step_id uuid)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
    IF p_forwards THEN
        RETURN QUERY WITH RECURSIVE walk(id) AS (
            SELECT l.step_id FROM execution_lineage l WHERE l.parent_id = ANY (p_steps)
            UNION SELECT l.step_id FROM walk w JOIN execution_lineage l ON l.parent_id = w.id) SELECT w.id FROM walk w;
    ELSE
        RETURN QUERY WITH RECURSIVE walk(id) AS (
            SELECT l.parent_id FROM execution_lineage l WHERE l.step_id = ANY (p_steps)
            UNION SELECT l.parent_id FROM walk w JOIN execution_lineage l ON l.step_id = w.id) SELECT w.id FROM walk w;
    END IF;
END $$;
