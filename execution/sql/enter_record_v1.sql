-- What every record brings with it, however it is written: its edges in the lineage and its event, in the same transaction.
-- A parent that is not there is refused; one that is there is held until the commit, so that retention cannot take it.
-- Edges are written here alone. A parent is older than its child by a check constraint: no circle can be written.
CREATE OR REPLACE FUNCTION execution_enter_record_v1() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_record jsonb := to_jsonb(NEW);
    v_parents uuid[];
    v_missing uuid;
BEGIN
    SELECT coalesce(array_agg(DISTINCT p), '{}') INTO v_parents
    FROM unnest(NEW.parents || (v_record ->> 'outcome_of')::uuid) p WHERE p IS NOT NULL;
    IF v_parents <> '{}' THEN
        PERFORM 1 FROM execution_assessment x WHERE x.id = ANY (v_parents) ORDER BY x.id FOR KEY SHARE;
        PERFORM 1 FROM execution_verdict x WHERE x.id = ANY (v_parents) ORDER BY x.id FOR KEY SHARE;
        SELECT p INTO v_missing FROM unnest(v_parents) p
        WHERE NOT EXISTS (SELECT 1 FROM execution_assessment x WHERE x.id = p)
          AND NOT EXISTS (SELECT 1 FROM execution_verdict x WHERE x.id = p) LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'there is no record %, which record % names as a parent', v_missing, NEW.id
                USING ERRCODE = 'foreign_key_violation';
        END IF;
        INSERT INTO execution_recordparent (record_id, parent_id) SELECT NEW.id, p FROM unnest(v_parents) p;
    END IF;
    IF octet_length(NEW.data::text) > 8192 THEN
        v_record := v_record - 'data';
    END IF;
    PERFORM execution_log_v1(
        TG_ARGV[0], (v_record ->> 'run_id')::uuid, (v_record ->> 'step_id')::uuid, (v_record ->> 'agent_id')::uuid, NULL,
        v_record);
    RETURN NULL;
END $$;
CREATE TRIGGER execution_enter_assessment AFTER INSERT ON execution_assessment
    FOR EACH ROW EXECUTE FUNCTION execution_enter_record_v1('assessment.made');
CREATE TRIGGER execution_enter_verdict AFTER INSERT ON execution_verdict
    FOR EACH ROW EXECUTE FUNCTION execution_enter_record_v1('verdict.given');
