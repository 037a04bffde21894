-- Claim with a small step, in its transaction, the small steps that wait behind it: of the same agent and priority, each a run of
-- its own that was never begun, of a skill that lately took milliseconds, and with nothing that could refuse or limit it. At most
-- half of what is seen is taken, so that other processes find some; no lock is waited for, and claim_v1 holds the agent's already.
CREATE OR REPLACE FUNCTION execution_claim_further_v1(
    p_first uuid, p_attempts uuid[], p_quick text[], p_worker uuid, p_pid int
) RETURNS TABLE (
    verdict text, reason text, step_id uuid, attempt_id uuid, run_id uuid, agent_id uuid, agent_name text, skill text, step_name text,
    version text, epoch int, is_resumed boolean, correlation_id text, root_run_id uuid, parent_step_id uuid,
    is_limited boolean, reserved_cost numeric, reserved_tokens bigint, lease_seconds int, retry_count int,
    use_fallback boolean, options jsonb, canvas jsonb, input bytea, is_input_left_out boolean, queue text,
    priority smallint, claimed_at timestamptz, deadline_at timestamptz, first_started_at timestamptz
) LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
    f record;
    v_ids uuid[];
BEGIN
    SELECT x.queue, x.priority, x.agent_id INTO f FROM execution_step x
    WHERE x.id = p_first AND x.skill = ANY (p_quick) AND x.id = x.run_id AND NOT x.options ? 'timebox'
      AND NOT coalesce(x.canvas ? 'follows', false);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT array_agg(y.id) INTO v_ids FROM (
        SELECT w.*, row_number() OVER (ORDER BY w.id) AS place, count(*) OVER () AS waiting_count FROM (
            SELECT x.id, x.run_id, x.skill = ANY (p_quick) AND x.epoch = 0 AND x.id = x.run_id AND x.key IS NULL
                   AND x.reserve_cost = 0 AND x.reserve_tokens = 0 AND x.capability = '' AND NOT x.options ? 'timebox'
                   AND NOT coalesce(x.canvas ?| '{timelimit,follows}', false) AS is_small
            FROM execution_step x
            WHERE x.state = 'ready' AND x.rung_at IS NULL AND x.queue = f.queue AND x.priority = f.priority AND x.agent_id = f.agent_id
            ORDER BY x.queue, x.priority DESC, x.agent_id, x.id LIMIT 2 * cardinality(p_attempts)) w
    ) y
    WHERE y.is_small AND y.place <= (y.waiting_count + 1) / 2
      AND pg_try_advisory_xact_lock_shared(uuid_hash_extended(y.run_id, 7001));
    IF v_ids IS NULL THEN
        RETURN;
    END IF;

    -- What decides is read after the locks, by primary keys alone: a state in the conditions would invite the planner to a
    -- partial index full of dead rows. Who holds a step at this moment keeps it.
    SELECT array_agg(h.id) FILTER (WHERE h.may_start) INTO v_ids FROM (
        SELECT x.id, x.state = 'ready' AND x.epoch = 0 AND r.state = 'pending' AND (x.level <= a.level OR x.is_approved)
               AND r.budget_cost IS NULL AND r.budget_tokens IS NULL AND a.budget_cost IS NULL AND a.budget_tokens IS NULL
               AND b.name IS NULL AND (r.deadline_at > clock_timestamp()) IS NOT FALSE AS may_start
        FROM unnest(v_ids) AS n(id)
        JOIN execution_step x ON x.id = n.id
        JOIN execution_run r ON r.id = n.id
        JOIN execution_agent a ON a.id = x.agent_id
        LEFT JOIN execution_breaker b ON b.name = x.breaker AND b.state <> 'closed'
        ORDER BY x.id FOR NO KEY UPDATE OF x SKIP LOCKED) h;
    v_now := clock_timestamp();
    RETURN QUERY
        WITH claimed AS (
            UPDATE execution_step x SET
                state = 'running', waiting = '', control = '', epoch = x.epoch + 1, attempt_id = n.attempt,
                worker_id = p_worker, lease_until = v_now + make_interval(secs => x.lease_seconds), wake_at = NULL,
                rung_at = NULL, ring_count = 0, changed_at = v_now, started_at = v_now
            FROM unnest(v_ids, p_attempts) AS n(id, attempt) WHERE x.id = n.id
            RETURNING x.id, n.attempt, x.agent_id, x.skill, x.name, x.version, x.epoch, x.lease_seconds, x.retry_count, x.options,
                      x.canvas, x.input, x.queue, x.priority
        ), begun AS (
            INSERT INTO execution_attempt (id, step_id, run_id, epoch, worker_id, pid, version, started_at)
            SELECT c.attempt, c.id, c.id, c.epoch, p_worker, p_pid, c.version, v_now FROM claimed c
        ), moved AS (
            UPDATE execution_run r SET state = 'running', started_at = v_now FROM claimed c WHERE r.id = c.id
        ), logged AS (
            INSERT INTO execution_event (id, xid, at, kind, run_id, step_id, agent_id, epoch, data)
            SELECT execution_uuid7_v1(), pg_current_xact_id()::text::bigint, v_now, 'step.started', c.id, c.id, c.agent_id, c.epoch,
                   jsonb_build_object('worker', p_worker)
            FROM claimed c
        )
        SELECT 'claimed', '', c.id, c.attempt, c.id, c.agent_id, a.name::text, c.skill::text, c.name::text, c.version::text, c.epoch,
               r.forked_from_id IS NOT NULL, r.correlation_id::text, r.root_run_id, r.parent_step_id, false, 0::numeric, 0::bigint,
               c.lease_seconds, c.retry_count, false, c.options, c.canvas,
               CASE WHEN octet_length(coalesce(c.input, r.input)) <= 8192 THEN coalesce(c.input, r.input) END,
               coalesce(octet_length(coalesce(c.input, r.input)) > 8192, false), c.queue::text, c.priority, v_now, r.deadline_at, v_now
        FROM claimed c JOIN execution_run r ON r.id = c.id JOIN execution_agent a ON a.id = c.agent_id
        ORDER BY c.id;
END $$;
