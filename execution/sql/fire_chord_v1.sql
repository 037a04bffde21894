-- Fire a chord whose parts have all ended: one errand, in the transaction that marks it fired. Answers the errand, or NULL.
CREATE OR REPLACE FUNCTION execution_fire_chord_v1(p_group text) RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_errand uuid := execution_uuid7_v1();
BEGIN
    UPDATE execution_chord x SET fired_at = clock_timestamp()
    WHERE x.group_id = p_group AND x.fired_at IS NULL AND x.size IS NOT NULL AND x.body IS NOT NULL
      AND x.size + coalesce((x.body ->> 'added')::int, 0)
          <= (SELECT count(*) FROM execution_chordpart p WHERE p.group_id = p_group);
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO execution_errand (id, kind, payload) VALUES (v_errand, 'publish', jsonb_build_object('chord', p_group));
    RETURN v_errand;
END $$;
