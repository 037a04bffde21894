-- Store the ending of an effect: its receipt, or that nothing was done; refused when the epoch is stale.
CREATE OR REPLACE FUNCTION execution_receipt_v1(
    p_step uuid, p_epoch int, p_effect uuid, p_state text, p_receipt bytea
) RETURNS TABLE (verdict text, control text) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    s record;
BEGIN
    SELECT x.epoch, x.state, x.control, x.run_id, x.agent_id INTO s FROM execution_step x WHERE x.id = p_step FOR SHARE;
    IF NOT FOUND OR s.epoch <> p_epoch OR s.state <> 'running' THEN
        verdict := 'stale'; RETURN NEXT; RETURN;
    END IF;
    UPDATE execution_effect x SET state = p_state, receipt = p_receipt, ended_at = clock_timestamp()
    WHERE x.id = p_effect AND x.state = 'intended';
    IF FOUND THEN
        PERFORM execution_log_v1('effect.' || p_state, s.run_id, p_step, s.agent_id, p_epoch, jsonb_build_object('effect', p_effect));
    END IF;
    verdict := CASE WHEN FOUND THEN 'saved' ELSE 'already' END;
    control := s.control;
    RETURN NEXT;
END $$;
