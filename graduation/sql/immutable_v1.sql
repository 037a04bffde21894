-- What was decided and what was found at an evaluation is never changed: the database itself refuses it, whoever asks.
CREATE OR REPLACE FUNCTION graduation_immutable_v1() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'decisions are never changed: % of % is refused', lower(TG_OP), TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation', HINT = 'What is decided later is a later row.';
END $$;
CREATE TRIGGER graduation_immutable BEFORE UPDATE ON graduation_envelopedecision
    FOR EACH ROW EXECUTE FUNCTION graduation_immutable_v1();
CREATE TRIGGER graduation_immutable BEFORE UPDATE ON graduation_graduationhistory
    FOR EACH ROW EXECUTE FUNCTION graduation_immutable_v1();
