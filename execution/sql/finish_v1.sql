-- Write the ending of an attempt: result, settled budget, timers, successors, the run's roll-up, in one transaction;
-- refused when the epoch is stale. The same attempt's second finish answers `already`. A step that was asked to cancel is cancelled
-- however it leaves. `again`: a cancellation came between the look and the lock, which is too weak for it; ask again.
-- Locks: run, agent, key, breaker, steps by id. Endings: completed, skipped, suspended, failed, retrying, parked,
-- cancelled; `spread` suspends a step until the entries of its list have ended.
CREATE OR REPLACE FUNCTION execution_finish_v1(
    p_step uuid, p_epoch int, p_attempt uuid, p_ending text, p_output bytea, p_details jsonb,
    p_tokens text[] DEFAULT '{}', p_kinds text[] DEFAULT '{}', p_positions bigint[] DEFAULT '{}',
    p_names text[] DEFAULT '{}', p_scoped boolean[] DEFAULT '{}', p_data bytea[] DEFAULT '{}', p_sizes int[] DEFAULT '{}',
    p_costs numeric[] DEFAULT NULL, p_counts bigint[] DEFAULT NULL
) RETURNS TABLE (verdict text, state text, ready uuid[], errands uuid[]) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    s record;
    v_wake timestamptz;
    v_state text;
    v_held record;
    v_waiting text := '';
    v_halts boolean := false;
    v_ready uuid[] := '{}';
    v_errands uuid[] := '{}';
    v_open jsonb;
    v_errand jsonb;
    v_left int := 0;
    v_moves_money boolean;
    v_is_judged boolean;
    v_is_shared boolean;
