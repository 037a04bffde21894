-- Write into the log that a run's job has ended, with what became of its items; nothing where the run carries out no job.
CREATE OR REPLACE FUNCTION execution_end_job_v1(p_run uuid, p_state text) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT execution_log_v1('job.ended', p_run, NULL, r.agent_id, NULL, jsonb_build_object(
        'skill', j.skill, 'state', p_state, 'items', j.item_count, 'completed', n.completed, 'failed', n.failed,
        'left', j.item_count - n.completed - n.failed))
    FROM execution_job j JOIN execution_run r ON r.id = j.run_id CROSS JOIN LATERAL (
        SELECT coalesce(sum(l.completed_count), 0) AS completed, coalesce(sum(l.failed_count), 0) - j.reopened_count AS failed
        FROM execution_joblane l WHERE l.job_id = j.run_id) n
    WHERE j.run_id = p_run
$$;
