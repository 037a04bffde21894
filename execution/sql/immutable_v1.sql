-- Records and their lineage are never changed: the database itself refuses it, whoever asks. Only retention removes them
-- (told by the call stack, which no setting can feign), and only the entry of a record writes edges.
CREATE OR REPLACE FUNCTION execution_immutable_v1() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_stack text;
BEGIN
    IF TG_OP = 'INSERT' AND pg_trigger_depth() > 1 THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' THEN
        GET DIAGNOSTICS v_stack = PG_CONTEXT;
        IF strpos(v_stack, 'execution_forget_v1(') > 0 THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'records are never changed: % of % is refused', lower(TG_OP), TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation',
              HINT = 'What was measured or judged later is a later record; only retention removes old ones.';
END $$;
CREATE TRIGGER execution_immutable BEFORE UPDATE OR DELETE ON execution_assessment
    FOR EACH ROW EXECUTE FUNCTION execution_immutable_v1();
CREATE TRIGGER execution_immutable BEFORE UPDATE OR DELETE ON execution_verdict
    FOR EACH ROW EXECUTE FUNCTION execution_immutable_v1();
CREATE TRIGGER execution_immutable BEFORE INSERT OR UPDATE OR DELETE ON execution_recordparent
    FOR EACH ROW EXECUTE FUNCTION execution_immutable_v1();
