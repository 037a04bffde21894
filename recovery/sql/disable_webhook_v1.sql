-- Disable an endpoint that is active, with its event in the same transaction; false where it was disabled already.
CREATE OR REPLACE FUNCTION recovery_disable_webhook_v1(p_endpoint uuid, p_reason text, p_by text)
RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_name text;
BEGIN
    UPDATE recovery_webhookendpoint SET state = 'disabled', disabled_reason = p_reason, changed_by = left(p_by, 150)
    WHERE id = p_endpoint AND state = 'active' RETURNING name INTO v_name;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM execution_log_v1('webhook.disabled', NULL, NULL, NULL, NULL,
        jsonb_build_object('endpoint', p_endpoint, 'name', v_name, 'reason', p_reason, 'by', p_by));
    RETURN true;
END $$;
