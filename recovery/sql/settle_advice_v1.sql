-- Book what a question has cost instead of what was reserved for it, count failures in a row, and write its event.
-- After so many failures the model is not asked for a while.
CREATE OR REPLACE FUNCTION recovery_settle_advice_v1(
    p_day date, p_reserved numeric, p_cost numeric, p_is_given boolean, p_most int, p_silence interval, p_data jsonb
) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_row recovery_adviceday;
BEGIN
    UPDATE recovery_adviceday SET
        reserved = greatest(reserved - p_reserved, 0), spent = spent + p_cost,
        failure_count = failure_count + (NOT p_is_given)::int,
        failures_in_row = CASE WHEN p_is_given THEN 0 ELSE failures_in_row + 1 END,
        silent_until = CASE WHEN NOT p_is_given AND failures_in_row + 1 >= p_most
                            THEN clock_timestamp() + p_silence WHEN p_is_given THEN NULL ELSE silent_until END
    WHERE day = p_day RETURNING * INTO v_row;
    PERFORM execution_log_v1(CASE WHEN p_is_given THEN 'advice.given' ELSE 'advice.failed' END, NULL, NULL, NULL, NULL,
                             p_data || jsonb_strip_nulls(jsonb_build_object('silent_until', v_row.silent_until)));
    RETURN v_row.silent_until IS NOT NULL;
END $$;
