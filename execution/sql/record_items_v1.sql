-- Record what became of a lane's items, charge what they cost, and take more when none is left: one statement, refused when the
-- step's epoch is stale, under the step's lock. Only what the lane holds is recorded, and no longer held then, so that each
-- item is recorded once; saying it again changes nothing. An item that is tried again is anybody's once it is due. The answer
-- says what the lane holds now. Locks: run, agent, step, lane, items, job.
CREATE OR REPLACE FUNCTION execution_record_items_v1(
    p_step uuid, p_epoch int, p_at int, p_takes boolean, p_positions int[] DEFAULT '{}', p_states text[] DEFAULT '{}',
    p_outputs bytea[] DEFAULT '{}', p_errors text[] DEFAULT '{}', p_delays double precision[] DEFAULT '{}',
    p_costs numeric[] DEFAULT NULL, p_counts bigint[] DEFAULT NULL
) RETURNS TABLE (verdict text, control text, open int[], wake_seconds double precision) LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_given int := cardinality(p_positions);
    v_mine int[];
    v_open int[];
    v_seconds double precision;
    v_rate double precision;
    v_weight double precision;
    s record;
    l record;
    w record;
BEGIN
    IF p_costs IS NOT NULL THEN
        PERFORM execution_hold_budgets_v1(p_step);
    END IF;
    SELECT x.epoch, x.state, x.control, x.crash_count, x.run_id, x.agent_id INTO s
    FROM execution_step x WHERE x.id = p_step FOR NO KEY UPDATE;
    IF NOT FOUND OR s.epoch <> p_epoch OR s.state <> 'running' THEN
        verdict := 'stale'; RETURN NEXT; RETURN;
    END IF;
    control := s.control;
    SELECT x.job_id, x.open, x.heard_at INTO l FROM execution_joblane x WHERE x.step_id = p_step FOR NO KEY UPDATE;
    v_open := l.open;

    IF v_given > 0 AND l.open[: v_given] = p_positions THEN  -- as it was taken: the usual way
        v_mine := p_positions;
        v_open := l.open[v_given + 1 :];
    ELSIF v_given > 0 THEN
        v_mine := ARRAY(SELECT unnest(p_positions) INTERSECT SELECT unnest(l.open));
        v_open := ARRAY(SELECT o.position FROM unnest(l.open) WITH ORDINALITY o(position, n)
                      WHERE o.position <> ALL (v_mine) ORDER BY o.n);
    END IF;
    WITH given AS MATERIALIZED (
        SELECT * FROM unnest(p_positions, p_states, p_outputs, p_errors, p_delays, p_costs, p_counts)
            AS n(position, state, output, error, delay, cost, count)
        WHERE v_mine = p_positions OR n.position = ANY (v_mine)
    ), written AS (
        UPDATE execution_jobitem i SET state = n.state, attempt_count = i.attempt_count + 1, output = n.output,
               error = n.error::jsonb, due_at = v_now + make_interval(secs => n.delay),
               cost = CASE WHEN n.cost IS NULL THEN i.cost ELSE coalesce(i.cost, 0) + n.cost END,
               tokens = CASE WHEN n.count IS NULL THEN i.tokens ELSE coalesce(i.tokens, 0) + n.count END
        FROM given n WHERE i.job_id = l.job_id AND i.position = n.position AND i.state = 'pending'
        RETURNING n.state, n.cost, n.count
    )
    SELECT count(*) FILTER (WHERE x.state = 'completed') AS completed, count(*) FILTER (WHERE x.state = 'failed') AS failed,
           count(*) AS tried, coalesce(sum(x.cost), 0) AS cost, coalesce(sum(x.count), 0)::bigint AS count INTO w FROM written x;
    IF w.cost <> 0 OR w.count <> 0 THEN
        PERFORM execution_charge_v1(p_step, s.run_id, s.agent_id, w.cost, w.count);
    END IF;
    IF w.tried > 0 AND s.crash_count > 0 THEN
        UPDATE execution_step x SET crash_count = 0 WHERE x.id = p_step;
    END IF;

    IF p_takes AND cardinality(v_open) = 0 THEN
        SELECT coalesce(t.open, '{}'), t.wake_seconds INTO v_open, wake_seconds FROM execution_take_items_v1(p_step, l.job_id) t;
    END IF;
    v_seconds := greatest(extract(epoch FROM v_now - l.heard_at), 0.001);
    v_rate := (w.completed + w.failed) / v_seconds;
    v_weight := exp(-v_seconds / 10);  -- what was ten seconds ago counts for a third
    UPDATE execution_joblane x SET open = v_open, at = p_at, heard_at = v_now,
           completed_count = x.completed_count + w.completed, failed_count = x.failed_count + w.failed,
           cost = x.cost + w.cost, tokens = x.tokens + w.count,
           rate = CASE WHEN x.rate = 0 THEN v_rate ELSE x.rate * v_weight + v_rate * (1 - v_weight) END
    WHERE x.step_id = p_step;
    verdict := 'recorded'; open := v_open;
    RETURN NEXT;
END $$;
