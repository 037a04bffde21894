-- Mark steps that just became ready as rung, as far as their queue's window has room; the caller then publishes.
CREATE OR REPLACE FUNCTION execution_ring_v1(p_steps uuid[], p_window int)
RETURNS TABLE (step_id uuid, skill text, queue text, priority smallint, canvas jsonb)
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH asked AS (
        SELECT s.id, s.queue, row_number() OVER (PARTITION BY s.queue ORDER BY s.priority DESC, s.id) AS place
        FROM execution_step s WHERE s.id = ANY (p_steps) AND s.state = 'ready' AND s.rung_at IS NULL
    ), rooms AS (
        SELECT q.queue, execution_window_v1(q.queue, p_window) - (
            SELECT count(*) FROM (SELECT 1 FROM execution_step o WHERE o.state = 'ready' AND o.rung_at IS NOT NULL
                                  AND o.queue = q.queue LIMIT p_window) x) AS room
        FROM (SELECT DISTINCT a.queue FROM asked a) q
    ), held AS (
        SELECT s.id FROM execution_step s
        WHERE s.id IN (SELECT a.id FROM asked a JOIN rooms r ON r.queue = a.queue WHERE a.place <= r.room)
          AND s.state = 'ready' AND s.rung_at IS NULL
        ORDER BY s.id FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE execution_step s SET rung_at = clock_timestamp(), ring_count = 1 FROM held h WHERE s.id = h.id
    RETURNING s.id, s.skill::text, s.queue::text, s.priority,
              s.canvas - '{follows,chord,foreign_chord,children,state}'::text[];
END $$;