BEGIN
    SELECT x.run_id, x.agent_id, x.epoch, x.state, x.key, x.breaker, x.canvas, x.control, r.state AS run_state, x.options ->> 'on_failure' AS on_failure,
           r.step_count, r.parent_step_id, r.workflow, r.budget_cost IS NOT NULL OR r.budget_tokens IS NOT NULL OR x.reserved_cost > 0
               OR x.reserved_tokens > 0 OR x.unsettled_cost > 0 OR x.unsettled_tokens > 0 AS moves_money,
           b.name IS NOT NULL AS breaker_counts
    INTO s
    FROM execution_step x
    JOIN execution_run r ON r.id = x.run_id
    LEFT JOIN execution_breaker b ON b.name = x.breaker AND (b.failure_count > 0 OR b.state <> 'closed')
    WHERE x.id = p_step;
    IF NOT FOUND OR s.epoch <> p_epoch OR s.state <> 'running' THEN
        verdict := execution_late_v1(p_attempt, p_epoch); state := s.state;
        RETURN NEXT; RETURN;
    END IF;
    IF s.control = 'cancel' AND p_ending IN ('suspended', 'retrying', 'parked') THEN
        p_ending := 'cancelled';
    END IF;

    IF s.step_count > 1 AND p_ending IN ('completed', 'skipped', 'failed', 'cancelled') THEN
        SELECT count(*) INTO v_left FROM (
            SELECT 1 FROM execution_step x WHERE x.run_id = s.run_id AND x.id <> x.run_id
            AND x.state IN ('blocked', 'ready', 'running', 'waiting', 'parked') LIMIT 65) AS few;
    END IF;
    v_is_shared := (p_ending IN ('suspended', 'retrying') AND NOT p_details ? 'spread' OR v_left > 64)
        AND NOT (s.parent_step_id IS NOT NULL AND s.run_state IN ('completed', 'failed', 'cancelled'));
    IF v_is_shared THEN
        PERFORM pg_advisory_xact_lock_shared(uuid_hash_extended(s.run_id, 7001));
    ELSE
        PERFORM pg_advisory_xact_lock(uuid_hash_extended(s.run_id, 7001));
    END IF;
    v_moves_money := s.moves_money OR p_costs IS NOT NULL;
    IF v_moves_money THEN
        PERFORM execution_hold_budgets_v1(p_step, true);
    END IF;
    IF s.key IS NOT NULL THEN
        PERFORM 1 FROM execution_concurrencykey k WHERE k.name = s.key FOR NO KEY UPDATE;
    END IF;
    v_is_judged := s.breaker <> '' AND (p_details ->> 'breaker' = 'failed' OR p_details ->> 'breaker' = 'ok' AND s.breaker_counts);
    IF v_is_judged THEN
        PERFORM execution_hold_breaker_v1(s.breaker, p_details ->> 'breaker' = 'failed',
            coalesce((p_details ->> 'breaker_threshold')::int, 5), coalesce((p_details ->> 'breaker_cooldown')::int, 30));
    END IF;

    -- By the primary key alone: a state in the condition would invite the planner to a partial index full of dead rows.
    SELECT x.epoch, x.state, x.control, x.waiting INTO v_held FROM execution_step x WHERE x.id = p_step FOR NO KEY UPDATE;
    IF v_held.epoch IS DISTINCT FROM p_epoch OR v_held.state <> 'running' THEN
        verdict := execution_late_v1(p_attempt, p_epoch); state := v_held.state;
        RETURN NEXT; RETURN;
    END IF;
    IF v_is_shared AND (v_held.control = 'cancel' AND p_ending IN ('suspended', 'retrying') OR s.parent_step_id IS NOT NULL AND EXISTS (
            SELECT 1 FROM execution_run x WHERE x.id = s.run_id AND x.state IN ('completed', 'failed', 'cancelled'))) THEN
        verdict := 'again'; RETURN NEXT; RETURN;
    END IF;
    IF v_held.control = 'cancel' AND p_ending = 'parked' THEN
        p_ending := 'cancelled';
    END IF;
    IF v_is_judged THEN
        PERFORM execution_judge_breaker_v1(s.breaker, p_step, p_details ->> 'breaker' = 'failed');
    END IF;
    IF cardinality(p_tokens) > 0 THEN
        PERFORM 1 FROM execution_record_v1(
            p_step, p_epoch, p_tokens, p_kinds, p_positions, p_names, p_scoped, p_data, p_sizes, p_costs, p_counts);
    END IF;
    IF v_moves_money THEN
        PERFORM execution_settle_v1(p_step, p_attempt);
    END IF;

    IF p_ending IN ('completed', 'skipped', 'cancelled', 'failed') THEN
        v_state := p_ending;
        v_halts := p_ending = 'failed' AND coalesce(s.on_failure, 'halt') = 'halt';
    ELSIF p_ending = 'parked' AND p_details ->> 'waiting' = 'budget' AND v_held.waiting = 'capacity' THEN
        v_state := 'ready'; v_waiting := 'capacity'; v_ready := ARRAY[p_step];  -- it was topped up since it was refused
    ELSIF p_ending = 'parked' THEN
        v_state := 'parked'; v_waiting := p_details ->> 'waiting';
    ELSIF p_details ? 'spread' THEN
        v_state := 'blocked'; v_waiting := 'needs';
    ELSE
        v_state := 'waiting'; v_waiting := coalesce(p_details ->> 'waiting', 'retry');
        v_wake := coalesce((p_details ->> 'wake_at')::timestamptz,
                           v_now + make_interval(secs => (p_details ->> 'wake_seconds')::double precision));
        IF v_waiting = 'capacity' OR v_waiting = 'paused' AND EXISTS (
                SELECT 1 FROM execution_run x WHERE x.id = s.run_id AND x.state IN ('pending', 'running'))
           OR p_details ? 'awaits' AND EXISTS (
                SELECT 1 FROM execution_signal g WHERE g.run_id = s.run_id AND g.consumed_at IS NULL
                AND g.name IN (SELECT jsonb_array_elements_text(p_details -> 'awaits'))) THEN
            v_state := 'ready'; v_waiting := 'capacity'; v_ready := ARRAY[p_step];
        END IF;
    END IF;

    WITH ended AS (
        UPDATE execution_attempt t SET ended_at = v_now, error = p_details -> 'error',
            version = coalesce(p_details ->> 'version', t.version),
            ending = CASE p_ending WHEN 'retrying' THEN 'failed' WHEN 'parked' THEN 'suspended' ELSE p_ending END
        WHERE t.id = p_attempt
    ), logged AS (
        INSERT INTO execution_event (id, xid, at, kind, run_id, step_id, agent_id, epoch, data)
        VALUES (execution_uuid7_v1(), pg_current_xact_id()::text::bigint, v_now, 'step.' || p_ending, s.run_id, p_step, s.agent_id, p_epoch,
                jsonb_strip_nulls(jsonb_build_object('attempt', p_attempt, 'waiting', nullif(v_waiting, ''),
                                                     'error', p_details -> 'error', 'wake_at', v_wake)))
    )
    UPDATE execution_step x SET
        state = v_state, waiting = v_waiting, control = '', lease_until = NULL, worker_id = NULL, rung_at = NULL,
        ring_count = 0, wake_at = CASE WHEN v_state = 'waiting' THEN v_wake END,
        awaits = CASE WHEN v_state = 'waiting' AND p_details ? 'awaits'
                      THEN ARRAY(SELECT jsonb_array_elements_text(p_details -> 'awaits')) END,
        input = coalesce(decode(p_details ->> 'input', 'base64'), x.input), output = p_output, error = p_details -> 'error',
        crash_count = 0, is_suspect = false,
        retry_count = CASE WHEN p_ending = 'retrying' THEN x.retry_count + 1
                           WHEN p_ending = 'suspended' THEN 0 ELSE x.retry_count END,
        version = coalesce(p_details ->> 'version', x.version), changed_at = v_now,
        canvas = CASE WHEN p_details ? 'canvas' THEN coalesce(x.canvas, '{}') || (p_details -> 'canvas') ELSE x.canvas END,
        ended_at = CASE WHEN v_state IN ('completed', 'skipped', 'failed', 'cancelled') THEN v_now END
    WHERE x.id = p_step;
    IF p_details ? 'retarget' THEN
        PERFORM execution_retarget_v1(p_step, p_details -> 'retarget', NULL);
    END IF;

    IF v_state = 'waiting' AND v_wake IS NOT NULL THEN
        INSERT INTO execution_timer (id, kind, due_at, step_id, run_id, epoch, created_at)
        VALUES (execution_uuid7_v1(), coalesce(p_details ->> 'timer', 'retry'), v_wake, p_step, s.run_id, p_epoch, v_now);
    END IF;
    IF v_state = 'blocked' THEN
        v_ready := execution_spread_v1(p_step, s.run_id, s.agent_id, p_details #> '{spread,steps}', (p_details #>> '{spread,limit}')::int);
    END IF;
    IF s.step_count > 1 AND (v_state IN ('completed', 'skipped') OR v_state = 'failed' AND NOT v_halts OR v_state = 'cancelled' AND EXISTS (
            SELECT 1 FROM execution_step x JOIN execution_phase p ON p.id = x.phase_id WHERE x.id = p_step AND p.closed_at IS NOT NULL)) THEN
        v_ready := v_ready || execution_release_v1(p_step);
    END IF;
    IF p_details ? 'opens' THEN
        FOR v_open IN SELECT jsonb_array_elements(p_details -> 'opens') LOOP
            v_ready := v_ready || ARRAY(
                SELECT o.run_id FROM execution_open_v1(
                    v_open -> 'template', ARRAY[(v_open ->> 'id')::uuid], ARRAY[decode(v_open ->> 'input', 'base64')]) o
                WHERE o.is_new);
        END LOOP;
    END IF;
    IF p_details ? 'errands' THEN
        FOR v_errand IN SELECT jsonb_array_elements(p_details -> 'errands') LOOP
            INSERT INTO execution_errand (id, kind, payload)
            VALUES ((v_errand ->> 'id')::uuid, v_errand ->> 'kind', v_errand -> 'payload');
            v_errands := v_errands || (v_errand ->> 'id')::uuid;
        END LOOP;
    END IF;
    IF s.canvas ? 'chord' AND s.canvas ? 'group_id' AND v_state = 'completed'
       AND NOT coalesce(p_details -> 'canvas' ? 'ignored', false) THEN
        v_errands := array_remove(v_errands || execution_chord_part_v1(
            s.canvas ->> 'group_id', coalesce(s.canvas ->> 'task_id', p_step::text), (s.canvas ->> 'group_index')::int,
            true, p_output), NULL);
    ELSIF s.canvas IS NOT NULL AND v_state IN ('failed', 'cancelled') THEN
        v_errands := v_errands || execution_owe_v1(s.run_id);
    END IF;

    IF v_state = 'parked' THEN
        UPDATE execution_run x SET state = 'parked', waiting = v_waiting
        WHERE x.id = s.run_id AND x.state IN ('pending', 'running');
        PERFORM execution_log_v1('run.parked', s.run_id, p_step, s.agent_id, p_epoch, jsonb_build_object('reason', v_waiting));
    ELSIF v_halts AND v_state = 'failed' THEN
        PERFORM execution_end_run_v1(s.run_id, 'failed', p_details -> 'error');
    ELSIF v_state IN ('completed', 'skipped', 'failed', 'cancelled') THEN
        IF s.step_count = 1 AND (p_step = s.run_id OR v_state IN ('completed', 'cancelled')) THEN
            PERFORM execution_end_run_v1(s.run_id, v_state, p_details -> 'error');
        ELSIF v_left <= 64 THEN
            PERFORM execution_close_run_v1(s.run_id);
        END IF;
    END IF;
    IF s.parent_step_id IS NOT NULL THEN
        PERFORM execution_owe_parent_v1(s.run_id);
    END IF;
    IF s.key IS NOT NULL THEN
        v_ready := v_ready || execution_free_key_v1(s.key);
    END IF;
    verdict := 'done'; state := v_state; ready := v_ready; errands := v_errands;
    RETURN NEXT;
END $$;
