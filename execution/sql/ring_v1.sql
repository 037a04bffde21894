-- Mark steps that just became ready as rung, as far as their queue's window has room; the caller then publishes. Each is looked up
-- by its primary key and each queue's room is counted once: a state in the conditions would invite the planner to a partial index of
-- the whole backlog, and a room in the join to a count for every pair of steps.
CREATE OR REPLACE FUNCTION execution_ring_v1(p_steps uuid[], p_window int)
RETURNS TABLE (step_id uuid, skill text, queue text, priority smallint, canvas jsonb)
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_ids uuid[];
BEGIN
    WITH asked AS MATERIALIZED (
        SELECT s.id, s.queue, row_number() OVER (PARTITION BY s.queue ORDER BY s.priority DESC, s.id) AS place
        FROM unnest(p_steps) AS n(id)
        CROSS JOIN LATERAL (SELECT x.* FROM execution_step x WHERE x.id = n.id OFFSET 0) s
        WHERE s.state = 'ready' AND s.rung_at IS NULL
    ), rooms AS MATERIALIZED (
        SELECT q.queue, execution_window_v1(q.queue, p_window) - (
            SELECT count(*) FROM (SELECT 1 FROM execution_step o WHERE o.state = 'ready' AND o.rung_at IS NOT NULL
                                  AND o.queue = q.queue LIMIT p_window) x) AS room
        FROM (SELECT DISTINCT a.queue FROM asked a) q
    )
    SELECT array_agg(a.id) INTO v_ids FROM rooms r JOIN asked a ON a.queue = r.queue AND a.place <= r.room;

    RETURN QUERY
    WITH held AS (
        SELECT s.id, s.state = 'ready' AND s.rung_at IS NULL AS may_ring FROM unnest(v_ids) AS n(id)
        JOIN execution_step s ON s.id = n.id
        ORDER BY s.id FOR NO KEY UPDATE OF s SKIP LOCKED
    )
    UPDATE execution_step s SET rung_at = clock_timestamp(), ring_count = 1 FROM held h WHERE s.id = h.id AND h.may_ring
    RETURNING s.id, s.skill::text, s.queue::text, s.priority,
              s.canvas - '{follows,chord,foreign_chord,children,state}'::text[];
END $$;
