-- Timers that will still wake something.
CREATE OR REPLACE VIEW execution_pending_timers AS
    SELECT t.id, t.kind, t.due_at, t.step_id, t.run_id, t.name, t.due_at - clock_timestamp() AS due_in
    FROM execution_timer t LEFT JOIN execution_step s ON s.id = t.step_id
    WHERE t.fired_at IS NULL AND t.cancelled_at IS NULL AND (t.step_id IS NULL OR s.state = 'waiting' AND s.epoch = t.epoch);
