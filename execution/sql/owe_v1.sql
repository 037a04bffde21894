-- After a step has failed or was cancelled: count it in its chord, and owe an errand for its error links and the rest of its
-- chain. Answers the errands. However often it is asked, a part counts once and an errand stands once.
CREATE OR REPLACE FUNCTION execution_owe_v1(p_run uuid) RETURNS uuid[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_errands uuid[] := '{}';
    v_errand uuid;
    v record;
BEGIN
    FOR v IN SELECT s.id, s.state, s.canvas, s.error FROM execution_step s
             WHERE s.run_id = p_run AND s.state IN ('failed', 'cancelled') AND s.canvas ?| ARRAY['follows', 'chord', 'foreign_chord']
             ORDER BY s.id LOOP
        IF v.canvas ?| ARRAY['follows', 'foreign_chord'] THEN
            v_errand := md5(v.id || ':failed')::uuid;
            INSERT INTO execution_errand (id, kind, payload)
            VALUES (v_errand, 'publish', jsonb_build_object('step', v.id, 'failed', true)) ON CONFLICT (id) DO NOTHING;
            v_errands := v_errands || v_errand;
        END IF;
        IF v.canvas ? 'chord' AND v.canvas ? 'group_id' THEN
            v_errand := execution_chord_part_v1(
                v.canvas ->> 'group_id', coalesce(v.canvas ->> 'task_id', v.id::text), (v.canvas ->> 'group_index')::int, false,
                convert_to('j' || coalesce(v.error, jsonb_build_object('type', v.state))::text, 'UTF8'));
            IF v_errand IS NOT NULL THEN
                v_errands := v_errands || v_errand;
            END IF;
        END IF;
    END LOOP;
    RETURN v_errands;
END $$;
