-- Once the whole system's status is evaluated, a new agent begins with everything locked that must be earned: it has shown
-- nothing yet, and the system's own status must not stand for it until its first evaluation.
CREATE OR REPLACE FUNCTION graduation_lock_new_agent_v1() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM graduation_graduationstatus s WHERE s.subject = 'system') THEN
        INSERT INTO execution_capabilitylockout (id, agent_id, capability, reason, by, created_at)
        SELECT execution_uuid7_v1(), NEW.id, c, 'it must be earned', 'graduation', clock_timestamp()
        FROM unnest('{auto_apply_recovery,auto_apply_policy,auto_route}'::text[]) c;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER graduation_lock_new_agent AFTER INSERT ON execution_agent
    FOR EACH ROW EXECUTE FUNCTION graduation_lock_new_agent_v1();
