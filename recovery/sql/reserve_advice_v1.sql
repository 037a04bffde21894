-- Reserve the day's money for one question, or say why it is not asked: `silent` after failures in a row, `spent` when the
-- day's budget does not hold it. The first refusal of a day is an event. After a silence one caller asks; the others wait
-- until it has been answered, or for one silence more.
CREATE OR REPLACE FUNCTION recovery_reserve_advice_v1(
    p_cost numeric, p_budget numeric, p_silence interval, p_data jsonb, p_now timestamptz DEFAULT clock_timestamp()
) RETURNS TABLE (verdict text, day date) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_day date := (p_now AT TIME ZONE 'UTC')::date;
    v_row recovery_adviceday;
BEGIN
    INSERT INTO recovery_adviceday (day) VALUES (v_day) ON CONFLICT (day) DO NOTHING;
    SELECT * INTO v_row FROM recovery_adviceday a WHERE a.day = v_day FOR UPDATE;
    day := v_day;
    verdict := CASE WHEN v_row.silent_until > p_now THEN 'silent'
                    WHEN v_row.reserved + v_row.spent + p_cost > p_budget THEN 'spent'
                    ELSE 'reserved' END;
    IF verdict = 'reserved' THEN
        UPDATE recovery_adviceday a SET reserved = a.reserved + p_cost, call_count = a.call_count + 1,
            silent_until = CASE WHEN a.silent_until IS NOT NULL THEN p_now + p_silence END
        WHERE a.day = v_day;
    ELSIF verdict = 'spent' THEN
        UPDATE recovery_adviceday a SET refused_count = a.refused_count + 1 WHERE a.day = v_day;
        IF v_row.refused_count = 0 THEN
            PERFORM execution_log_v1('advice.failed', NULL, NULL, NULL, NULL, p_data || jsonb_build_object(
                'error', format('the day''s budget of %s does not hold %s more: %s are spent and %s reserved',
                                p_budget, p_cost, v_row.spent, v_row.reserved)));
        END IF;
    END IF;
    RETURN NEXT;
END $$;
