-- Claim one ready step for one attempt: state, level, lockouts, breaker, key, rate and budget are checked, the lease
-- taken and the budget reserved in one transaction. Locks: run, agent, key, breaker, step. Claiming again with
-- the same attempt id returns the same claim. With p_plain it waits for no lock: what has a key, a budget, a reserve or a
-- breaker that is not closed is left to others. Verdicts: claimed, refused (with the reason), later, nothing, unknown.
-- What a rule here may hold back must not count as small in claim_further_v1, which claims without these rules.
CREATE OR REPLACE FUNCTION execution_claim_v1(
    p_step uuid, p_attempt uuid, p_worker uuid, p_pid int, p_alone boolean DEFAULT true, p_plain boolean DEFAULT false
) RETURNS TABLE (
    verdict text, reason text, step_id uuid, attempt_id uuid, run_id uuid, agent_id uuid, agent_name text, skill text, step_name text,
    version text, epoch int, is_resumed boolean, correlation_id text, root_run_id uuid, parent_step_id uuid,
    is_limited boolean, reserved_cost numeric, reserved_tokens bigint, lease_seconds int, retry_count int,
    use_fallback boolean, options jsonb, canvas jsonb, input bytea, is_input_left_out boolean, queue text,
    priority smallint, claimed_at timestamptz, deadline_at timestamptz, first_started_at timestamptz
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
    v_run uuid;
    v_agent uuid;
    s execution_step%ROWTYPE;
    c record;
    k execution_concurrencykey%ROWTYPE;
    v_refusal text;
    v_state text := 'waiting';
    v_wake timestamptz;
    v_timer text;
    v_fallback boolean := false;
    v_running int;
    v_tokens double precision;
BEGIN
    SELECT x.run_id, x.agent_id, x.state, x.attempt_id, x.is_suspect, x.key INTO c FROM execution_step x WHERE x.id = p_step;
    IF NOT FOUND THEN
        verdict := 'unknown'; RETURN NEXT; RETURN;
    END IF;
    IF c.state <> 'ready' AND NOT (c.state = 'running' AND c.attempt_id = p_attempt) THEN
        verdict := 'nothing'; reason := c.state; RETURN NEXT; RETURN;
    END IF;
    IF c.is_suspect AND NOT p_alone THEN
        verdict := 'later'; reason := 'suspect'; RETURN NEXT; RETURN;
    END IF;
    v_run := c.run_id; v_agent := c.agent_id;

    IF p_plain THEN
        IF NOT pg_try_advisory_xact_lock_shared(uuid_hash_extended(v_run, 7001))
           OR NOT pg_try_advisory_xact_lock_shared(uuid_hash_extended(v_agent, 7002)) THEN
            verdict := 'later'; reason := 'held'; RETURN NEXT; RETURN;
        END IF;
    ELSE
        PERFORM pg_advisory_xact_lock_shared(uuid_hash_extended(v_run, 7001));
        PERFORM pg_advisory_xact_lock_shared(uuid_hash_extended(v_agent, 7002));
        PERFORM 1 FROM execution_run x JOIN execution_agent a ON a.id = v_agent
            WHERE x.id = v_run AND (x.budget_cost IS NOT NULL OR x.budget_tokens IS NOT NULL
                                    OR a.budget_cost IS NOT NULL OR a.budget_tokens IS NOT NULL) FOR NO KEY UPDATE OF x;
        PERFORM 1 FROM execution_agent x WHERE x.id = v_agent AND (x.budget_cost IS NOT NULL OR x.budget_tokens IS NOT NULL)
            FOR NO KEY UPDATE;
        IF c.key IS NOT NULL THEN
            SELECT * INTO k FROM execution_concurrencykey x WHERE x.name = c.key FOR NO KEY UPDATE;
        END IF;
        PERFORM 1 FROM execution_step x JOIN execution_breaker b ON b.name = x.breaker AND b.state <> 'closed'
            WHERE x.id = p_step FOR NO KEY UPDATE OF b;
    END IF;
    v_now := clock_timestamp();  -- after the locks: a rate is counted from the claim before

    -- Everything that decides, read in one statement after the locks, with the step locked last. By the primary key alone:
    -- a state in the condition would invite the planner to a partial index full of dead rows.
    SELECT r.state AS run_state, r.forked_from_id, r.correlation_id, r.root_run_id, r.parent_step_id, r.deadline_at,
           r.input AS run_input, a.name AS agent_name, b.state AS breaker_state, b.probe_at,
           r.budget_cost IS NOT NULL OR r.budget_tokens IS NOT NULL AS run_limited,
           a.budget_cost IS NOT NULL OR a.budget_tokens IS NOT NULL AS agent_limited,
           x.level > a.level AND NOT x.is_approved AS is_above_level,
           x.capability <> '' AND EXISTS (
               SELECT 1 FROM execution_capabilitylockout l
               WHERE l.capability = x.capability AND l.lifted_at IS NULL AND (l.agent_id IS NULL OR l.agent_id = x.agent_id)
                 AND (l.until IS NULL OR l.until > v_now)) AS is_locked_out,
           coalesce(execution_lacks_v1(r.budget_cost, r.spent_cost + r.reserved_cost, x.reserve_cost), false)
               OR coalesce(execution_lacks_v1(r.budget_tokens, r.spent_tokens + r.reserved_tokens, x.reserve_tokens), false)
               OR coalesce(execution_lacks_v1(a.budget_cost, a.spent_cost + a.reserved_cost, x.reserve_cost), false)
               OR coalesce(execution_lacks_v1(a.budget_tokens, a.spent_tokens + a.reserved_tokens, x.reserve_tokens), false)
               AS is_over_budget,
           x.key IS NULL AND x.reserve_cost = 0 AND x.reserve_tokens = 0 AS is_plain,
           x.options ? 'fallback' AS has_fallback, x.capability, x.epoch, x.state, x.attempt_id, x.breaker, x.lease_seconds
    INTO c
    FROM execution_step x
    JOIN execution_run r ON r.id = x.run_id
    JOIN execution_agent a ON a.id = x.agent_id
    LEFT JOIN execution_breaker b ON b.name = x.breaker AND b.state <> 'closed'
    WHERE x.id = p_step
    FOR NO KEY UPDATE OF x;
    IF c.state <> 'ready' AND NOT (c.state = 'running' AND c.attempt_id = p_attempt) THEN
        verdict := 'nothing'; reason := c.state; RETURN NEXT; RETURN;
    END IF;
    IF p_plain AND (NOT c.is_plain OR c.run_limited OR c.agent_limited OR c.breaker_state IS NOT NULL) THEN
        verdict := 'later'; reason := 'not plain'; RETURN NEXT; RETURN;
    END IF;

    IF c.state = 'running' THEN
        v_refusal := NULL;
    ELSIF c.run_state NOT IN ('pending', 'running') OR c.deadline_at <= v_now THEN
        v_refusal := 'paused';
    ELSIF c.is_above_level THEN
        v_refusal := 'autonomy'; v_state := 'parked';
    ELSIF c.is_locked_out THEN
        v_refusal := 'lockout'; v_timer := 'sleep';
        SELECT max(l.until) INTO v_wake FROM execution_capabilitylockout l
        WHERE l.capability = c.capability AND l.lifted_at IS NULL AND (l.agent_id IS NULL OR l.agent_id = v_agent)
          AND l.until > v_now;
    ELSIF c.is_over_budget THEN
        v_refusal := 'budget'; v_state := 'parked';
    ELSIF c.probe_at > v_now THEN
        IF c.has_fallback THEN
            v_fallback := true;
        ELSE
            v_refusal := 'breaker'; v_wake := c.probe_at;  -- the wake-up lets one probe through: no timer each
        END IF;
    END IF;

    IF v_refusal IS NULL AND c.state = 'ready' AND k.name IS NOT NULL THEN
        IF k.limit_count IS NOT NULL THEN
            SELECT count(*) INTO v_running FROM execution_step x WHERE x.key = k.name AND x.state = 'running';
            IF v_running >= k.limit_count THEN
                v_refusal := 'key';
            END IF;
        END IF;
        IF v_refusal IS NULL AND k.rate_count IS NOT NULL THEN
            v_tokens := least(k.rate_count, k.token_count
                + extract(epoch FROM v_now - k.refilled_at) * k.rate_count / k.rate_seconds);
            IF v_tokens < 1 THEN
                v_refusal := 'key'; v_timer := 'rate';
                v_wake := v_now + make_interval(secs => (1 - v_tokens) * k.rate_seconds / k.rate_count);
            ELSE
                v_tokens := v_tokens - 1;
            END IF;
            UPDATE execution_concurrencykey x SET token_count = v_tokens, refilled_at = v_now WHERE x.name = k.name;
        END IF;
    END IF;

    IF v_refusal IS NOT NULL THEN
        UPDATE execution_step x SET state = v_state, waiting = v_refusal, wake_at = v_wake, rung_at = NULL,
               ring_count = 0, changed_at = v_now
        WHERE x.id = p_step;
        IF v_timer IS NOT NULL AND v_wake IS NOT NULL THEN
            INSERT INTO execution_timer (id, kind, due_at, step_id, run_id, epoch, created_at)
            VALUES (execution_uuid7_v1(), v_timer, v_wake, p_step, v_run, c.epoch, v_now);
        END IF;
        IF v_state = 'parked' THEN
            UPDATE execution_run x SET state = 'parked', waiting = v_refusal
            WHERE x.id = v_run AND x.state IN ('pending', 'running');
            PERFORM execution_log_v1('run.parked', v_run, p_step, v_agent, c.epoch, jsonb_build_object('reason', v_refusal));
        END IF;
        verdict := 'refused'; reason := v_refusal; RETURN NEXT; RETURN;
    END IF;

    IF c.state = 'running' THEN
        SELECT * INTO s FROM execution_step x WHERE x.id = p_step;
    ELSE
        UPDATE execution_step x SET
            state = 'running', waiting = '', control = '', epoch = x.epoch + 1, attempt_id = p_attempt,
            worker_id = p_worker, lease_until = v_now + make_interval(secs => x.lease_seconds), wake_at = NULL,
            awaits = NULL, rung_at = NULL, ring_count = 0, reserved_cost = x.reserve_cost,
            reserved_tokens = x.reserve_tokens, changed_at = v_now, started_at = coalesce(x.started_at, v_now)
        WHERE x.id = p_step
        RETURNING * INTO s;
    END IF;
    IF c.state = 'ready' THEN
        WITH begun AS (
            INSERT INTO execution_attempt (id, step_id, run_id, epoch, worker_id, pid, version, started_at, is_alone)
            VALUES (p_attempt, p_step, v_run, s.epoch, p_worker, p_pid, s.version, v_now, s.is_suspect)
        ), moved AS (
            UPDATE execution_run x SET state = 'running', started_at = v_now
            WHERE x.id = v_run AND x.state = 'pending' AND c.run_state = 'pending'
        )
        INSERT INTO execution_event (id, xid, at, kind, run_id, step_id, agent_id, epoch, data)
        VALUES (execution_uuid7_v1(), pg_current_xact_id()::text::bigint, v_now, 'step.started', v_run, p_step, v_agent, s.epoch,
                jsonb_build_object('worker', p_worker));
        IF s.phase_id IS NOT NULL THEN
            PERFORM execution_begin_phase_v1(s.phase_id, v_now);
        END IF;
        IF c.breaker_state IS NOT NULL AND NOT v_fallback THEN
            UPDATE execution_breaker x SET state = 'probing', probe_step_id = p_step,
                   probe_at = v_now + make_interval(secs => greatest(x.cooldown_seconds, s.lease_seconds))
            WHERE x.name = s.breaker;
        END IF;
        IF s.reserve_cost > 0 OR s.reserve_tokens > 0 THEN
            UPDATE execution_run x SET reserved_cost = x.reserved_cost + s.reserve_cost,
                   reserved_tokens = x.reserved_tokens + s.reserve_tokens WHERE x.id = v_run AND c.run_limited;
            UPDATE execution_agent x SET reserved_cost = x.reserved_cost + s.reserve_cost,
                   reserved_tokens = x.reserved_tokens + s.reserve_tokens WHERE x.id = v_agent AND c.agent_limited;
        END IF;
    END IF;

    verdict := 'claimed'; reason := ''; step_id := s.id; attempt_id := p_attempt; run_id := v_run; agent_id := v_agent; agent_name := c.agent_name;
    skill := s.skill; step_name := s.name; version := s.version; epoch := s.epoch;
    is_resumed := s.epoch > 1 OR c.forked_from_id IS NOT NULL;
    correlation_id := c.correlation_id; root_run_id := c.root_run_id; parent_step_id := c.parent_step_id;
    is_limited := c.run_limited OR c.agent_limited;
    reserved_cost := s.reserved_cost; reserved_tokens := s.reserved_tokens; lease_seconds := s.lease_seconds;
    retry_count := s.retry_count; use_fallback := v_fallback;
    options := CASE WHEN s.is_suspect THEN s.options || '{"is_alone": true}' ELSE s.options END; canvas := s.canvas;
    -- Small inputs ride along; large ones are loaded afterwards, when no lock is held.
    input := CASE WHEN octet_length(coalesce(s.input, c.run_input)) <= 8192 THEN coalesce(s.input, c.run_input) END;
    is_input_left_out := coalesce(octet_length(coalesce(s.input, c.run_input)) > 8192, false);
    queue := s.queue; priority := s.priority; claimed_at := v_now; deadline_at := c.deadline_at;
    first_started_at := s.started_at;
    RETURN NEXT;
END $$;
