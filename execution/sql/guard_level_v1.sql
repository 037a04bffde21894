-- No agent's level rises without a person: the database itself refuses it, whoever asks and by whatever statement, but for
-- execution_raise_level_v1 (told by the call stack, which no setting can feign). Neither does an agent come by more as another:
-- one that is below the level at which agents begin keeps its name, and is not removed.
CREATE OR REPLACE FUNCTION execution_guard_level_v1() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_stack text;
BEGIN
    IF TG_ARGV[0] = 'level' THEN
        GET DIAGNOSTICS v_stack = PG_CONTEXT;
        IF strpos(v_stack, 'execution_raise_level_v1(') > 0 THEN
            RETURN NEW;
        END IF;
        RAISE EXCEPTION 'the level of agent % rises by a person only: from % to % is refused', OLD.name, OLD.level, NEW.level
            USING ERRCODE = 'insufficient_privilege', HINT = 'See agents.raise_level, or `manage.py agents promote`.';
    END IF;
    RAISE EXCEPTION 'agent % is at level % and keeps its name: another of this name would begin with every freedom', OLD.name, OLD.level
        USING ERRCODE = 'insufficient_privilege', HINT = 'A person raises it first: `manage.py agents promote`.';
END $$;
CREATE TRIGGER execution_guard_level BEFORE UPDATE OF level ON execution_agent
    FOR EACH ROW WHEN (NEW.level > OLD.level) EXECUTE FUNCTION execution_guard_level_v1('level');
CREATE TRIGGER execution_guard_name BEFORE UPDATE OF name ON execution_agent
    FOR EACH ROW WHEN (NEW.name <> OLD.name AND OLD.level < 4) EXECUTE FUNCTION execution_guard_level_v1('name');
CREATE TRIGGER execution_guard_removal BEFORE DELETE ON execution_agent
    FOR EACH ROW WHEN (OLD.level < 4) EXECUTE FUNCTION execution_guard_level_v1('removal');
