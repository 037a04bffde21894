-- Save checkpoints and charge spends for a step that is being performed; refused when the epoch is stale, under the
-- step's lock. `save` and `each` move forward under their token, in the order of their positions; every other token is written once, and writing it
-- again answers `already`. A charge beyond the reservation grows it, so that no money is unseen. Locks: run, agent, step.
CREATE OR REPLACE FUNCTION execution_record_v1(
    p_step uuid, p_epoch int, p_tokens text[], p_kinds text[], p_positions bigint[], p_names text[], p_scoped boolean[],
    p_data bytea[], p_sizes int[], p_costs numeric[] DEFAULT NULL, p_counts bigint[] DEFAULT NULL
) RETURNS TABLE (verdict text, control text, conflict text) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    s record;
    v_written int;
    v_cost numeric := 0;
    v_count bigint := 0;
BEGIN
    IF p_costs IS NOT NULL THEN
        PERFORM execution_hold_budgets_v1(p_step);
        SELECT x.epoch, x.state, x.control, x.run_id, x.agent_id INTO s
        FROM execution_step x WHERE x.id = p_step FOR NO KEY UPDATE;
    ELSE
        SELECT x.epoch, x.state, x.control INTO s FROM execution_step x WHERE x.id = p_step FOR SHARE;
    END IF;
    IF NOT FOUND OR s.epoch <> p_epoch OR s.state <> 'running' THEN
        verdict := 'stale'; RETURN NEXT; RETURN;
    END IF;
    control := s.control;

    IF p_costs IS NOT NULL THEN
        SELECT coalesce(sum(n.cost), 0), coalesce(sum(n.count), 0) INTO v_cost, v_count
        FROM unnest(p_tokens, p_costs, p_counts) AS n(token, cost, count)
        WHERE NOT EXISTS (SELECT 1 FROM execution_checkpoint c WHERE c.step_id = p_step AND c.token = n.token);
    END IF;
    INSERT INTO execution_checkpoint AS c (
        step_id, token, kind, position, name, is_scoped, epoch, data, size, cost, tokens, saved_at)
    SELECT p_step, n.token, n.kind, n.position, n.name, n.scoped, p_epoch, n.data, n.size, n.cost, n.count, clock_timestamp()
    FROM unnest(p_tokens, p_kinds, p_positions, p_names, p_scoped, p_data, p_sizes, p_costs, p_counts)
        AS n(token, kind, position, name, scoped, data, size, cost, count)
    ON CONFLICT (step_id, token) DO UPDATE
        SET data = excluded.data, size = excluded.size, position = excluded.position, epoch = excluded.epoch,
            saved_at = excluded.saved_at
        WHERE c.kind = excluded.kind AND c.kind IN ('save', 'each') AND c.position < excluded.position;
    GET DIAGNOSTICS v_written = ROW_COUNT;
    verdict := 'saved';
    IF v_written < cardinality(p_tokens) THEN
        verdict := 'already';
        SELECT c.token INTO conflict
        FROM unnest(p_tokens, p_kinds) AS n(token, kind)
        JOIN execution_checkpoint c ON c.step_id = p_step AND c.token = n.token AND c.kind <> n.kind LIMIT 1;
    END IF;
    IF v_cost <> 0 OR v_count <> 0 THEN
        PERFORM execution_charge_v1(p_step, s.run_id, s.agent_id, v_cost, v_count);
    END IF;
    RETURN NEXT;
END $$;
