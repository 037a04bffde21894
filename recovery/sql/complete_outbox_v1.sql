-- Write what became of deliveries, each only where its lease's token still stands and the lock's token is the leader's; returns
-- those that were written. Its endpoint's health and counts go with them; one that is gone, or has failed for too long, is
-- disabled, which is an event. Locks: lock, messages, endpoints by id.
CREATE OR REPLACE FUNCTION recovery_complete_outbox_v1(
    p_lock text, p_token bigint, p_outcomes jsonb, p_now timestamptz DEFAULT NULL, p_patience interval DEFAULT '120 hours'
) RETURNS uuid[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_now timestamptz := coalesce(p_now, clock_timestamp());
    v_written uuid[] := '{}';
    v_reason text;
    v record;
BEGIN
    PERFORM 1 FROM recovery_distributedlock l WHERE l.name = p_lock AND l.token = p_token FOR SHARE;
    IF NOT FOUND THEN
        RETURN v_written;
    END IF;
    FOR v IN
        WITH given AS (
            SELECT * FROM jsonb_to_recordset(p_outcomes) AS x (
                id uuid, lease_token uuid, state text, delay float8, hold float8, status smallint, error text, response text,
                duration_ms float8, gone text)),
        written AS (
            UPDATE recovery_outboxevent o SET
                state = g.state, try_count = o.try_count + 1, lease_token = NULL, lease_until = NULL,
                due_at = CASE g.state WHEN 'pending' THEN v_now + make_interval(secs => g.delay) ELSE o.due_at END,
                delivered_at = CASE g.state WHEN 'delivered' THEN v_now END
            FROM given g WHERE o.id = g.id AND o.state = 'pending' AND o.lease_token = g.lease_token
            RETURNING o.endpoint_id, g.*),
        kept AS (
            INSERT INTO recovery_delivery (id, message_id, status, error, response, duration_ms, created_at)
            SELECT execution_uuid7_v1(), w.id, w.status, w.error, w.response, w.duration_ms, v_now FROM written w)
        SELECT w.endpoint_id, array_agg(w.id) AS ids, max(w.hold) AS hold, max(w.gone) AS gone,
            count(*) FILTER (WHERE w.state = 'delivered') AS delivered,
            count(*) FILTER (WHERE w.state <> 'delivered') AS failed,
            count(*) FILTER (WHERE w.state = 'dead') AS dead,
            max(w.error) FILTER (WHERE w.state <> 'delivered') AS error
        FROM written w GROUP BY w.endpoint_id ORDER BY w.endpoint_id
    LOOP
        v_written := v_written || v.ids;
        UPDATE recovery_webhookendpoint e SET
            delivered_count = e.delivered_count + v.delivered, failed_count = e.failed_count + v.failed,
            dead_count = e.dead_count + v.dead, last_error = coalesce(v.error, ''),
            delivered_at = CASE WHEN v.delivered > 0 THEN v_now ELSE e.delivered_at END,
            failing_since = CASE WHEN v.delivered = 0 THEN coalesce(e.failing_since, v_now) END,
            held_until = coalesce(v_now + make_interval(secs => v.hold), e.held_until)
        WHERE e.id = v.endpoint_id;
        SELECT coalesce(nullif(v.gone, ''), CASE WHEN e.failing_since <= v_now - p_patience THEN format(
            'every try has failed for %s hours, since %s; the last one: %s', round(extract(epoch FROM p_patience) / 3600),
            to_char(e.failing_since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI UTC'), e.last_error) END)
        INTO v_reason FROM recovery_webhookendpoint e WHERE e.id = v.endpoint_id;
        IF v_reason IS NOT NULL THEN
            PERFORM recovery_disable_webhook_v1(v.endpoint_id, v_reason, 'the outbox');
        END IF;
    END LOOP;
    RETURN v_written;
END $$;
