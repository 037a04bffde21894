-- Claim what is due, for the leader whose token is the lock's: in turns by endpoint, never more than so many of one endpoint in
-- hand, one where its last try has failed, and of an endpoint that asks for order nothing whose aggregate has an older message
-- under way or waiting. Each row gets a token and a time of its own; it is due again when that has passed. Locks: lock, messages.
CREATE OR REPLACE FUNCTION recovery_claim_outbox_v1(
    p_lock text, p_token bigint, p_limit int, p_each int, p_lease interval, p_now timestamptz DEFAULT NULL
) RETURNS TABLE (
    id uuid, event_id uuid, kind text, body jsonb, try_count int, lease_token uuid, endpoint_id uuid, endpoint text, url text,
    secrets text[]
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := coalesce(p_now, clock_timestamp());
BEGIN
    PERFORM 1 FROM recovery_distributedlock l
    WHERE l.name = p_lock AND l.token = p_token AND l.until > clock_timestamp() FOR SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- A claim that a crash of the server forgets is made again: at worst a message comes twice, under its id.
    PERFORM set_config('synchronous_commit', 'off', true);
    RETURN QUERY
    WITH room AS MATERIALIZED (
        SELECT e.id, e.is_ordered, greatest(CASE WHEN e.failing_since IS NULL THEN p_each ELSE 1 END - (
            SELECT count(*) FROM recovery_outboxevent o
            WHERE o.endpoint_id = e.id AND o.state = 'pending' AND o.lease_token IS NOT NULL AND o.lease_until > v_now
        ), 0) AS left_over
        FROM recovery_webhookendpoint e
        WHERE e.state = 'active' AND (e.held_until IS NULL OR e.held_until <= v_now)),
    wanted AS MATERIALIZED (
        SELECT w.id FROM room r CROSS JOIN LATERAL (
            SELECT o.id, o.due_at, row_number() OVER (ORDER BY o.due_at) AS place FROM recovery_outboxevent o
            WHERE o.endpoint_id = r.id AND o.state = 'pending' AND o.due_at <= v_now
              AND NOT (r.is_ordered AND o.aggregate <> '' AND EXISTS (
                  SELECT 1 FROM recovery_outboxevent older
                  WHERE older.endpoint_id = r.id AND older.aggregate = o.aggregate AND older.state = 'pending'
                    AND older.event_id < o.event_id))
            ORDER BY o.due_at LIMIT r.left_over) w
        ORDER BY w.place, w.due_at LIMIT p_limit),
    held AS MATERIALIZED (
        SELECT o.id FROM recovery_outboxevent o JOIN wanted ON wanted.id = o.id
        WHERE o.state = 'pending' AND o.due_at <= v_now
        FOR UPDATE OF o SKIP LOCKED)
    UPDATE recovery_outboxevent o SET
        lease_token = gen_random_uuid(), lease_until = v_now + p_lease, due_at = v_now + p_lease
    FROM held, recovery_webhookendpoint e
    WHERE o.id = held.id AND e.id = o.endpoint_id
    RETURNING o.id, o.event_id, o.kind::text, o.body, o.try_count, o.lease_token, e.id, e.name::text, e.url::text,
        recovery_valid_secrets_v1(e.secrets, v_now);
END $$;
