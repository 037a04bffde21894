-- Spread a step over the entries of its list: each becomes a step of the run, and the step itself goes on when all have
-- ended. They count from below the first position, so that the run's last step stays the last. The caller holds run and step.
CREATE OR REPLACE FUNCTION execution_spread_v1(p_step uuid, p_run uuid, p_agent uuid, p_steps jsonb, p_limit int)
RETURNS uuid[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_count int := jsonb_array_length(p_steps);
    v_ids uuid[] := ARRAY(SELECT execution_uuid7_v1() FROM generate_series(1, v_count));
    v_first int;
BEGIN
    SELECT least(min(x.position), 0) - v_count INTO v_first FROM execution_step x WHERE x.run_id = p_run;
    PERFORM execution_add_steps_v1(p_run, p_agent, v_ids, p_steps, v_first, NULL, p_limit);
    UPDATE execution_step x SET phase_id = f.phase_id FROM execution_step f
    WHERE f.id = p_step AND f.phase_id IS NOT NULL AND x.id = ANY (v_ids);
    INSERT INTO execution_need (step_id, needed_id) SELECT p_step, i FROM unnest(v_ids) AS i;
    UPDATE execution_run x SET step_count = x.step_count + v_count WHERE x.id = p_run;
    UPDATE execution_step x SET pending_count = v_count,
        options = x.options || jsonb_build_object('items', jsonb_build_object('first', v_first, 'count', v_count)),
        released_count = CASE WHEN p_limit < v_count THEN p_limit END
    WHERE x.id = p_step;
    RETURN v_ids[1 : coalesce(least(p_limit, v_count), v_count)];
END $$;
