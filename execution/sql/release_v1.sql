-- Count one need as met for every step that needs this one; answers the steps that became ready. Locked by id.
CREATE OR REPLACE FUNCTION execution_release_v1(p_step uuid) RETURNS uuid[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_ready uuid[];
BEGIN
    WITH due AS (
        SELECT x.id FROM execution_step x JOIN execution_need n ON n.step_id = x.id
        WHERE n.needed_id = p_step AND x.state = 'blocked' ORDER BY x.id FOR NO KEY UPDATE OF x
    ), counted AS (
        UPDATE execution_step x SET pending_count = x.pending_count - 1,
            state = CASE WHEN x.pending_count <= 1 THEN 'ready' ELSE x.state END,
            waiting = CASE WHEN x.pending_count <= 1 THEN 'capacity' ELSE x.waiting END,
            changed_at = CASE WHEN x.pending_count <= 1 THEN clock_timestamp() ELSE x.changed_at END
        FROM due WHERE x.id = due.id RETURNING x.id, x.state
    )
    SELECT coalesce(array_agg(c.id), '{}') INTO v_ready FROM counted c WHERE c.state = 'ready';
    RETURN v_ready;
END $$;
