-- The session that the runs of an opening belong to: the one that is named, else that of the run that opens them, be it by a
-- call or as Celery's parent.
CREATE OR REPLACE FUNCTION execution_session_of_v1(p_template jsonb) RETURNS uuid LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_parent text := p_template #>> '{canvas,parent_id}';
BEGIN
    IF p_template ->> 'session_id' IS NOT NULL THEN
        RETURN (p_template ->> 'session_id')::uuid;
    END IF;
    IF p_template ->> 'parent_run_id' IS NOT NULL THEN
        RETURN (SELECT r.session_id FROM execution_run r WHERE r.id = (p_template ->> 'parent_run_id')::uuid);
    END IF;
    IF v_parent ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN
        RETURN (SELECT r.session_id FROM execution_step s JOIN execution_run r ON r.id = s.run_id WHERE s.id = v_parent::uuid);
    END IF;
    RETURN NULL;
END $$;
