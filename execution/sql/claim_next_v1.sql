-- Claim the step of a queue that is next in turn and that no message was sent for: the preferred ones first, then the most
-- urgent, in turn among agents. With p_plain it follows an ending in the same transaction and takes no lock that it
-- would have to wait for, because the ending's locks stand later in the order; what is not plain is left to others.
-- Claiming again with the same attempt id returns the same claim; without a queue nothing new is claimed. With p_further,
-- attempts for further steps, what waits behind a small step and is as small is claimed with it: see claim_further_v1.
CREATE OR REPLACE FUNCTION execution_claim_next_v1(
    p_queue text, p_skills text[], p_agent uuid, p_attempt uuid, p_worker uuid, p_pid int,
    p_plain boolean DEFAULT false, p_prefer uuid[] DEFAULT '{}',
    p_further uuid[] DEFAULT '{}', p_quick text[] DEFAULT '{}'
) RETURNS TABLE (
    verdict text, reason text, step_id uuid, attempt_id uuid, run_id uuid, agent_id uuid, agent_name text, skill text, step_name text,
    version text, epoch int, is_resumed boolean, correlation_id text, root_run_id uuid, parent_step_id uuid,
    is_limited boolean, reserved_cost numeric, reserved_tokens bigint, lease_seconds int, retry_count int,
    use_fallback boolean, options jsonb, canvas jsonb, input bytea, is_input_left_out boolean, queue text,
    priority smallint, claimed_at timestamptz, deadline_at timestamptz, first_started_at timestamptz
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_priority smallint;
    v_id uuid;
BEGIN
    SELECT t.step_id INTO v_id FROM execution_attempt t WHERE t.id = p_attempt;
    IF FOUND THEN
        RETURN QUERY SELECT * FROM execution_claim_v1(v_id, p_attempt, p_worker, p_pid, true, p_plain) c WHERE c.verdict = 'claimed';
        RETURN;
    END IF;
    SELECT s.priority INTO v_priority FROM execution_step s
    WHERE s.state = 'ready' AND s.rung_at IS NULL AND s.queue = p_queue ORDER BY s.queue, s.priority DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    FOR v_id IN
        (SELECT x.id FROM execution_step x
         WHERE x.id = ANY (p_prefer) AND x.state = 'ready' AND x.rung_at IS NULL AND x.queue = p_queue
           AND x.priority >= v_priority AND x.skill = ANY (p_skills) AND NOT x.is_suspect
           AND NOT coalesce(x.canvas ? 'timelimit', false))
        UNION ALL
        (SELECT y.id FROM (
            SELECT x.id, x.skill, x.is_suspect OR coalesce(x.canvas ? 'timelimit', false) AS is_suspect FROM execution_step x
            WHERE x.state = 'ready' AND x.rung_at IS NULL AND x.queue = p_queue AND x.priority = v_priority
              AND x.agent_id > p_agent
            ORDER BY x.queue, x.priority DESC, x.agent_id, x.id LIMIT 6) y
         WHERE y.skill = ANY (p_skills) AND NOT y.is_suspect)
        UNION ALL
        (SELECT y.id FROM (
            SELECT x.id, x.skill, x.is_suspect OR coalesce(x.canvas ? 'timelimit', false) AS is_suspect FROM execution_step x
            WHERE x.state = 'ready' AND x.rung_at IS NULL AND x.queue = p_queue AND x.priority = v_priority
              AND x.agent_id <= p_agent
            ORDER BY x.queue, x.priority DESC, x.agent_id, x.id LIMIT 6) y
         WHERE y.skill = ANY (p_skills) AND NOT y.is_suspect)
    LOOP
        IF NOT pg_try_advisory_xact_lock(uuid_hash_extended(v_id, 7004)) THEN
            CONTINUE;
        END IF;
        RETURN QUERY SELECT * FROM execution_claim_v1(v_id, p_attempt, p_worker, p_pid, true, p_plain) c WHERE c.verdict = 'claimed';
        IF FOUND AND p_plain AND cardinality(p_further) > 0 THEN
            RETURN QUERY SELECT * FROM execution_claim_further_v1(v_id, p_further, p_quick, p_worker, p_pid);
            RETURN;
        END IF;
        IF FOUND OR NOT p_plain THEN
            RETURN;
        END IF;
    END LOOP;
END $$;
