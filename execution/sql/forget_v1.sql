-- Remove records that are old enough, the newest first, so that a chain of any length goes in one pass. Kept is what a younger
-- record rests on, and what is held for an open case. Bounded: asks for so many, and answers the last that it looked at.
CREATE OR REPLACE FUNCTION execution_forget_v1(
    p_verdict_days double precision, p_assessment_days double precision, p_before uuid, p_limit int
) RETURNS TABLE (removed int, looked int, last uuid) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_verdicts uuid := execution_first_id_v1(clock_timestamp() - make_interval(secs => p_verdict_days * 86400));
    v_assessments uuid := execution_first_id_v1(clock_timestamp() - make_interval(secs => p_assessment_days * 86400));
    r record;
BEGIN
    removed := 0; looked := 0;
    FOR r IN
        (SELECT v.id, true AS is_verdict FROM execution_verdict v
         WHERE v.id < least(v_verdicts, p_before) ORDER BY v.id DESC LIMIT p_limit)
        UNION ALL
        (SELECT a.id, false FROM execution_assessment a
         WHERE a.id < least(v_assessments, p_before) ORDER BY a.id DESC LIMIT p_limit)
        ORDER BY id DESC LIMIT p_limit
    LOOP
        looked := looked + 1; last := r.id;
        IF r.is_verdict THEN
            PERFORM 1 FROM execution_verdict v WHERE v.id = r.id FOR UPDATE SKIP LOCKED;
        ELSE
            PERFORM 1 FROM execution_assessment a WHERE a.id = r.id FOR UPDATE SKIP LOCKED;
        END IF;
        CONTINUE WHEN NOT FOUND
            OR EXISTS (SELECT 1 FROM execution_recordparent p WHERE p.parent_id = r.id)
            OR EXISTS (SELECT 1 FROM execution_recordhold h WHERE h.record_id = r.id);
        DELETE FROM execution_recordparent p WHERE p.record_id = r.id;
        DELETE FROM execution_verdict v WHERE v.id = r.id AND r.is_verdict;
        DELETE FROM execution_assessment a WHERE a.id = r.id AND NOT r.is_verdict;
        removed := removed + 1;
    END LOOP;
    RETURN NEXT;
END $$;
