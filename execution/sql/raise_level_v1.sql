-- Raise what an agent may do alone, in the name of a person, or of two different ones for more than one level: the only way up.
-- Who they are is checked by the verb in front (agents.raise_level). Says at which level the agent was, or nothing where it is
-- not below the level that is asked for.
CREATE OR REPLACE FUNCTION execution_raise_level_v1(p_agent uuid, p_level int, p_first text, p_second text)
RETURNS int LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_before int;
BEGIN
    PERFORM execution_hold_agent_v1(p_agent);
    SELECT x.level INTO v_before FROM execution_agent x WHERE x.id = p_agent AND x.level < p_level FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF coalesce(p_first, '') = '' OR p_level - v_before > 1 AND coalesce(p_second, '') IN ('', p_first) THEN
        RAISE EXCEPTION 'a level is raised by a person, by more than one level only by two different ones'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE execution_agent SET level = p_level WHERE id = p_agent;
    RETURN v_before;
END $$;
