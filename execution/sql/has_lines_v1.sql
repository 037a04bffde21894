-- Tell whether ready steps of more than one agent or priority wait in a queue. It reads the two ends of the line without
-- messages, and the messages that are out, of which there are never more than a window.
CREATE OR REPLACE FUNCTION execution_has_lines_v1(p_queue text)
RETURNS boolean LANGUAGE sql STABLE SET enable_seqscan = off SET enable_bitmapscan = off AS $$
    SELECT count(*) > 1 FROM (
        SELECT DISTINCT r.priority, r.agent_id FROM execution_step r
        WHERE r.state = 'ready' AND r.rung_at IS NOT NULL AND r.queue = p_queue
        UNION
        (SELECT u.priority, u.agent_id FROM execution_step u
         WHERE u.state = 'ready' AND u.rung_at IS NULL AND u.queue = p_queue
         ORDER BY u.queue, u.priority DESC, u.agent_id LIMIT 1)
        UNION
        (SELECT u.priority, u.agent_id FROM execution_step u
         WHERE u.state = 'ready' AND u.rung_at IS NULL AND u.queue = p_queue
         ORDER BY u.queue DESC, u.priority, u.agent_id DESC LIMIT 1)
    ) l
$$;
