-- Give a step another skill, or its own with other options, under the same id; what it recorded is forgotten where
-- the template says that it begins afresh. The caller holds the step.
CREATE OR REPLACE FUNCTION execution_retarget_v1(p_step uuid, p_template jsonb, p_input bytea) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    t record;
BEGIN
    SELECT * INTO t FROM jsonb_to_record(p_template) AS x(
        skill text, version text, priority smallint, queue text, reserve_cost numeric, reserve_tokens bigint,
        concurrency_key text, breaker text, capability text, level smallint, lease_seconds int, options jsonb,
        canvas jsonb, is_fresh boolean);
    UPDATE execution_step s SET
        name = t.skill, skill = t.skill, version = coalesce(t.version, ''), priority = coalesce(t.priority, 0),
        queue = coalesce(t.queue, s.queue), key = t.concurrency_key, breaker = coalesce(t.breaker, t.skill),
        capability = coalesce(t.capability, ''), level = coalesce(t.level, 0), lease_seconds = coalesce(t.lease_seconds, 30),
        reserve_cost = coalesce(t.reserve_cost, 0), reserve_tokens = coalesce(t.reserve_tokens, 0),
        options = coalesce(t.options, '{}'), input = coalesce(p_input, s.input),
        canvas = CASE WHEN t.is_fresh THEN coalesce(t.canvas, '{}') || jsonb_build_object('since', s.epoch) ELSE t.canvas END,
        retry_count = CASE WHEN t.is_fresh THEN 0 ELSE s.retry_count END,
        error = CASE WHEN t.is_fresh THEN NULL ELSE s.error END
    WHERE s.id = p_step;
    IF t.is_fresh THEN
        DELETE FROM execution_checkpoint c WHERE c.step_id = p_step;
    END IF;
END $$;
