-- Each phase with what became of its steps, what they spent, and how long it took.
CREATE OR REPLACE VIEW execution_phase_stats AS
    SELECT p.id AS phase_id, p.run_id, r.workflow, p.name, p.position, p.timebox_seconds, p.budget_cost, p.budget_tokens,
           s.step_count, s.completed_count, s.failed_count, s.skipped_count, s.cancelled_count, s.running_count,
           coalesce(t.cost, 0) AS spent_cost, coalesce(t.tokens, 0) AS spent_tokens, p.started_at,
           CASE WHEN s.step_count = s.completed_count + s.failed_count + s.skipped_count + s.cancelled_count THEN s.ended_at END AS ended_at,
           p.closed_at, p.closed_reason,
           CASE WHEN p.closed_at IS NOT NULL THEN 'closed' WHEN p.started_at IS NULL THEN 'pending'
                WHEN s.step_count > s.completed_count + s.failed_count + s.skipped_count + s.cancelled_count THEN 'running'
                WHEN s.failed_count > 0 THEN 'failed' ELSE 'completed' END AS state
    FROM execution_phase p
    JOIN execution_run r ON r.id = p.run_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS step_count, count(*) FILTER (WHERE x.state = 'completed') AS completed_count,
               count(*) FILTER (WHERE x.state = 'failed') AS failed_count, count(*) FILTER (WHERE x.state = 'skipped') AS skipped_count,
               count(*) FILTER (WHERE x.state = 'cancelled') AS cancelled_count,
               count(*) FILTER (WHERE x.state = 'running') AS running_count, max(x.ended_at) AS ended_at
        FROM execution_step x WHERE x.phase_id = p.id) s
    CROSS JOIN LATERAL (
        SELECT sum(a.cost) AS cost, sum(a.tokens) AS tokens FROM execution_step x JOIN execution_attempt a ON a.step_id = x.id
        WHERE x.phase_id = p.id) t;
