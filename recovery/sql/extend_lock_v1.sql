-- Give a lock's holder more time: true, or false where its time has run out already, whether or not somebody has taken it.
CREATE OR REPLACE FUNCTION recovery_extend_lock_v1(p_name text, p_holder text, p_token bigint, p_ttl interval)
RETURNS boolean LANGUAGE sql VOLATILE AS $$
    WITH held AS MATERIALIZED (
        SELECT name FROM recovery_distributedlock
        WHERE name = p_name AND holder = p_holder AND token = p_token FOR UPDATE),
    extended AS (
        UPDATE recovery_distributedlock l SET until = clock_timestamp() + p_ttl
        FROM held WHERE l.name = held.name AND l.until > clock_timestamp() RETURNING 1)
    SELECT EXISTS (SELECT 1 FROM extended)
$$;
