-- Tell a parent's step that its child run has ended: what was carved comes back, what was spent is booked, the step is woken.
-- The errand leaves in the same transaction, so that it is done once. Locks: parent run, child run.
CREATE OR REPLACE FUNCTION execution_tell_parent_v1(p_errand uuid) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    e jsonb;
    c record;
    v_run uuid;
BEGIN
    SELECT x.payload INTO e FROM execution_errand x WHERE x.id = p_errand;
    IF NOT FOUND THEN
        RETURN 'done';
    END IF;
    SELECT s.run_id INTO v_run FROM execution_step s WHERE s.id = (e ->> 'parent')::uuid;
    IF FOUND THEN
        PERFORM execution_hold_run_v1(v_run);
        PERFORM 1 FROM execution_run r WHERE r.id = v_run FOR NO KEY UPDATE;
    END IF;
    PERFORM 1 FROM execution_run r WHERE r.id = (e ->> 'run')::uuid FOR NO KEY UPDATE;
    DELETE FROM execution_errand x WHERE x.id = p_errand;
    IF NOT FOUND THEN
        RETURN 'done';
    END IF;
    IF v_run IS NULL OR NOT EXISTS (SELECT 1 FROM execution_run r WHERE r.id = (e ->> 'run')::uuid) THEN
        RETURN 'orphan';
    END IF;
    IF e ? 'late' THEN
        SELECT (e ->> 'cost')::numeric AS cost, (e ->> 'tokens')::bigint AS count,
               (e ->> 'back_cost')::numeric AS back_cost, (e ->> 'back_tokens')::bigint AS back_count INTO c;
    ELSE
        SELECT r.spent_cost AS cost, r.spent_tokens AS count, coalesce(r.carved_cost - r.reserved_cost, 0) AS back_cost,
               coalesce(r.carved_tokens - r.reserved_tokens, 0) AS back_count
        INTO c FROM execution_run r WHERE r.id = (e ->> 'run')::uuid;
    END IF;
    UPDATE execution_run r SET
        reserved_cost = r.reserved_cost - c.back_cost, spent_cost = r.spent_cost + c.cost,
        reserved_tokens = r.reserved_tokens - c.back_count, spent_tokens = r.spent_tokens + c.count
    WHERE r.id = v_run;
    PERFORM execution_pass_on_v1(v_run, c.cost, c.count, c.back_cost, c.back_count);
    IF e ? 'late' THEN
        RETURN 'passed on';
    END IF;
    RETURN execution_signal_v1((e ->> 'run')::uuid, v_run, 'child:' || (e ->> 'run'), NULL, 'child');
END $$;
