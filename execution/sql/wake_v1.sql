-- Fire due timers in due order, each exactly once: what they wake becomes ready in the transaction that marks them fired.
-- A step that somebody else holds is left for the next tick. An opening that fails cancels its timer and stands in the log:
-- it holds up no other. The planner, who expects a tenth of all timers of a limit that it does not know, is held to look each
-- row up by its key. Of the steps that wait for a breaker whose cool-down is over one is woken, as its probe.
CREATE OR REPLACE FUNCTION execution_wake_v1(p_limit int DEFAULT 1000) RETURNS TABLE (fired int, woken int, latest_lag interval)
LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_probes int;
    v_custom uuid[];
    v record;
BEGIN
    WITH probes AS MATERIALIZED (
        SELECT p.id FROM execution_breaker b CROSS JOIN LATERAL (
            SELECT w.id FROM execution_step w WHERE w.state = 'waiting' AND w.waiting = 'breaker' AND w.breaker = b.name
            LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) p
        WHERE b.state <> 'closed' AND b.probe_at <= v_now
    )
    UPDATE execution_step s SET state = 'ready', waiting = 'capacity', wake_at = NULL, changed_at = v_now
    FROM probes p WHERE s.id = p.id;
    GET DIAGNOSTICS v_probes = ROW_COUNT;

    -- Each timer looks its own step up: a join of the two sets would compare each with each.
    WITH due AS MATERIALIZED (
        SELECT t.id, t.kind, t.due_at, t.step_id, t.epoch FROM execution_timer t
        WHERE t.fired_at IS NULL AND t.cancelled_at IS NULL AND t.due_at <= v_now AND t.kind NOT IN ('deadline', 'phase')
        ORDER BY t.due_at, t.id LIMIT p_limit FOR UPDATE SKIP LOCKED
    ), held AS MATERIALIZED (
        SELECT d.id, d.kind, d.due_at, s.id AS step_id,
               d.step_id IS NULL OR s.id IS NOT NULL
                   OR NOT EXISTS (SELECT 1 FROM execution_step z WHERE z.id = d.step_id) AS may_fire,
               s.state = 'waiting' AND s.epoch = d.epoch AND s.wake_at <= d.due_at
                   AND d.kind IN ('start', 'retry', 'sleep', 'timeout', 'breaker', 'rate') AS wakes
        FROM due d LEFT JOIN LATERAL (
            SELECT x.id, x.state, x.epoch, x.wake_at FROM execution_step x WHERE x.id = d.step_id
            FOR NO KEY UPDATE SKIP LOCKED) s ON true
    ), woken AS (
        UPDATE execution_step s SET state = 'ready', waiting = 'capacity', wake_at = NULL, changed_at = v_now
        FROM held h WHERE s.id = h.step_id AND h.wakes RETURNING s.id
    ), fired AS (
        UPDATE execution_timer t SET fired_at = v_now FROM held h
        WHERE t.id = h.id AND h.kind <> 'custom' AND h.may_fire RETURNING t.id
    )
    SELECT (SELECT count(*) FROM fired f), v_probes + (SELECT count(*) FROM woken w), max(v_now - h.due_at),
           coalesce(array_agg(h.id ORDER BY h.due_at, h.id) FILTER (WHERE h.kind = 'custom'), '{}')
    INTO fired, woken, latest_lag, v_custom FROM held h;

    FOR v IN SELECT t.* FROM unnest(v_custom) WITH ORDINALITY u(id, place) JOIN execution_timer t ON t.id = u.id ORDER BY u.place LOOP
        BEGIN
            PERFORM 1 FROM execution_open_v1(v.opening -> 'template', ARRAY[(v.opening ->> 'id')::uuid],
                                             ARRAY[decode(v.opening ->> 'input', 'base64')]);
            UPDATE execution_timer t SET fired_at = v_now WHERE t.id = v.id;
            woken := woken + 1;
        EXCEPTION WHEN OTHERS THEN
            UPDATE execution_timer t SET cancelled_at = v_now WHERE t.id = v.id;
            PERFORM execution_log_v1('timer.failed', v.run_id, v.step_id, NULL, NULL,
                                     jsonb_build_object('timer', v.id, 'name', v.name, 'error', SQLERRM));
        END;
        fired := fired + 1;
    END LOOP;
    RETURN NEXT;
END $$;
