-- Take a lock that is free or whose time has run out: its token rises. Who holds it and asks again is answered the same token,
-- with new time, so that asking may be repeated; anybody else learns who holds it and until when.
CREATE OR REPLACE FUNCTION recovery_acquire_lock_v1(p_name text, p_holder text, p_ttl interval)
RETURNS TABLE (is_mine boolean, token bigint, holder text, until timestamptz) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    l recovery_distributedlock;
    v_now timestamptz;
BEGIN
    SELECT * INTO l FROM recovery_distributedlock x WHERE x.name = p_name FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO recovery_distributedlock (name) VALUES (p_name) ON CONFLICT (name) DO NOTHING;
        SELECT * INTO l FROM recovery_distributedlock x WHERE x.name = p_name FOR UPDATE;
    END IF;
    v_now := clock_timestamp();
    IF l.until > v_now AND l.holder <> p_holder THEN
        RETURN QUERY SELECT false, l.token, l.holder::text, l.until;
        RETURN;
    END IF;
    RETURN QUERY
    UPDATE recovery_distributedlock x SET
        holder = p_holder, until = v_now + p_ttl,
        token = x.token + (l.until IS NULL OR l.until <= v_now)::int,
        acquired_count = x.acquired_count + (l.until IS NULL OR l.until <= v_now)::int,
        lost_count = x.lost_count + coalesce(l.until <= v_now, false)::int
    WHERE x.name = p_name
    RETURNING true, x.token, x.holder::text, x.until;
END $$;
