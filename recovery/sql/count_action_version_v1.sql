-- Count an action's versions, whoever changes it and by whichever way: no two texts of an action share a number. What it does
-- (its verb and parameters) is proven anew from the version at which that changed.
CREATE OR REPLACE FUNCTION recovery_count_action_version_v1() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (to_jsonb(NEW) - '{version,proven_since,changed_at,changed_by}'::text[])
       IS DISTINCT FROM (to_jsonb(OLD) - '{version,proven_since,changed_at,changed_by}'::text[]) THEN
        NEW.version := OLD.version + 1;
        NEW.changed_at := clock_timestamp();
    ELSE
        NEW.version := OLD.version;
    END IF;
    NEW.proven_since := CASE WHEN NEW.verb IS DISTINCT FROM OLD.verb OR NEW.parameters IS DISTINCT FROM OLD.parameters
                             THEN NEW.version ELSE OLD.proven_since END;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER recovery_action_versions_are_counted BEFORE UPDATE ON recovery_suggestionaction
    FOR EACH ROW EXECUTE FUNCTION recovery_count_action_version_v1();
