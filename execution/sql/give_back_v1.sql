-- Give a step back whose worker is lost: the epoch rises first, so that the late worker can write nothing. A process that died
-- three times in a row over one step without saving anything makes it poison; such a step, and one that is given back with
-- an error, is doomed: who claims it next does not perform it, but fails it by the common door, with all that follows a failure.
-- A worker's death counts only where the worker is the process, the step was alone in it, and it was not shutting down.
CREATE OR REPLACE FUNCTION execution_give_back_v1(
    p_step uuid, p_epoch int, p_ending text, p_reason text, p_doom jsonb DEFAULT NULL
) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    s execution_step%ROWTYPE;
    w record;
    v_progress boolean;
    v_alone boolean;
    v_counts boolean;
    v_doom jsonb := p_doom;
    v_verdict text;
BEGIN
    SELECT * INTO s FROM execution_step x WHERE x.id = p_step;
    IF NOT FOUND OR s.epoch <> p_epoch OR s.state <> 'running' THEN
        RETURN 'stale';
    END IF;
    PERFORM execution_hold_run_v1(s.run_id);
    PERFORM execution_hold_budgets_v1(p_step, true);
    IF s.key IS NOT NULL THEN
        PERFORM 1 FROM execution_concurrencykey k WHERE k.name = s.key FOR NO KEY UPDATE;
    END IF;
    SELECT * INTO s FROM execution_step x WHERE x.id = p_step FOR NO KEY UPDATE;
    IF s.epoch <> p_epoch OR s.state <> 'running' THEN
        RETURN 'stale';
    END IF;
    SELECT EXISTS (SELECT 1 FROM execution_checkpoint c WHERE c.step_id = p_step AND c.epoch = p_epoch) INTO v_progress;
    SELECT t.is_alone INTO v_alone FROM execution_attempt t WHERE t.id = s.attempt_id;
    SELECT coalesce(bool_or(x.pool <> 'prefork'), false) AS is_process, coalesce(bool_or(x.is_draining), false) AS is_draining INTO w
    FROM execution_worker x WHERE x.id = s.worker_id;
    v_counts := NOT v_progress AND (
        p_ending = 'crashed' OR v_alone AND w.is_process AND NOT w.is_draining AND p_reason = 'worker died');
    IF v_counts AND s.crash_count >= 2 THEN
        v_doom := coalesce(v_doom, jsonb_build_object('type', 'PoisonStep', 'message', format(
            'the process that performed this step died %s times in a row without saving anything (%s)', s.crash_count + 1, p_reason)));
    ELSIF (s.options -> 'doom' ->> 'epoch')::int = p_epoch - 1 THEN
        v_doom := coalesce(v_doom, s.options -> 'doom');
    END IF;
    v_verdict := CASE WHEN s.control = 'cancel' THEN 'cancelled'
                      WHEN v_doom ->> 'type' = 'PoisonStep' THEN 'poison' ELSE 'ready' END;
    PERFORM execution_settle_v1(p_step, s.attempt_id, s.options ->> 'on_lost' = 'charge');
    UPDATE execution_step x SET
        epoch = x.epoch + 1,
        state = CASE WHEN v_verdict = 'cancelled' THEN 'cancelled' ELSE 'ready' END,
        waiting = CASE WHEN v_verdict = 'cancelled' THEN '' ELSE 'capacity' END,
        crash_count = CASE WHEN v_counts THEN x.crash_count + 1 WHEN v_progress THEN 0 ELSE x.crash_count END,
        is_suspect = NOT v_progress AND p_reason = 'worker died' AND w.is_process AND NOT w.is_draining,
        options = CASE WHEN v_doom IS NULL THEN x.options
                       ELSE x.options || jsonb_build_object('doom', v_doom || jsonb_build_object('epoch', x.epoch + 1)) END,
        control = '', worker_id = NULL, lease_until = NULL, rung_at = NULL, ring_count = 0, changed_at = v_now,
        ended_at = CASE WHEN v_verdict = 'cancelled' THEN v_now END
    WHERE x.id = p_step;
    UPDATE execution_attempt t SET ended_at = v_now, ending = p_ending,
        error = jsonb_build_object('kind', 'transient', 'type', 'WorkerLost', 'message', p_reason)
    WHERE t.id = s.attempt_id;
    PERFORM execution_log_v1('step.given_back', s.run_id, s.id, s.agent_id, p_epoch, jsonb_build_object(
        'reason', p_reason, 'ending', p_ending, 'worker', s.worker_id, 'verdict', v_verdict));
    IF v_verdict = 'cancelled' THEN
        PERFORM execution_release_v1(p_step) FROM execution_phase p WHERE p.id = s.phase_id AND p.closed_at IS NOT NULL;
        PERFORM execution_close_run_v1(s.run_id);
    END IF;
    PERFORM execution_owe_parent_v1(s.run_id);
    IF s.key IS NOT NULL THEN
        PERFORM execution_free_key_v1(s.key);
    END IF;
    RETURN v_verdict;
END $$;
