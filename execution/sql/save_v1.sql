-- Save one checkpoint that charges nothing: the way of record_v1 for what is new, without lists; whatever else it meets it leaves
-- to record_v1. Refused when the epoch is stale, under the step's lock.
CREATE OR REPLACE FUNCTION execution_save_v1(
    p_step uuid, p_epoch int, p_token text, p_kind text, p_position bigint, p_name text, p_scoped boolean, p_data bytea, p_size int,
    OUT verdict text, OUT control text, OUT conflict text
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_epoch int;
    v_state text;
BEGIN
    SELECT x.epoch, x.state, x.control INTO v_epoch, v_state, control FROM execution_step x WHERE x.id = p_step FOR SHARE;
    IF v_epoch = p_epoch AND v_state = 'running' THEN
        INSERT INTO execution_checkpoint (step_id, token, kind, position, name, is_scoped, epoch, data, size, saved_at)
        VALUES (p_step, p_token, p_kind, p_position, p_name, p_scoped, p_epoch, p_data, p_size, clock_timestamp())
        ON CONFLICT (step_id, token) DO NOTHING;
        IF FOUND THEN
            verdict := 'saved'; RETURN;
        END IF;
    END IF;
    SELECT r.verdict, r.control, r.conflict INTO verdict, control, conflict FROM execution_record_v1(
        p_step, p_epoch, ARRAY[p_token], ARRAY[p_kind], ARRAY[p_position], ARRAY[p_name], ARRAY[p_scoped], ARRAY[p_data],
        ARRAY[p_size]) r;
END $$;
