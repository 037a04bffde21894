-- How many messages a queue may have outstanding: enough to keep every living slot busy, and at most the window. What has no message
-- is claimed by the processes that end a step, in the ledger's order, or rung for by the next tick.
CREATE OR REPLACE FUNCTION execution_window_v1(p_queue text, p_most int) RETURNS int LANGUAGE sql STABLE AS $$
    SELECT least(p_most, greatest(20, 4 * coalesce(sum(w.slot_count), 0)::int)) FROM execution_worker w
    WHERE w.gone_at IS NULL AND NOT w.is_draining AND p_queue = ANY (w.queues)
$$;
