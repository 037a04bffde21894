-- Open again, under their own ids, steps that were replaced and wait for their replacement, and steps that have ended and are
-- now part of another canvas, as Celery performs a signature again that is used twice; answers those opened. Locks: run, step.
CREATE OR REPLACE FUNCTION execution_reopen_v1(p_template jsonb, p_ids uuid[], p_inputs bytea[]) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_start timestamptz := (p_template ->> 'start_at')::timestamptz;
    v_later boolean := coalesce(v_start > v_now, false);
    v_rung boolean := coalesce((p_template ->> 'is_rung')::boolean, false) AND NOT v_later;
    v_found uuid[] := '{}';
    v record;
BEGIN
    FOR v IN SELECT s.id, s.run_id, s.agent_id, s.epoch, a.n FROM unnest(p_ids) WITH ORDINALITY AS a(id, n)
             JOIN execution_step s ON s.id = a.id
             WHERE s.state = 'waiting' AND s.canvas ? 'replaced'
                OR s.id = s.run_id AND s.state IN ('completed', 'failed', 'cancelled') AND p_template #> '{canvas}' ? 'origin'
                   AND p_template #>> '{canvas,origin}' IS DISTINCT FROM s.canvas ->> 'origin'
             ORDER BY s.id FOR NO KEY UPDATE OF s LOOP
        UPDATE execution_run r SET state = 'running', ended_at = NULL, error = NULL
        WHERE r.id = v.run_id AND r.state IN ('completed', 'failed', 'cancelled');
        IF FOUND THEN
            PERFORM execution_log_v1('run.retried', v.run_id, v.id, v.agent_id, v.epoch, '{"by": "canvas"}');
        END IF;
        PERFORM execution_retarget_v1(v.id, p_template || '{"is_fresh": true}', p_inputs[v.n]);
        UPDATE execution_step s SET
            state = CASE WHEN v_later THEN 'waiting' ELSE 'ready' END, waiting = CASE WHEN v_later THEN 'timer' ELSE 'capacity' END,
            wake_at = CASE WHEN v_later THEN v_start END, rung_at = CASE WHEN v_rung THEN v_now END,
            ring_count = CASE WHEN v_rung THEN 1 ELSE 0 END, output = NULL, ended_at = NULL, changed_at = v_now
        WHERE s.id = v.id;
        IF v_later THEN
            INSERT INTO execution_timer (id, kind, due_at, step_id, run_id, epoch, created_at)
            VALUES (execution_uuid7_v1(), 'start', v_start, v.id, v.run_id, v.epoch, v_now);
        END IF;
        v_found := v_found || v.id;
    END LOOP;
    RETURN v_found;
END $$;
