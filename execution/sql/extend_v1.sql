-- Extend the leases of the steps that a worker's processes report as being performed; answers what they are asked to do, and
-- `lost` for those that are no longer theirs. A step whose row is held at this moment, as by its own write, is not waited for:
-- it answers that it was not extended, and is asked for again soon. How long a lease is: as tuned for the skill, as the skill
-- declares, as tuned for all, or as the step took it from the settings.
CREATE OR REPLACE FUNCTION execution_extend_v1(p_worker uuid, p_steps uuid[], p_epochs int[], p_idle_seconds double precision[])
RETURNS TABLE (step_id uuid, epoch int, control text, is_extended boolean) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH held AS (
        SELECT n.step_id, n.epoch, n.idle, x.id IS NOT NULL AS is_mine
        FROM unnest(p_steps, p_epochs, p_idle_seconds) AS n(step_id, epoch, idle)
        LEFT JOIN LATERAL (
            SELECT y.id FROM execution_step y
            WHERE y.id = n.step_id AND y.epoch = n.epoch AND y.state = 'running' AND y.worker_id = p_worker
            ORDER BY y.id FOR NO KEY UPDATE SKIP LOCKED) x ON true
    ), extended AS (
        UPDATE execution_step s SET lease_until = clock_timestamp() + make_interval(secs => coalesce(
            (SELECT u.value FROM execution_tunable u WHERE u.name = 'steps.lease' AND u.subject = s.skill),
            (s.options ->> 'lease')::float8,
            (SELECT u.value FROM execution_tunable u WHERE u.name = 'steps.lease' AND u.subject = ''), s.lease_seconds))
        FROM held h WHERE s.id = h.step_id AND h.is_mine RETURNING s.id, s.attempt_id, s.control
    ), touched AS (
        UPDATE execution_attempt t SET touched_at = clock_timestamp() - make_interval(secs => h.idle)
        FROM extended e JOIN held h ON h.step_id = e.id WHERE t.id = e.attempt_id
    )
    SELECT h.step_id, h.epoch,
           coalesce(e.control, (SELECT CASE WHEN y.epoch = h.epoch AND y.state = 'running' AND y.worker_id = p_worker
                                            THEN y.control ELSE 'lost' END
                                FROM execution_step y WHERE y.id = h.step_id), 'lost')::text,
           e.id IS NOT NULL
    FROM held h LEFT JOIN extended e ON e.id = h.step_id;
END $$;
