-- Mark workers as gone. The messages that they had taken and not answered went with them: what was rung for on their queues is
-- rung for again, as if for the first time.
CREATE OR REPLACE FUNCTION execution_bury_v1(p_workers uuid[]) RETURNS void LANGUAGE sql VOLATILE AS $$
    WITH gone AS (
        UPDATE execution_worker w SET gone_at = clock_timestamp(), free_count = 0
        WHERE w.id = ANY (p_workers) AND w.gone_at IS NULL RETURNING w.queues
    ), rung AS (
        SELECT s.id FROM execution_step s
        WHERE s.state = 'ready' AND s.rung_at IS NOT NULL AND s.queue IN (SELECT unnest(g.queues) FROM gone g)
        ORDER BY s.id FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE execution_step s SET rung_at = NULL, ring_count = 0 FROM rung r WHERE s.id = r.id
$$;
