-- Open runs of one skill, or of one graph of steps, from one template, all in the caller's transaction. An id or an idempotency key
-- that is known already opens nothing and returns the first run, with the digest of its input.
CREATE OR REPLACE FUNCTION execution_open_v1(
    p_template jsonb, p_ids uuid[], p_inputs bytea[], p_keys text[] DEFAULT NULL, p_digests bytea[] DEFAULT NULL
) RETURNS TABLE (asked_id uuid, run_id uuid, is_new boolean, digest bytea) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    t record;
    v_now timestamptz := clock_timestamp();
    v_new uuid[];
    v_later boolean;
    v_session uuid;
BEGIN
    IF p_template ? 'steps' THEN
        RETURN QUERY SELECT * FROM execution_open_graph_v1(p_template, p_ids, p_inputs, p_keys, p_digests);
        RETURN;
    END IF;
    SELECT * INTO t FROM jsonb_to_record(p_template) AS x(
        workflow text, name text, skill text, version text, agent_id uuid, session_id uuid, correlation_id text,
        parent_step_id uuid, parent_run_id uuid, root_run_id uuid, forked_from_id uuid,
        priority smallint, queue text, tags text[], budget_cost numeric, budget_tokens bigint,
        carved_cost numeric, carved_tokens bigint, reserve_cost numeric, reserve_tokens bigint,
        start_at timestamptz, deadline_at timestamptz, concurrency_key text, breaker text, capability text,
        level smallint, lease_seconds int, options jsonb, canvas jsonb, is_rung boolean);
    v_later := t.start_at IS NOT NULL AND t.start_at > v_now;
    IF t.session_id IS NOT NULL OR t.parent_run_id IS NOT NULL OR t.canvas ? 'parent_id' THEN
        v_session := execution_session_of_v1(p_template);
    END IF;

    WITH opened AS (
        INSERT INTO execution_run AS r (
            id, workflow, version, agent_id, session_id, key, key_digest, correlation_id, parent_step_id, parent_run_id,
            root_run_id, forked_from_id, priority, tags, input, budget_cost, budget_tokens, carved_cost,
            carved_tokens, start_at, deadline_at, created_at)
        SELECT a.id, t.workflow, coalesce(t.version, ''), t.agent_id, v_session, p_keys[a.n], p_digests[a.n],
               coalesce(t.correlation_id, ''), t.parent_step_id, t.parent_run_id, t.root_run_id, t.forked_from_id,
               coalesce(t.priority, 0), coalesce(t.tags, '{}'), p_inputs[a.n], t.budget_cost, t.budget_tokens,
               t.carved_cost, t.carved_tokens, t.start_at, t.deadline_at, v_now
        FROM unnest(p_ids) WITH ORDINALITY AS a(id, n)
        ON CONFLICT DO NOTHING
        RETURNING r.id
    ), stepped AS (
        INSERT INTO execution_step (
            id, run_id, agent_id, name, skill, version, state, waiting, queue, priority, key, breaker, capability,
            level, lease_seconds, reserve_cost, reserve_tokens, options, canvas, rung_at, ring_count, wake_at,
            created_at, changed_at)
        SELECT o.id, o.id, t.agent_id, coalesce(t.name, t.skill), t.skill, coalesce(t.version, ''),
               CASE WHEN v_later THEN 'waiting' ELSE 'ready' END, CASE WHEN v_later THEN 'timer' ELSE 'capacity' END,
               coalesce(t.queue, 'default'), coalesce(t.priority, 0), t.concurrency_key, coalesce(t.breaker, t.skill),
               coalesce(t.capability, ''), coalesce(t.level, 0), coalesce(t.lease_seconds, 30),
               coalesce(t.reserve_cost, 0), coalesce(t.reserve_tokens, 0), coalesce(t.options, '{}'), t.canvas,
               CASE WHEN t.is_rung AND NOT v_later THEN v_now END, CASE WHEN t.is_rung AND NOT v_later THEN 1 ELSE 0 END,
               CASE WHEN v_later THEN t.start_at END, v_now, v_now
        FROM opened o
    ), logged AS (
        INSERT INTO execution_event (id, xid, at, kind, run_id, step_id, agent_id, data)
        SELECT execution_uuid7_v1(), pg_current_xact_id()::text::bigint, v_now, 'run.opened', o.id, o.id, t.agent_id,
               jsonb_strip_nulls(jsonb_build_object('workflow', t.workflow, 'correlation_id', nullif(t.correlation_id, '')))
        FROM opened o
    )
    SELECT coalesce(array_agg(o.id), '{}') INTO v_new FROM opened o;

    IF v_later THEN
        INSERT INTO execution_timer (id, kind, due_at, step_id, run_id, epoch, created_at)
        SELECT execution_uuid7_v1(), 'start', t.start_at, n.id, n.id, 0, v_now FROM unnest(v_new) AS n(id);
    END IF;
    IF t.deadline_at IS NOT NULL THEN
        INSERT INTO execution_timer (id, kind, due_at, run_id, created_at)
        SELECT execution_uuid7_v1(), 'deadline', t.deadline_at, n.id, v_now FROM unnest(v_new) AS n(id);
    END IF;

    IF cardinality(v_new) < cardinality(p_ids) THEN
        v_new := v_new || execution_reopen_v1(p_template, p_ids, p_inputs);
    END IF;
    IF cardinality(v_new) = cardinality(p_ids) THEN
        RETURN QUERY SELECT i, i, true, NULL::bytea FROM unnest(p_ids) AS u(i);
        RETURN;
    END IF;
    RETURN QUERY
        SELECT a.id, coalesce(byid.id, bykey.id), a.id = ANY (v_new), coalesce(byid.key_digest, bykey.key_digest)
        FROM unnest(p_ids) WITH ORDINALITY AS a(id, n)
        LEFT JOIN execution_run byid ON byid.id = a.id
        LEFT JOIN execution_run bykey
            ON byid.id IS NULL AND bykey.workflow = t.workflow AND bykey.key = p_keys[a.n] AND bykey.key IS NOT NULL;
END $$;
