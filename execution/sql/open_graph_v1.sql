-- Open runs of a graph of steps from one template, all in the caller's transaction; what is known already opens nothing.
CREATE OR REPLACE FUNCTION execution_open_graph_v1(
    p_template jsonb, p_ids uuid[], p_inputs bytea[], p_keys text[] DEFAULT NULL, p_digests bytea[] DEFAULT NULL
) RETURNS TABLE (asked_id uuid, run_id uuid, is_new boolean, digest bytea) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    t record;
    v_now timestamptz := clock_timestamp();
    v_count int := jsonb_array_length(p_template -> 'steps');
    v_place int;
    v_phases uuid[];
    v_session uuid := execution_session_of_v1(p_template);
BEGIN
    SELECT * INTO t FROM jsonb_to_record(p_template) AS x(
        workflow text, version text, agent_id uuid, correlation_id text, parent_step_id uuid, parent_run_id uuid,
        root_run_id uuid, forked_from_id uuid, priority smallint, tags text[], budget_cost numeric, budget_tokens bigint,
        carved_cost numeric, carved_tokens bigint, start_at timestamptz, deadline_at timestamptz);
    FOR v_place IN 1 .. cardinality(p_ids) LOOP
        asked_id := p_ids[v_place]; run_id := asked_id; digest := NULL;
        INSERT INTO execution_run AS r (
            id, workflow, version, agent_id, session_id, key, key_digest, correlation_id, parent_step_id, parent_run_id, root_run_id,
            forked_from_id, priority, tags, input, step_count, budget_cost, budget_tokens, carved_cost, carved_tokens, start_at,
            deadline_at, created_at)
        VALUES (asked_id, t.workflow, coalesce(t.version, ''), t.agent_id, v_session, p_keys[v_place], p_digests[v_place],
                coalesce(t.correlation_id, ''), t.parent_step_id, t.parent_run_id, t.root_run_id, t.forked_from_id,
                coalesce(t.priority, 0), coalesce(t.tags, '{}'), p_inputs[v_place], v_count, t.budget_cost, t.budget_tokens,
                t.carved_cost, t.carved_tokens, t.start_at, t.deadline_at, v_now)
        ON CONFLICT DO NOTHING;
        is_new := FOUND;
        IF is_new THEN
            v_phases := ARRAY(SELECT execution_uuid7_v1() FROM jsonb_array_elements(p_template -> 'phases'));
            INSERT INTO execution_phase (id, run_id, name, position, timebox_seconds, budget_cost, budget_tokens)
            SELECT v_phases[o.n::int], asked_id, h.name, o.n, h.timebox, h.cost, h.tokens
            FROM jsonb_array_elements(p_template -> 'phases') WITH ORDINALITY AS o(phase, n)
            CROSS JOIN LATERAL jsonb_to_record(o.phase) AS h(name text, timebox double precision, cost numeric, tokens bigint);
            PERFORM execution_add_steps_v1(asked_id, t.agent_id, ARRAY(SELECT execution_uuid7_v1() FROM generate_series(1, v_count)),
                                           p_template -> 'steps', 0, t.start_at, NULL, v_phases);
            PERFORM execution_log_v1('run.opened', asked_id, NULL, t.agent_id, NULL, jsonb_strip_nulls(jsonb_build_object(
                'workflow', t.workflow, 'version', t.version, 'correlation_id', nullif(t.correlation_id, ''))));
            IF t.deadline_at IS NOT NULL THEN
                INSERT INTO execution_timer (id, kind, due_at, run_id, created_at)
                VALUES (execution_uuid7_v1(), 'deadline', t.deadline_at, asked_id, v_now);
            END IF;
        ELSE
            run_id := NULL;
            SELECT r.id, r.key_digest INTO run_id, digest FROM execution_run r
            WHERE r.id = asked_id OR r.workflow = t.workflow AND r.key = p_keys[v_place] AND r.key IS NOT NULL
            ORDER BY r.id = asked_id DESC LIMIT 1;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
