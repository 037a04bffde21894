-- Count one ending of a chord's header; the last one fires the body by an errand, once. Answers the errand, or NULL.
-- A part that has ended already counts once, whoever tells of it again. Lock: the chord, last of all.
CREATE OR REPLACE FUNCTION execution_chord_part_v1(
    p_group text, p_task text, p_index int, p_success boolean, p_result bytea
) RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO execution_chord (group_id) VALUES (p_group) ON CONFLICT (group_id) DO NOTHING;
    PERFORM 1 FROM execution_chord x WHERE x.group_id = p_group FOR NO KEY UPDATE;
    INSERT INTO execution_chordpart (group_id, task_id, index, is_success, result)
    VALUES (p_group, p_task, coalesce(p_index, 2147483647), p_success, p_result) ON CONFLICT DO NOTHING;
    RETURN execution_fire_chord_v1(p_group);
END $$;
