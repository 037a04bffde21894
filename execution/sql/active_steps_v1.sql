-- What runs now, by whom, and how old its heartbeat is.
CREATE OR REPLACE VIEW execution_active_steps AS
    SELECT s.id AS step_id, s.run_id, r.workflow, s.name, s.skill, s.epoch, s.queue, w.hostname AS worker, t.pid,
           s.changed_at AS claimed_at, s.lease_until,
           clock_timestamp() - (s.lease_until - make_interval(secs => s.lease_seconds)) AS heartbeat_age, t.touched_at
    FROM execution_step s
    JOIN execution_run r ON r.id = s.run_id
    LEFT JOIN execution_worker w ON w.id = s.worker_id
    LEFT JOIN execution_attempt t ON t.id = s.attempt_id
    WHERE s.state = 'running';
