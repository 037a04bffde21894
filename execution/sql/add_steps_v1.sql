-- Add steps to a run, with what they need of each other: `needs` of a step names others by their place in the list.
-- The caller makes the ids, in order, and says from which position they count; with a moment the first ones wait for it.
-- A step's `phase` is a place in the list of phases. With a limit only so many of those that need nothing are ready: each one that ends lets the next begin.
CREATE OR REPLACE FUNCTION execution_add_steps_v1(
    p_run uuid, p_agent uuid, p_ids uuid[], p_steps jsonb, p_first int, p_start timestamptz DEFAULT NULL, p_limit int DEFAULT NULL,
    p_phases uuid[] DEFAULT NULL
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_later boolean := coalesce(p_start > v_now, false);
BEGIN
    INSERT INTO execution_step (
        id, run_id, agent_id, name, skill, version, position, phase_id, state, waiting, pending_count, queue, priority, key, breaker,
        capability, level, lease_seconds, reserve_cost, reserve_tokens, options, input, wake_at, created_at, changed_at)
    SELECT p_ids[o.n::int], p_run, coalesce(t.agent_id, p_agent), t.name, t.skill, coalesce(t.version, ''), p_first + o.n - 1,
           p_phases[t.phase + 1],
           CASE WHEN h.is_held OR h.count > 0 THEN 'blocked' WHEN v_later THEN 'waiting' ELSE 'ready' END,
           CASE WHEN h.is_held OR h.count > 0 THEN 'needs' WHEN v_later THEN 'timer' ELSE 'capacity' END,
           CASE WHEN h.is_held THEN 1 ELSE h.count END, coalesce(t.queue, 'default'), coalesce(t.priority, 0),
           t.concurrency_key, coalesce(t.breaker, t.skill), coalesce(t.capability, ''), coalesce(t.level, 0),
           coalesce(t.lease_seconds, 30), coalesce(t.reserve_cost, 0), coalesce(t.reserve_tokens, 0), coalesce(t.options, '{}'),
           decode(t.input, 'base64'), CASE WHEN v_later AND h.count = 0 THEN p_start END, v_now, v_now
    FROM jsonb_array_elements(p_steps) WITH ORDINALITY AS o(step, n)
    CROSS JOIN LATERAL jsonb_to_record(o.step) AS t(
        name text, skill text, version text, agent_id uuid, phase int, queue text, priority smallint, concurrency_key text, breaker text,
        capability text, level smallint, lease_seconds int, reserve_cost numeric, reserve_tokens bigint, options jsonb,
        input text)
    CROSS JOIN LATERAL (SELECT coalesce(jsonb_array_length(o.step -> 'needs'), 0) AS count, coalesce(o.n > p_limit, false) AS is_held) h;
    INSERT INTO execution_need (step_id, needed_id)
    SELECT p_ids[o.n::int], p_ids[(w.place)::int + 1]
    FROM jsonb_array_elements(p_steps) WITH ORDINALITY AS o(step, n)
    CROSS JOIN LATERAL jsonb_array_elements_text(o.step -> 'needs') AS w(place)
    WHERE o.step ? 'needs';
    IF v_later THEN
        INSERT INTO execution_timer (id, kind, due_at, step_id, run_id, epoch, created_at)
        SELECT execution_uuid7_v1(), 'start', p_start, x.id, p_run, 0, v_now FROM execution_step x
        WHERE x.id = ANY (p_ids) AND x.state = 'waiting';
    END IF;
END $$;
