-- Count an ending on its breaker, which the caller holds: five failures in a row open it, a success closes it and lets its
-- steps go on. One that a person opened without an end (breakers.FOR_EVER) is closed by a person alone.
CREATE OR REPLACE FUNCTION execution_judge_breaker_v1(p_breaker text, p_step uuid, p_failed boolean)
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    b execution_breaker%ROWTYPE;
BEGIN
    SELECT * INTO b FROM execution_breaker x WHERE x.name = p_breaker FOR NO KEY UPDATE;
    IF NOT FOUND OR b.probe_at >= '9999-01-01 00:00+00' OR NOT p_failed AND b.failure_count = 0 AND b.state = 'closed' THEN
        RETURN;
    END IF;
    IF NOT p_failed THEN
        UPDATE execution_breaker x SET state = 'closed', failure_count = 0, opened_count = 0, probe_at = NULL, probe_step_id = NULL
        WHERE x.name = p_breaker;
        IF b.state <> 'closed' THEN
            UPDATE execution_step x SET state = 'ready', waiting = 'capacity', wake_at = NULL, changed_at = v_now
            WHERE x.id IN (SELECT w.id FROM execution_step w WHERE w.state = 'waiting' AND w.waiting = 'breaker'
                           AND w.breaker = p_breaker ORDER BY w.id FOR UPDATE SKIP LOCKED);
            PERFORM execution_log_v1('breaker.closed', NULL, p_step, NULL, NULL, jsonb_build_object('breaker', p_breaker));
        END IF;
    ELSIF b.state = 'probing' AND b.probe_step_id = p_step
          OR b.state = 'closed' AND b.failure_count + 1 >= b.threshold THEN
        UPDATE execution_breaker x SET state = 'open', failure_count = b.failure_count + 1, opened_at = v_now,
               opened_count = b.opened_count + 1, probe_step_id = NULL,
               probe_at = v_now + make_interval(secs => least(b.cooldown_seconds * power(2, least(b.opened_count, 20)), 600))
        WHERE x.name = p_breaker;
        PERFORM execution_log_v1('breaker.opened', NULL, p_step, NULL, NULL,
                                 jsonb_build_object('breaker', p_breaker, 'failures', b.failure_count + 1));
    ELSE
        UPDATE execution_breaker x SET failure_count = b.failure_count + 1 WHERE x.name = p_breaker;
    END IF;
END $$;
