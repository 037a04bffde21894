-- Say which ready step of the queue goes before the one that a message names, if one does: a more urgent one, or, among equals, one
-- of the agent whose turn it is after the agent served last. So the ledger's order holds, whatever stands in the broker: a message
-- is only a permission to look. There are never more rung steps than a window.
CREATE OR REPLACE FUNCTION execution_turn_v1(p_step uuid, p_last_agent uuid, p_skills text[])
RETURNS uuid LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    m record;
    v_priority smallint;
    v_agent uuid;
BEGIN
    SELECT s.queue, s.priority, s.agent_id, s.state INTO m FROM execution_step s WHERE s.id = p_step;
    IF NOT FOUND OR m.state <> 'ready' THEN
        RETURN NULL;
    END IF;
    v_priority := greatest(
        (SELECT max(r.priority) FROM execution_step r WHERE r.state = 'ready' AND r.rung_at IS NOT NULL AND r.queue = m.queue),
        (SELECT u.priority FROM execution_step u WHERE u.state = 'ready' AND u.rung_at IS NULL AND u.queue = m.queue
         ORDER BY u.queue, u.priority DESC, u.agent_id LIMIT 1));
    IF v_priority < m.priority THEN
        RETURN NULL;
    END IF;
    -- The next agent in a ring that begins behind the one served last.
    SELECT a.agent_id INTO v_agent FROM (
        SELECT r.agent_id FROM execution_step r
        WHERE r.state = 'ready' AND r.rung_at IS NOT NULL AND r.queue = m.queue AND r.priority = v_priority
        UNION ALL
        (SELECT u.agent_id FROM execution_step u WHERE u.state = 'ready' AND u.rung_at IS NULL AND u.queue = m.queue
         AND u.priority = v_priority AND u.agent_id > p_last_agent ORDER BY u.queue, u.priority DESC, u.agent_id LIMIT 1)
        UNION ALL
        (SELECT u.agent_id FROM execution_step u WHERE u.state = 'ready' AND u.rung_at IS NULL AND u.queue = m.queue
         AND u.priority = v_priority ORDER BY u.queue, u.priority DESC, u.agent_id LIMIT 1)
    ) a ORDER BY a.agent_id <= p_last_agent, a.agent_id LIMIT 1;
    IF v_priority = m.priority AND v_agent = m.agent_id THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT c.id FROM (
            (SELECT r.id, r.skill, r.is_suspect FROM execution_step r
             WHERE r.state = 'ready' AND r.rung_at IS NOT NULL AND r.queue = m.queue AND r.priority = v_priority
               AND r.agent_id = v_agent ORDER BY r.id LIMIT 5)
            UNION ALL
            (SELECT u.id, u.skill, u.is_suspect FROM execution_step u
             WHERE u.state = 'ready' AND u.rung_at IS NULL AND u.queue = m.queue AND u.priority = v_priority
               AND u.agent_id = v_agent ORDER BY u.queue, u.priority DESC, u.agent_id, u.id LIMIT 5)
        ) c WHERE c.skill = ANY (p_skills) AND NOT c.is_suspect ORDER BY c.id LIMIT 1);
END $$;
