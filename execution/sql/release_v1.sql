-- Count one need as met for every step that needs this one; answers the steps that became ready. Locked by id. Where this
-- one is an entry of a list of which only so many go at the same time, the next entry begins: the list's step is held then.
CREATE OR REPLACE FUNCTION execution_release_v1(p_step uuid) RETURNS uuid[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_ready uuid[];
    v_next uuid[];
    v_lists boolean;
BEGIN
    WITH due AS (
        SELECT x.id FROM execution_step x JOIN execution_need n ON n.step_id = x.id
        WHERE n.needed_id = p_step AND x.state = 'blocked' ORDER BY x.id FOR NO KEY UPDATE OF x
    ), counted AS (
        UPDATE execution_step x SET pending_count = x.pending_count - 1, released_count = x.released_count + 1,
            state = CASE WHEN x.pending_count <= 1 THEN 'ready' ELSE x.state END,
            waiting = CASE WHEN x.pending_count <= 1 THEN 'capacity' ELSE x.waiting END,
            changed_at = CASE WHEN x.pending_count <= 1 THEN clock_timestamp() ELSE x.changed_at END
        FROM due WHERE x.id = due.id RETURNING x.id, x.state, x.released_count
    )
    SELECT coalesce(array_agg(c.id) FILTER (WHERE c.state = 'ready'), '{}'), coalesce(bool_or(c.released_count IS NOT NULL), false)
    INTO v_ready, v_lists FROM counted c;
    IF v_lists THEN
        WITH begun AS (
            UPDATE execution_step y SET state = 'ready', waiting = 'capacity', pending_count = 0, changed_at = clock_timestamp()
            FROM execution_need n JOIN execution_step x ON x.id = n.step_id
            WHERE n.needed_id = p_step AND x.released_count IS NOT NULL AND y.run_id = x.run_id AND y.state = 'blocked'
              AND x.released_count <= (x.options #>> '{items,count}')::int
              AND y.position = (x.options #>> '{items,first}')::int + x.released_count - 1
            RETURNING y.id
        )
        SELECT array_agg(b.id) INTO v_next FROM begun b;
    END IF;
    RETURN v_ready || v_next;
END $$;
