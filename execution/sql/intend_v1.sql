-- Store the intent of an effect before it is performed, once per token; refused when the epoch is stale.
CREATE OR REPLACE FUNCTION execution_intend_v1(
    p_step uuid, p_epoch int, p_id uuid, p_token text, p_key text, p_policy text, p_intent bytea
) RETURNS TABLE (verdict text, effect_id uuid, state text, key text, receipt bytea) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    s record;
    e execution_effect%ROWTYPE;
BEGIN
    SELECT x.epoch, x.state, x.run_id, x.agent_id INTO s FROM execution_step x WHERE x.id = p_step FOR SHARE;
    IF NOT FOUND OR s.epoch <> p_epoch OR s.state <> 'running' THEN
        verdict := 'stale'; RETURN NEXT; RETURN;
    END IF;
    INSERT INTO execution_effect (id, step_id, token, key, state, policy, epoch, intent)
    VALUES (p_id, p_step, p_token, p_key, 'intended', p_policy, p_epoch, p_intent)
    ON CONFLICT (step_id, token) DO NOTHING;
    IF FOUND THEN
        PERFORM execution_log_v1('effect.intended', s.run_id, p_step, s.agent_id, p_epoch, jsonb_build_object('token', p_token));
        RETURN QUERY SELECT 'intended'::text, p_id, 'intended'::text, p_key, NULL::bytea;
        RETURN;
    END IF;
    SELECT * INTO e FROM execution_effect x WHERE x.step_id = p_step AND x.token = p_token FOR NO KEY UPDATE;
    IF e.id = p_id OR e.state = 'intended' AND e.epoch = p_epoch THEN
        verdict := 'intended';
    ELSIF e.state = 'failed' OR e.state = 'intended' AND p_policy = 'retry' THEN
        UPDATE execution_effect x SET state = 'intended', epoch = p_epoch, ended_at = NULL WHERE x.id = e.id;
        verdict := 'again';
    ELSE
        verdict := CASE WHEN e.state = 'done' THEN 'done' ELSE 'unknown' END;
    END IF;
    RETURN QUERY SELECT verdict, e.id, e.state::text, e.key::text, e.receipt;
END $$;
